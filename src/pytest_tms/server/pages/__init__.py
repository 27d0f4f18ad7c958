"""The pages: server-rendered, one module a page, one stylesheet, no script needed."""

from __future__ import annotations

from pathlib import Path

from litestar import Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.static_files import create_static_files_router

from pytest_tms.errors import ApiError
from pytest_tms.server.pages import artifacts, audit, cancel, home, login, logs, report, webhooks
from pytest_tms.server.pages.visitor import form, guard, visitor

HERE = Path(__file__).parent
LARGEST_FORM = 16 * 1024
"""Bytes of the largest form."""


def routes() -> list[Router]:
    """Every page, and the files that they load."""
    pages = Router(
        path="/",
        route_handlers=[
            login.login_form,
            login.login,
            login.logout,
            home.home,
            report.report,
            report.shard,
            logs.logs,
            artifacts.artifacts,
            cancel.cancel_form,
            cancel.cancel_execution,
            *webhooks.HANDLERS,
            audit.show_audit,
        ],
        guards=[guard],
        dependencies={
            "visitor": Provide(visitor, sync_to_thread=False),
            "form": Provide(form, sync_to_thread=False),
        },
        exception_handlers={
            ApiError: login.answer_api_error,
            HTTPException: login.answer_http_error,
            Exception: login.answer_unexpected,
        },
        request_max_body_size=LARGEST_FORM,
    )
    return [pages, create_static_files_router(path="/static", directories=[HERE / "static"])]
