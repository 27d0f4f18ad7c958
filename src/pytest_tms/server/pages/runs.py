"""The start page: the list of executions."""

from __future__ import annotations

from litestar import Response, get

from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.report import verdict
from pytest_tms.server.pages.templates import page
from pytest_tms.server.store import page_queries
from pytest_tms.server.store.database import Database

EXECUTIONS = 50
"""Executions on one page."""


@get("/", sync_to_thread=True)
def home(database: Database, page_session: PageSession, before: str = "") -> Response[str]:
    """Return the list of the executions that the user may see, the newest first."""
    start = before if before.isascii() and before.isprintable() else ""
    with database.read() as connection:
        rows = page_queries.latest(
            connection, environments=page_session.environments, before=start or None, limit=EXECUTIONS + 1
        )
    return page(
        page_session,
        "home.html",
        executions=[
            (row, verdict(row.status, row.results, row.not_run, row.tests_expected))
            for row in rows[:EXECUTIONS]
        ],
        following=rows[EXECUTIONS - 1].id if len(rows) > EXECUTIONS else None,
        first_page=not start,
    )
