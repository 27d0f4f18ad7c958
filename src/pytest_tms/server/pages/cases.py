"""The pages of test cases: the list, one case, and the list as a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args
from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.response import Stream

from pytest_tms.server.pages.exports import SANDBOX
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services import test_cases
from pytest_tms.server.services.test_history import list_observed
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.test_cases import CaseFilter, Kind

CASES = 50
"""Cases on one page."""
MAX_FILTER = 200
"""Characters of a filter that are used."""
KINDS: tuple[tuple[Kind, str], ...] = (
    ("", "All"),
    ("planned", "In the plan"),
    ("missing", "In the plan, without a test"),
    ("unplanned", "Not in the plan"),
)
"""The kinds of cases, as the form names them."""


@get("/cases", sync_to_thread=True)
def show_cases(
    database: Database, request: Request[Any, Any, Any], page_session: PageSession, after: str = ""
) -> Response[str]:
    """Return the test cases that the user may see."""
    filters = _read_filters(request.query_params)
    start = int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else 0
    with database.read() as connection:
        found, following = test_cases.list_cases(
            connection, _filter(filters), page_session.environments, after=start, limit=CASES
        )
    return page(
        page_session,
        "cases.html",
        cases=found,
        filters=filters,
        kinds=KINDS,
        export=f"/cases.csv?{urlencode(filters)}" if filters else "/cases.csv",
        first=f"/cases?{urlencode(filters)}" if start else "",
        following="" if following is None else f"/cases?{urlencode({**filters, 'after': following})}",
    )


@get("/cases.csv", sync_to_thread=True)
def export_cases(database: Database, request: Request[Any, Any, Any], page_session: PageSession) -> Stream:
    """Return the test cases as a CSV file."""
    wanted = _filter(_read_filters(request.query_params))
    return Stream(
        test_cases.export_cases(database, wanted, page_session.environments),
        media_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": 'attachment; filename="cases.csv"',
            "Content-Security-Policy": SANDBOX,
        },
    )


@get("/cases/{key:str}", sync_to_thread=True)
def show_case(database: Database, page_session: PageSession, key: str) -> Response[str]:
    """Return a test case: its latest results by suite and environment, and its tests."""
    with database.read() as connection:
        found = test_cases.get_case(connection, key, page_session.environments)
        tests = list_observed(connection, [each.id for each in found.tests], page_session.environments)
    return page(page_session, "case.html", found=found, tests=tests)


HANDLERS = (show_cases, export_cases, show_case)


def _read_filters(query: Mapping[str, str]) -> dict[str, str]:
    """Return the filters that are set; a kind that does not exist is left out."""
    found = {
        name: query.get(name, "").replace("\x00", "").strip()[:MAX_FILTER]
        for name in ("project", "q", "kind")
    }
    if found["kind"] not in get_args(Kind):
        found["kind"] = ""
    return {name: value for name, value in found.items() if value}


def _filter(filters: Mapping[str, str]) -> CaseFilter:
    return CaseFilter(
        project=filters.get("project", ""), q=filters.get("q", ""), kind=cast("Kind", filters.get("kind", ""))
    )
