"""The tests of a run: a list or a list of files, with filters that are a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast, get_args

from litestar import Request, Response, get
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.failure_causes import number_of
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.result_dots import Dots, result_dots
from pytest_tms.server.pages.run_links import test_path, tests_path
from pytest_tms.server.pages.run_page import run_page
from pytest_tms.server.store import executions, failures, run_summaries, test_history, test_lists
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.test_lists import ListedTest, Sort, TestFilter

TESTS = 100
"""Tests on one page."""
FILES = 200
"""Files on one page."""
DOTS = 10
"""Past results of a test that are shown as dots."""
TAGS = 5
"""Tags of a test that are shown."""
MAX_FILTER = 500
"""Characters of a filter that are used."""
SHARDS = 100
"""Shards that the form proposes."""

TEXTS = ("q", "status", "outcome", "file", "tag", "shard", "worker", "owner", "cause")
FLAGS = ("new", "flaky", "quarantined")
OUTCOMES = ("error", "crashed", "timeout", "xfailed", "xpassed")
"""Outcomes that the form proposes; a URL may name any."""
SORTS: tuple[tuple[str, str], ...] = (
    ("arrival", "by arrival"),
    ("duration", "slowest first"),
    ("name", "by name"),
)
LABELS = {"q": "search", "new": "new failures", "flaky": "flaky", "quarantined": "in quarantine"}


class Row(NamedTuple):
    """A test of the list."""

    test: ListedTest
    path: str
    dots: Dots | None
    error: str


class Chip(NamedTuple):
    """A filter that is set, and the path of the list without it."""

    label: str
    value: str
    path: str


@get("/runs/{execution_id:str}/tests", sync_to_thread=True)
def run_tests(
    database: Database, request: Request[Any, Any, Any], page_session: PageSession, execution_id: str
) -> Response[str]:
    """Return the tests of a run that match the filters of the query: see ``docs/pages.md``."""
    query = request.query_params
    filters = _read_filters(query)
    is_by_file = query.get("view") == "files"
    after = query.get("after", "")[:MAX_FILTER].replace("\x00", "") or None
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        shards = executions.shards(connection, execution_id, limit=SHARDS, with_metadata=False)
        cause = _cause(connection, execution, filters)
        if is_by_file:
            files, following = _files(connection, execution, filters, after)
            rows: list[Row] = []
        else:
            files = []
            rows, following = _rows(connection, execution, filters, after)
    view = {"view": "files"} if is_by_file else {}
    return run_page(
        page_session,
        "run_tests.html",
        execution,
        "tests",
        filters=filters,
        chips=_chips(execution_id, filters, view, cause),
        view="files" if is_by_file else "list",
        views=[
            ("list", "List", tests_path(execution_id, **filters)),
            ("files", "By file", tests_path(execution_id, **_of_files(filters), view="files")),
        ],
        statuses=get_args(wire.TestStatus),
        outcomes=[*OUTCOMES, *({filters["outcome"]} - {*OUTCOMES} if "outcome" in filters else ())],
        sorts=SORTS,
        shards=[shard.shard_id for shard in shards],
        rows=rows,
        files=files,
        first=tests_path(execution_id, **filters, **view) if after else None,
        following=tests_path(execution_id, **filters, **view, after=following) if following else None,
        tests_path=tests_path,
        tags=TAGS,
    )


def _read_filters(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the filters that are set; values that cannot be one are left out."""
    found: dict[str, Any] = {
        name: value
        for name in TEXTS
        if (value := query.get(name, "").replace("\x00", "").strip()[:MAX_FILTER])
    }
    if found.get("status", "passed") not in get_args(wire.TestStatus):
        del found["status"]
    if "cause" in found and not _is_fingerprint(found["cause"]):
        del found["cause"]
    found |= {name: True for name in FLAGS if query.get(name, "") not in ("", "0")}
    if query.get("sort") in get_args(Sort) and query["sort"] != "arrival":
        found["sort"] = query["sort"]
    return found


def _is_fingerprint(text: str) -> bool:
    try:
        number_of(text)
    except ValueError:
        return False
    return True


def _of_files(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters that the list of files has."""
    return {name: value for name, value in filters.items() if name in ("status", "flaky")}


def _rows(
    connection: Connection, execution: Execution, filters: Mapping[str, Any], after: str | None
) -> tuple[list[Row], str | None]:
    wanted = TestFilter(
        **{name: filters[name] for name in TEXTS if name in filters},
        is_new="new" in filters,
        is_flaky="flaky" in filters,
        is_quarantined="quarantined" in filters,
        sort=cast("Sort", filters.get("sort", "arrival")),
    )
    try:
        found, following = test_lists.find(connection, execution.number, wanted, after=after, limit=TESTS)
    except ValueError:  # a cursor of another list
        found, following = test_lists.find(connection, execution.number, wanted, limit=TESTS)
    recent = test_history.recent(connection, execution.number, {test.test_id for test in found}, limit=DOTS)
    rows = [
        Row(
            test,
            test_path(execution.id, test.test_id, test.shard_id),
            result_dots([each.status for each in reversed(recent.get(test.test_id, []))]),
            (test.error or "").strip().partition("\n")[0][:200],
        )
        for test in found
    ]
    return rows, following


def _files(
    connection: Connection, execution: Execution, filters: Mapping[str, Any], after: str | None
) -> tuple[list[run_summaries.FileSummary], str | None]:
    numbers = [
        int(part)
        for part in (after or "").split("-")
        if part.isascii() and part.isdecimal() and len(part) < 19
    ]
    found, following = run_summaries.files(
        connection,
        execution.number,
        status=filters.get("status"),
        is_flaky="flaky" in filters,
        after=(numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0),
        limit=FILES,
    )
    return found, None if following is None else f"{following[0]}-{following[1]}"


def _cause(connection: Connection, execution: Execution, filters: Mapping[str, Any]) -> str:
    """Return the message of the chosen cause; its fingerprint if the run has no failure of it."""
    if "cause" not in filters:
        return ""
    found = failures.cause(connection, execution.number, filters["cause"])
    if found is None:
        return str(filters["cause"])
    return ": ".join(part for part in (found.exception, found.message) if part)


def _chips(execution_id: str, filters: Mapping[str, Any], view: Mapping[str, str], cause: str) -> list[Chip]:
    return [
        Chip(
            LABELS.get(name, name),
            cause if name == "cause" else "" if value is True else str(value),
            tests_path(execution_id, **{key: each for key, each in filters.items() if key != name}, **view),
        )
        for name, value in filters.items()
        if name != "sort"
    ]
