"""Calls of the capability ``cases``: test cases with their tests and latest results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast, get_args

from litestar.response import Stream

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import Problem
from pytest_tms.server.api.filters import MAX_FILTER
from pytest_tms.server.api.paging import requested_page
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.services import test_cases
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.test_cases import CaseFilter, Kind


@route(calls.LIST_CASES)
def list_cases(
    database: Database, caller: Caller, query: dict[str, Any], cursor: str | None = None, limit: str = "100"
) -> wire.CasePage:
    """Return one page of the test cases that the caller may see."""
    page = requested_page(cursor, limit, None, ())
    wanted = _filter(query)
    with database.read() as connection:
        found, following = test_cases.list_cases(
            connection, wanted, _environments(caller), after=page.cursor or 0, limit=page.limit
        )
    return wire.CasePage(
        cases=[test_cases.case_message(each) for each in found],
        cursor=None if following is None else str(following),
    )


@route(calls.IMPORT_CASES)
def import_cases(body: bytes, database: Database, caller: Caller) -> wire.PlanChange:
    """Replace the plan of a project."""
    plan, _ = decode(body, wire.CasePlan, lambda _: ())
    return test_cases.import_plan(database, plan, caller=caller)


@route(calls.EXPORT_CASES)
def export_cases(database: Database, caller: Caller, query: dict[str, Any]) -> Stream:
    """Return the test cases as a CSV file, as they are read from the database."""
    content = test_cases.export_cases(database, _filter(query), _environments(caller))
    return Stream(
        content,
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="cases.csv"'},
    )


HANDLERS = (list_cases, import_cases, export_cases)


def _filter(query: Mapping[str, str]) -> CaseFilter:
    """Return the filter that query parameters ask for.

    Raises:
        Unprocessable: A parameter is not valid.
    """
    problems = [
        Problem(name, f"Must be a text of 1 to {MAX_FILTER} characters")
        for name in ("project", "q", "id")
        if name in query and not (1 <= len(query[name]) <= MAX_FILTER and "\x00" not in query[name])
    ]
    kinds = [each for each in get_args(Kind) if each]
    if query.get("kind", kinds[0]) not in kinds:
        problems.append(Problem("kind", f"Must be one of: {', '.join(kinds)}"))
    refuse(problems)
    return CaseFilter(
        project=query.get("project", ""),
        q=query.get("q", ""),
        case_id=query.get("id", ""),
        kind=cast("Kind", query.get("kind", "")),
    )


def _environments(caller: Caller) -> Collection[str]:
    return () if caller.token is None else caller.token.environments
