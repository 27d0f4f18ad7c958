"""The pages: server-rendered, one module a page, one stylesheet, no script needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from litestar import Request, Response, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException, InternalServerException, NotFoundException
from litestar.static_files import create_static_files_router
from litestar.types import Guard

from pytest_tms.errors import ApiError
from pytest_tms.server.pages import artifacts, audit, cancel, events, login, report, runs, webhooks
from pytest_tms.server.pages.page_session import current_session, form

HERE = Path(__file__).parent
LARGEST_FORM = 16 * 1024
"""Bytes of the largest form."""
EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: login.answer_api_error,
    HTTPException: login.answer_http_error,
    Exception: login.answer_unexpected,
}
"""The handlers of the whole application: pages for browsers, JSON for the API and clients that ask for it."""


def routes(guard: Guard) -> list[Router]:
    """Return every page, behind ``guard``, and the files that they load."""
    report_limit = CapacityLimiter(report.MAX_RENDERINGS)
    pages = Router(
        path="/",
        route_handlers=[
            login.login_form,
            login.login,
            login.logout,
            runs.home,
            report.report,
            report.shard,
            events.logs,
            artifacts.artifacts,
            cancel.cancel_form,
            cancel.cancel_execution,
            *webhooks.HANDLERS,
            audit.show_audit,
        ],
        guards=[guard],
        dependencies={
            "page_session": Provide(current_session, sync_to_thread=False),
            "form": Provide(form, sync_to_thread=False),
            "report_limit": Provide(lambda: report_limit, sync_to_thread=False),
        },
        request_max_body_size=LARGEST_FORM,
    )
    static = create_static_files_router(
        path="/static",
        directories=[HERE / "static"],
        exception_handlers={ValueError: _no_file, InternalServerException: _no_file},
    )
    return [pages, static]


def _no_file(request: Request[Any, Any, Any], _: Exception) -> Response[Any]:
    """What a name is answered that no file can have: with a NUL, too long, below a file."""
    return login.answer_http_error(request, NotFoundException())
