"""The JSON interface: what the page shows and does, for programs. Described by OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import BaseModel, Field

from app.node import history
from app.node.commands import Commands
from app.node.ledger import Ledger
from app.node.page.access import Access
from app.node.page.results import Results
from app.node.records import (
    Collection,
    Delivery,
    JobState,
    Machine,
    NodeJob,
    Priority,
    Series,
    Step,
)
from app.result_file import ResultFile


class JobList(BaseModel):
    """A page of jobs, the newest first; ``next`` gives the parameters of the following page."""

    jobs: list[NodeJob]
    next: dict[str, str] = Field(description="before_created and before_id; empty at the end")


class JobDetail(BaseModel):
    """All that is known of one job."""

    job: NodeJob
    steps: list[Step]
    series: list[Series]
    deliveries: list[Delivery]
    result: ResultFile | None = Field(description="result.json, where there is one")


class Target(BaseModel):
    """What one target got."""

    name: str
    waiting: int
    delivered: int
    failed: int
    next_try: float = Field(description="seconds since 1970, UTC; 0 where nothing waits")
    reason: str = Field(description="of the last failed try")


class Order(BaseModel):
    """A run that is ordered over a study that has been received."""

    study_instance_uid: str
    key: str = Field(min_length=1, description="the same key orders once")
    pipelines: list[str] = []
    targets: list[str] = []
    priority: Priority = Priority.NORMAL


class Made(BaseModel):
    """The job that an order or a repetition made."""

    job: str


def interface_router(
    ledger: Ledger,
    commands: Commands,
    results: Results,
    access: Access,
    on_action: Callable[[str, str, str], None],
) -> APIRouter:
    """The routes below ``/api``.

    Args:
        ledger: what is shown.
        commands: what may be asked for.
        results: of jobs.
        access: decides who may ask.
        on_action: told of what somebody asked for.
    """
    router = APIRouter(tags=["node"], responses=_ANSWERS, dependencies=[Depends(access.require)])

    @router.get("/jobs")
    def jobs(
        state: Annotated[list[JobState], Query()] = [],  # noqa: B006 - read only
        search: str = "",
        before_created: float = 0,
        before_id: str = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> JobList:
        """Jobs, the newest first; ``search`` takes an Accession Number, a UID or an id."""
        before = (before_created, before_id) if before_id else None
        found = history.jobs(ledger, states=state, before=before, search=search, limit=limit)
        more = len(found) == limit
        following = (
            {"before_created": repr(found[-1].created), "before_id": found[-1].id} if more else {}
        )
        return JobList(jobs=found, next=following)

    @router.get("/jobs/{job}")
    def job_detail(job: str) -> JobDetail:
        """One job with its steps, deliveries and result."""
        found = history.job(ledger, job)
        if found is None:
            raise HTTPException(404, f"there is no job {job}")
        return JobDetail(
            job=found,
            steps=history.steps(ledger, job),
            series=history.series(ledger, found.study_instance_uid),
            deliveries=history.deliveries(ledger, job),
            result=results.of(found),
        )

    @router.post("/jobs/{job}/cancel", status_code=204)
    def cancel(request: Request, job: str) -> None:
        """Cancel a job that has not ended."""
        commands.cancel(job)
        on_action(request.state.user, "cancel", job)

    @router.post("/jobs/{job}/rerun")
    def rerun(request: Request, job: str) -> Made:
        """Run a job again, with all that has arrived since and the networks of today."""
        made = Made(job=commands.rerun(job, by=request.state.user))
        on_action(request.state.user, "rerun", job)
        return made

    @router.post("/jobs/{job}/resend", status_code=204)
    def resend(request: Request, job: str, target: str | None = None) -> None:
        """Send the results of a job again, to one target or to each that it had."""
        commands.resend(job, target)
        on_action(request.state.user, "resend", job)

    @router.post("/orders")
    def order(request: Request, order: Order) -> Made:
        """Order a run over a study that has been received."""
        identifier = commands.order(
            order.study_instance_uid,
            ordered_by=request.state.user,
            key=order.key,
            pipelines=order.pipelines,
            targets=order.targets,
            priority=order.priority,
        )
        on_action(request.state.user, "order", identifier)
        return Made(job=identifier)

    @router.get("/receiving")
    def receiving() -> list[Collection]:
        """What is being received, and more of it awaited."""
        return history.receiving(ledger)

    @router.post("/receiving/complete", status_code=204)
    def complete(request: Request, key: str) -> None:
        """Take what has been received under this key as complete."""
        commands.complete_now(key)
        on_action(request.state.user, "complete", key)

    @router.get("/targets")
    def targets() -> list[Target]:
        """Where results went."""
        return [Target(**vars(target)) for target in history.targets(ledger)]

    @router.get("/machines")
    def machines() -> list[Machine]:
        """Nodes that share the work."""
        return history.machines(ledger)

    return router


_ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"description": "sign in: Authorization: Bearer TOKEN"},
    409: {"description": "what was asked for cannot be done; detail says why"},
}
