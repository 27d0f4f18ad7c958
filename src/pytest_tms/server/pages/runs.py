"""The start page: the list of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, get_args
from urllib.parse import quote, urlencode

import msgspec
from litestar import Request, Response, get
from litestar.response import Redirect

from pytest_tms import wire
from pytest_tms.server.domain.bars import BarPart, bar_of
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.domain.repository_links import build_url, commit_url, pull_request_url
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.domain.verdicts import Verdict, verdict
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.store import execution_lists, failures, versions
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.execution_lists import ExecutionFilter, ListedExecution

EXECUTIONS = 50
"""Executions on one page."""
HISTORY = 30
"""Results in the chart above the list."""
CHART_HEIGHT = 32
FIELDS = ("project", "suite", "environment", "branch", "status", "author", "date", "text")
"""The filters, by the names of their fields in the form."""
MAX_FILTER = 200
"""Characters of a filter that are used."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run in the list; links are None without one."""

    execution: ListedExecution
    verdict: Verdict
    bar: list[BarPart]
    cause: str
    commit_url: str | None
    build_url: str | None
    pull_request: str
    pull_request_url: str | None


@get("/", sync_to_thread=True)
def home(
    database: Database,
    urls: Urls,
    request: Request[Any, Any, Any],
    page_session: PageSession,
    before: str = "",
) -> Response[str]:
    """Return the list of the executions that the user may see, the newest first."""
    start = int(before) if before.isdecimal() and len(before) < 19 else None
    filters = _read_filters(request.query_params)
    wanted = replace(_filter(filters), environments=page_session.environments)
    with database.read() as connection:
        found, following = execution_lists.find(connection, wanted, before=start, limit=EXECUTIONS)
        projects = execution_lists.projects(connection, EXECUTIONS)
        subject = versions.Subject(None, page_session.environments)
        list_version = versions.read(connection, [subject])[subject]
        causes = failures.largest(connection, [row.number for row in found if row.results.failed])
        metadata = execution_lists.metadata(connection, [row.number for row in found])
    rows = [_row(each, causes.get(each.number, ""), metadata[each.number]) for each in found]
    query = urlencode(filters)
    return page(
        page_session,
        "home.html",
        rows=rows,
        history=_history(rows) if start is None else [],
        newest=f"/?{query}" if filters else "/",
        older=None if following is None else f"/?{urlencode({**filters, 'before': following})}",
        first_page=start is None,
        list_version=list_version,
        filters=filters,
        states=get_args(wire.ExecutionState),
        has_projects=len(projects) > 1,
        projects=projects,
        root=urls.root,
    )


@get("/compare", sync_to_thread=False)
def compare_selected(request: Request[Any, Any, Any]) -> Redirect:
    """Redirect from the two selected runs of the list to their comparison; to the list without two."""
    selected = request.query_params.getall("run", [])
    if len(selected) != 2:
        return Redirect("/", status_code=303)
    newer, older = (quote(name, safe="") for name in selected)
    return Redirect(f"/runs/{newer}/compare?with={older}", status_code=303)


def _row(execution: ListedExecution, cause: str, metadata_text: str) -> Row:
    metadata: dict[str, Any] = msgspec.json.decode(metadata_text)
    number = metadata.get("pullRequest")
    is_number = isinstance(number, (str, int)) and not isinstance(number, bool)
    return Row(
        execution=execution,
        verdict=verdict(execution.status, execution.results, execution.not_run, execution.tests_expected),
        bar=bar_of(execution.results, execution.not_run, execution.tests_expected),
        cause=cause if execution.results.failed else execution.reason or "",
        commit_url=commit_url(metadata),
        build_url=build_url(metadata),
        pull_request=str(number)[:20] if is_number else "",
        pull_request_url=pull_request_url(metadata),
    )


def _history(rows: Sequence[Row]) -> list[tuple[str, str, int]]:
    """Return the newest results, the oldest first, as (kind, title, height); heights show durations."""
    shown = [row for row in rows if row.execution.runtime is not None][:HISTORY]
    longest = max((row.execution.runtime or 0 for row in shown), default=0) or 1
    return [
        (
            "flaky" if row.verdict.kind == "passed" and row.execution.results.flaky else row.verdict.kind,
            f"#{row.execution.number}: {row.verdict.title}",
            max(4, round(CHART_HEIGHT * (row.execution.runtime or 0) / longest)),
        )
        for row in reversed(shown)
    ]


def _read_filters(query: Mapping[str, str]) -> dict[str, str]:
    """Return the filters that are set; a date or a state that is not one is left out."""
    found = {name: query.get(name, "").replace("\x00", "").strip()[:MAX_FILTER] for name in FIELDS}
    if found["status"] not in get_args(wire.ExecutionState):
        found["status"] = ""
    if _day(found["date"]) is None:
        found["date"] = ""
    return {name: value for name, value in found.items() if value}


def _filter(filters: Mapping[str, str]) -> ExecutionFilter:
    day = _day(filters.get("date", ""))
    return ExecutionFilter(
        **{name: value for name, value in filters.items() if name != "date"},
        since=day,
        until=None if day is None else day + DAY,
    )


def _day(text: str) -> int | None:
    """Return the beginning of a day in UTC, in milliseconds since 1970; None if it is not a date."""
    try:
        return round(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
