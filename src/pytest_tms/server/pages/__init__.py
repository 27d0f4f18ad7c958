"""The pages: server-rendered, one module a page, one stylesheet, no script needed."""

from __future__ import annotations

from pathlib import Path

from litestar import Router
from litestar.static_files import create_static_files_router

from pytest_tms.server.pages import artifacts, logs, report

HERE = Path(__file__).parent


def routes() -> list[Router]:
    """Every page, and the files that they load."""
    pages = Router(path="/", route_handlers=[report.report, report.shard, logs.logs, artifacts.artifacts])
    return [pages, create_static_files_router(path="/static", directories=[HERE / "static"])]
