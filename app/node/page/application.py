"""The web application of a node: page, JSON interface, metrics, health, and what is added to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles

from app.node.commands import CommandError, Commands
from app.node.ledger import Ledger
from app.node.page.access import Access, AccessDeniedError
from app.node.page.interface import interface_router
from app.node.page.metrics import metrics_router
from app.node.page.results import Results
from app.node.page.settings import PageSettings
from app.node.page.views import Views, views_router
from operators.vocabulary.version import VERSION

_STATIC = Path(__file__).with_name("static")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Parts:
    """What the web application shows and steers.

    Attributes:
        ledger: where everything stands.
        commands: what may be asked for.
        results: folder in which each job has its results.
        settings: of the page.
        machine: name of this node.
        problems: what keeps the node from working now, one sentence each; empty when it is well.
        on_action: told of what somebody asked for: user, action, id of the job or key.
        routers: more routes, such as STOW-RS, which protect themselves.
    """

    ledger: Ledger
    commands: Commands
    results: Path
    settings: PageSettings
    machine: str
    problems: Callable[[], list[str]]
    on_action: Callable[[str, str, str], None] = field(default=lambda user, action, what: None)
    routers: Sequence[APIRouter] = ()


def create_app(parts: Parts) -> FastAPI:
    """The application, ready to be served.

    Raises:
        ValueError: the page would be open to a network with nobody signing in.
    """
    parts.settings.check_exposure()
    access = Access(parts.settings)
    results = Results(parts.results)
    views = Views(access, parts.machine)
    # The interactive documentation would load scripts from elsewhere; the OpenAPI file remains.
    app = FastAPI(
        title="QuantMAP node",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )

    @app.middleware("http")
    async def secure(request: Request, call_next) -> Response:  # type: ignore[no-untyped-def]
        response: Response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(AccessDeniedError)
    def denied(request: Request, error: AccessDeniedError) -> Response:
        if _wants_page(request):
            return views.denied(request, error)
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        return JSONResponse({"detail": error.reason}, error.status, headers)

    @app.exception_handler(CommandError)
    def impossible(request: Request, error: CommandError) -> Response:
        if _wants_page(request):
            return views.problem(request, 409, str(error))
        return JSONResponse({"detail": str(error)}, 409)

    @app.get("/healthz", tags=["health"])
    def alive() -> PlainTextResponse:
        """Whether the process answers."""
        return PlainTextResponse("alive\n")

    @app.get("/readyz", tags=["health"])
    def ready() -> Response:
        """Whether the node can receive, run and deliver; 503 with the reasons where it cannot."""
        problems = parts.problems()
        return PlainTextResponse("\n".join(problems or ["ready"]) + "\n", 503 if problems else 200)

    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.include_router(metrics_router(parts.ledger, access, parts.settings.open_metrics))
    app.include_router(
        interface_router(parts.ledger, parts.commands, results, access, parts.on_action),
        prefix="/api",
    )
    app.include_router(
        views_router(views, parts.ledger, parts.commands, results, parts.problems, parts.on_action),
        include_in_schema=False,
    )
    for router in parts.routers:
        app.include_router(router)
    return app


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith(("/api", "/metrics", "/dicom-web"))
