"""HTML pages, rendered by the server: one module per page, one stylesheet, one script."""

from __future__ import annotations

from typing import Any

from anyio import CapacityLimiter
from litestar import Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import Guard

from pytest_tms.errors import ApiError
from pytest_tms.server.pages import (
    assets,
    audit,
    badges,
    cancel,
    cases,
    delete,
    events,
    exports,
    files,
    history,
    login,
    overview,
    person_login,
    quarantine,
    redirects,
    result,
    run_files,
    run_tests,
    runs,
    shards,
    streams,
    timeline,
    tokens,
    webhooks,
)
from pytest_tms.server.pages.page_session import current_session, form

MAX_FORM = 16 * 1024
"""Bytes of the largest form body."""
EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: login.handle_api_error,
    HTTPException: login.handle_http_error,
    Exception: login.handle_unexpected,
}
"""Exception handlers of the application: pages for browsers, JSON for the API and if a client prefers it."""


def routes(guard: Guard) -> list[Router]:
    """Return the routers of the pages, protected by ``guard``, and of their static files."""
    report_limit = CapacityLimiter(overview.MAX_RENDERINGS)
    pages = Router(
        path="/",
        route_handlers=[
            login.login_form,
            login.login,
            login.logout,
            *person_login.HANDLERS,
            runs.home,
            overview.overview,
            run_tests.run_tests,
            result.result,
            result.output,
            timeline.timeline,
            shards.show_shards,
            runs.compare_selected,
            *exports.HANDLERS,
            badges.show_badge,
            events.show_events,
            run_files.show_files,
            files.file,
            cancel.cancel_form,
            cancel.cancel_execution,
            delete.delete_form,
            delete.delete_execution,
            *webhooks.HANDLERS,
            audit.show_audit,
            *tokens.HANDLERS,
            streams.execution_stream,
            streams.list_stream,
            *history.HANDLERS,
            *quarantine.HANDLERS,
            *cases.HANDLERS,
            *redirects.HANDLERS,
        ],
        guards=[guard],
        dependencies={
            "page_session": Provide(current_session, sync_to_thread=False),
            "form": Provide(form, sync_to_thread=False),
            "report_limit": Provide(lambda: report_limit, sync_to_thread=False),
        },
        request_max_body_size=MAX_FORM,
    )
    return [pages, Router(path="/", route_handlers=[assets.static_file])]
