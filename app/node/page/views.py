"""The pages that people see. They need no script; forms and links do everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from app.node import history
from app.node.commands import Commands
from app.node.ledger import Ledger
from app.node.page import wording
from app.node.page.access import COOKIE, Access, AccessDeniedError
from app.node.page.contrast import (
    ContrastError,
    asked_contrast,
    can_be_explored,
    contrast_picture,
)
from app.node.page.delivery_summary import by_target
from app.node.page.previews import picture
from app.node.page.results import Results
from app.node.records import ENDED, JobState
from app.result_file import OutputEntry
from operators.inference.settings import DEFAULT_CONTRASTS
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.version import VERSION

_TEMPLATES = Path(__file__).with_name("templates")
_JOBS_PER_PAGE = 50
_SEE_OTHER = 303
#: A page that shows something under way asks again after this time, unless it is told to stay
#: still: a reload takes the focus away from whoever uses the keyboard.
_REFRESH_SECONDS = 10


class Views:
    """Renders templates and knows who asks.

    Args:
        access: decides who may see a page.
        machine: name of this node.
    """

    def __init__(self, access: Access, machine: str) -> None:
        self.access = access
        self._templates = Jinja2Templates(directory=_TEMPLATES)
        self._templates.env.filters.update(
            moment=wording.moment,
            machine_moment=wording.machine_moment,
            ago=wording.ago,
            duration=wording.duration,
        )
        self._templates.env.globals.update(machine=machine, version=VERSION, span=wording.span)

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> Response:
        """A template with its values."""
        return self._templates.TemplateResponse(request, name, values, status_code=status)

    def problem(self, request: Request, status: int, reason: str) -> Response:
        """A page that says what is wrong."""
        return self.page(request, "problem.html", status, reason=reason)

    def denied(self, request: Request, error: AccessDeniedError) -> Response:
        """The page to sign in, or why nothing is shown."""
        if error.status == 401:
            return self.page(request, "sign_in.html", 401, wrong=False, after=_after(request))
        return self.problem(request, error.status, error.reason)


def _after(request: Request) -> str:
    """Where to go after signing in: a page of this node, whatever was asked for."""
    path = request.url.path
    return path if request.method == "GET" and path.startswith("/jobs/") else "/"


def views_router(
    views: Views,
    ledger: Ledger,
    commands: Commands,
    results: Results,
    problems: Callable[[], list[str]],
    on_action: Callable[[str, str, str], None],
) -> APIRouter:
    """The routes of the page.

    Args:
        views: renders.
        ledger: what is shown.
        commands: what may be asked for.
        results: of jobs.
        problems: what keeps the node from working.
        on_action: told of what somebody asked for.
    """
    open_to_all = APIRouter()
    router = APIRouter(dependencies=[Depends(views.access.require)])

    @router.get("/")
    def overview(request: Request, still: bool = False) -> Response:
        running = history.queue(ledger)
        return views.page(
            request,
            "overview.html",
            refresh=None if still else _REFRESH_SECONDS,
            can_refresh=True,
            receiving=history.receiving(ledger),
            queue=running,
            counts=history.job_counts(ledger),
            targets=history.targets(ledger),
            machines=history.machines(ledger),
            recent=history.jobs(ledger, states=ENDED, limit=10),
            problems=problems(),
        )

    @router.get("/jobs")
    def jobs(
        request: Request,
        state: Annotated[list[JobState], Query()] = [],  # noqa: B006 - read only
        search: str = "",
        before_created: float = 0,
        before_id: str = "",
    ) -> Response:
        before = (before_created, before_id) if before_id else None
        found = history.jobs(
            ledger, states=state, before=before, search=search, limit=_JOBS_PER_PAGE
        )
        return views.page(
            request,
            "jobs.html",
            jobs=found,
            states=list(JobState),
            chosen=state,
            search=search,
            last=found[-1] if len(found) == _JOBS_PER_PAGE else None,
        )

    @router.get("/jobs/{job}")
    def job(request: Request, job: str, still: bool = False) -> Response:
        found = history.job(ledger, job)
        if found is None:
            return views.problem(request, 404, f"There is no job {job}.")
        result = results.of(found)
        return views.page(
            request,
            "job.html",
            refresh=None if still or found.state in ENDED else _REFRESH_SECONDS,
            can_refresh=found.state not in ENDED,
            job=found,
            ended=found.state in ENDED,
            steps=history.steps(ledger, job),
            series=history.series(ledger, found.study_instance_uid),
            objects=history.object_counts(ledger, found.collection),
            deliveries=by_target(history.deliveries(ledger, job)),
            result=result,
            maps=results.previews(found, result) if result else [],
            summaries=results.summaries(result) if result else [],
            explorable=result is not None and can_be_explored(result),
        )

    @router.get("/jobs/{job}/contrast")
    def contrast(request: Request, job: str) -> Response:
        found = history.job(ledger, job)
        result = results.of(found) if found else None
        if result is None or not can_be_explored(result):
            return views.problem(request, 404, "This job has no PD, T1 and T2 maps (any more).")
        asked = dict(request.query_params)
        wrong, chosen = "", DEFAULT_CONTRASTS["flair"]
        try:
            chosen = asked_contrast(asked)
        except ContrastError as error:
            wrong = str(error)
        return views.page(
            request,
            "contrast.html",
            400 if wrong else 200,
            job=found,
            contrasts=list(DEFAULT_CONTRASTS),
            chosen=chosen,
            asked=asked if wrong else wording.plain(chosen.model_dump(exclude_none=True)),
            wrong=wrong,
            query=urlencode(chosen.model_dump(exclude_none=True)),
        )

    @router.get("/jobs/{job}/contrast.png")
    def contrast_image(request: Request, job: str) -> Response:
        found = history.job(ledger, job)
        result = results.of(found) if found else None
        if found is None or result is None or not can_be_explored(result):
            return views.problem(request, 404, "This job has no PD, T1 and T2 maps (any more).")
        try:
            shown = contrast_picture(results.folder(found), asked_contrast(request.query_params))
        except ContrastError as error:
            return views.problem(request, 409, str(error))
        headers = {"Cache-Control": "private, max-age=3600"}
        return Response(shown, media_type="image/png", headers=headers)

    @router.get("/jobs/{job}/preview/{number}.png")
    def preview(request: Request, job: str, number: int) -> Response:
        found = _output(ledger, results, job, number)
        if found is None or found[1].quantity not in QUANTITIES:
            return views.problem(request, 404, "This map is not there (any more).")
        path, output = found
        return Response(
            picture(path, QUANTITIES[output.quantity]),
            media_type="image/png",
            headers={"Cache-Control": "private, max-age=3600"},
        )

    @router.get("/jobs/{job}/file/{number}")
    def file(request: Request, job: str, number: int) -> Response:
        found = _output(ledger, results, job, number)
        if found is None:
            return views.problem(request, 404, "This file is not there (any more).")
        path, _ = found
        kind = {".png": "image/png", ".dcm": "application/dicom", ".csv": "text/csv"}
        media_type = kind.get(path.suffix, "application/octet-stream")
        shown = "inline" if path.suffix == ".png" else "attachment"
        return FileResponse(
            path, media_type=media_type, filename=path.name, content_disposition_type=shown
        )

    @router.post("/jobs/{job}/{action}")
    def act(
        request: Request, job: str, action: str, target: Annotated[str, Form()] = ""
    ) -> Response:
        goes_to = job
        if action == "cancel":
            commands.cancel(job)
        elif action == "rerun":
            goes_to = commands.rerun(job, by=request.state.user)
        elif action == "resend":
            commands.resend(job, target or None)
        else:
            return Response(status_code=404)
        on_action(request.state.user, action, job)
        return RedirectResponse(f"/jobs/{goes_to}", _SEE_OTHER)

    @router.post("/receiving/complete")
    def complete(request: Request, key: Annotated[str, Form()]) -> Response:
        commands.complete_now(key)
        on_action(request.state.user, "complete", key)
        return RedirectResponse("/", _SEE_OTHER)

    @open_to_all.post("/sign-in")
    def sign_in(
        request: Request, token: Annotated[str, Form()], after: Annotated[str, Form()] = "/"
    ) -> Response:
        if not views.access.matches(token):
            return views.page(request, "sign_in.html", 401, wrong=True, after="/")
        safe = after if after.startswith("/jobs/") else "/"
        response = RedirectResponse(safe, _SEE_OTHER)
        views.access.set_session(response)
        return response

    @router.post("/sign-out")
    def sign_out() -> Response:
        response = RedirectResponse("/", _SEE_OTHER)
        response.delete_cookie(COOKIE)
        return response

    open_to_all.include_router(router)
    return open_to_all


def _output(
    ledger: Ledger, results: Results, job: str, number: int
) -> tuple[Path, OutputEntry] | None:
    found = history.job(ledger, job)
    return results.file(found, number) if found else None
