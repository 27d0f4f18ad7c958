"""The start page: the list of executions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, get_args
from urllib.parse import urlencode

from litestar import Request, Response, get

from pytest_tms import wire
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.domain.verdicts import verdict
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.store import execution_lists
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.execution_lists import ExecutionFilter

EXECUTIONS = 50
"""Executions on one page."""
FIELDS = ("project", "suite", "environment", "branch", "status", "author", "date", "text")
"""The filters, by the names of their fields in the form."""
MAX_FILTER = 200
"""Characters of a filter that are used."""


@get("/", sync_to_thread=True)
def home(
    database: Database, request: Request[Any, Any, Any], page_session: PageSession, before: str = ""
) -> Response[str]:
    """Return the list of the executions that the user may see, the newest first."""
    start = int(before) if before.isdecimal() and len(before) < 19 else None
    given = _given(request.query_params)
    wanted = replace(_filter(given), environments=page_session.environments)
    with database.read() as connection:
        found, following = execution_lists.find(connection, wanted, before=start, limit=EXECUTIONS)
        projects = execution_lists.projects(connection, EXECUTIONS)
    query = urlencode(given)
    return page(
        page_session,
        "home.html",
        executions=[
            (row, verdict(row.status, row.results, row.not_run, row.tests_expected)) for row in found
        ],
        newest=f"/?{query}" if given else "/",
        older=None if following is None else f"/?{urlencode({**given, 'before': following})}",
        first_page=start is None,
        given=given,
        states=get_args(wire.ExecutionState),
        has_projects=len(projects) > 1,
        projects=projects,
    )


def _given(query: Mapping[str, str]) -> dict[str, str]:
    """Return the filters that are set; a date or a state that is not one is left out."""
    found = {name: query.get(name, "").replace("\x00", "").strip()[:MAX_FILTER] for name in FIELDS}
    if found["status"] not in get_args(wire.ExecutionState):
        found["status"] = ""
    if _day(found["date"]) is None:
        found["date"] = ""
    return {name: value for name, value in found.items() if value}


def _filter(given: Mapping[str, str]) -> ExecutionFilter:
    day = _day(given.get("date", ""))
    return ExecutionFilter(
        **{name: value for name, value in given.items() if name != "date"},
        since=day,
        until=None if day is None else day + DAY,
    )


def _day(text: str) -> int | None:
    """Return the beginning of a day in UTC, in milliseconds since 1970; None if it is not a date."""
    try:
        return round(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
