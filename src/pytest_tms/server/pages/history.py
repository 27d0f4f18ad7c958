"""Pages about more than one run: the tests, the history of one test, comparisons and trends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from litestar import Request, Response, get, post
from litestar.response import Redirect

from pytest_tms import wire
from pytest_tms.errors import Forbidden, NotFound, Unprocessable
from pytest_tms.server.domain import charts, clock
from pytest_tms.server.pages.page_session import WRITES, PageSession
from pytest_tms.server.pages.quarantine import may_quarantine
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services import comparison, renames, test_history
from pytest_tms.server.services.trends import find_trends
from pytest_tms.server.store import execution_lists, executions, projects, quarantine, series, test_cases
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.execution_lists import ExecutionFilter
from pytest_tms.server.store.test_catalogue import CatalogueFilter
from pytest_tms.server.store.test_history import HistoryEntry, HistoryFilter

TESTS = 50
"""Tests on one page of the catalogue."""
RESULTS = 50
"""Results on one page of a test's history."""
COMPARED = 50
"""Tests of each list of a comparison."""
GROUPS = 20
"""Branches and environments of which the latest result is shown."""
MAX_FILTER = 200
"""Characters of a filter that are used."""


@get("/tests", sync_to_thread=True)
def show_tests(
    database: Database, request: Request[Any, Any, Any], page_session: PageSession, after: str = ""
) -> Response[str]:
    """Return the catalogue of tests that the user may see."""
    filters = _read_filters(
        request.query_params, ("q", "suite", "environment", "branch", "owner", "flaky", "nocase")
    )
    wanted = CatalogueFilter(
        environments=page_session.environments,
        **{name: value for name, value in filters.items() if name not in ("flaky", "nocase")},
        is_flaky="flaky" in filters,
        has_no_case="nocase" in filters,
    )
    start = _number(after) or 0
    with database.read() as connection:
        found, following = test_history.list_tests(connection, wanted, after=start, limit=TESTS)
    return page(
        page_session,
        "tests.html",
        tests=[(each, _tags(each.test.tags)) for each in found],
        filters=filters,
        is_flaky=wanted.is_flaky,
        first=f"/tests?{urlencode(filters)}" if start else "",
        following="" if following is None else f"/tests?{urlencode({**filters, 'after': following})}",
    )


@get("/tests/{test_id:str}", sync_to_thread=True)
def show_test(
    database: Database,
    request: Request[Any, Any, Any],
    page_session: PageSession,
    test_id: str,
    before: str = "",
) -> Response[str]:
    """Return the history of a test: its rates, durations, latest results and causes."""
    filters = _read_filters(request.query_params, ("suite", "environment", "branch"))
    wanted = HistoryFilter(environments=page_session.environments, **filters)
    start = _number(before)
    with database.read() as connection:
        test, results, following = test_history.get_history(
            connection, test_id, wanted, before=start, limit=RESULTS
        )
        project = projects.name_of(connection, test.test.project_id)
        quarantined = quarantine.find_open(connection, test.test.project_id, test.test.key)
        cases = test_cases.cases_of(connection, test.test.id)
        earlier = renames.earlier_tests(connection, test.test.id)
        later = renames.later_test(connection, test.test.id)
        is_whole = start is None and following is None and not filters
        first_run = results[-1].execution if results and is_whole and not earlier else 0
        suggested = renames.suggest_for(connection, test.test, first_run) if first_run else []
        latest = results[0] if results and start is None else None
        since = latest.failing_since if latest is not None and latest.status == "failed" else None
        first = execution_lists.by_number(connection, [since]).get(since) if since else None
    path = f"/tests/{test.test.id}"
    return page(
        page_session,
        "test.html",
        test=test,
        tags=_tags(test.test.tags),
        cases=cases,
        earlier=earlier,
        later=later,
        suggested=suggested,
        may_decide=page_session.may(WRITES) and not page_session.environments,
        project=project,
        quarantined=quarantined if quarantined and quarantined.state(clock.now()) == "active" else None,
        may_quarantine=may_quarantine(page_session),
        results=results,
        filters=filters,
        path=path,
        chart=_chart(results),
        lines=_lines(results, test.statistics.typical, test.statistics.slow),
        groups=_groups(results),
        causes=_causes(results),
        latest=latest,
        failing_since=first if first and _may_see(page_session, first.environment) else None,
        newest=f"{path}?{urlencode(filters)}" if start else "",
        older="" if following is None else f"{path}?{urlencode({**filters, 'before': following})}",
    )


@post("/tests/{test_id:str}/rename", opt={"scope": WRITES}, sync_to_thread=True)
def decide_rename(
    database: Database, page_session: PageSession, form: dict[str, str], test_id: str
) -> Response[Any]:
    """Join the history of an earlier test to a test, or reject that they are the same."""
    is_same = form.get("is_same") == "1"
    renames.decide(database, test_id, form.get("earlier", ""), is_same=is_same, caller=page_session.caller)
    return Redirect(f"/tests/{quote(test_id, safe='')}", status_code=303)


@get("/runs/{execution_id:str}/compare", sync_to_thread=True)
def show_comparison(
    database: Database, request: Request[Any, Any, Any], page_session: PageSession, execution_id: str
) -> Response[str]:
    """Return what changed from another run, the previous one unless named, to this one."""
    other = _read_filters(request.query_params, ("with",)).get("with", "")
    with database.read() as connection:
        after = executions.get(connection, execution_id)
        run = execution_lists.by_number(connection, [after.number])[after.number]
        problem = ""
        found = None
        try:
            if not other:
                number = series.previous(connection, after.number)
                previous = execution_lists.by_number(connection, [number]).get(number)
                other = "" if previous is None else previous.id
            if other:
                before = executions.get(connection, other)
                page_session.caller.require_access([before.environment])
                found = comparison.compare(connection, before, after, limit=COMPARED)
        except (NotFound, Forbidden) as error:
            problem = error.message
        except Unprocessable:
            problem = "These runs belong to different projects, which have no test in common."
        lists = () if found is None else (found.newly_failing, found.still_failing)
        runs = comparison.first_runs(connection, [test for some in lists for test in some.tests])
        renamed = {} if found is None else {each.test.id: each for each in found.renames}
    return page(
        page_session,
        "compare.html",
        status=404 if problem else 200,
        run=run,
        other=other,
        found=found,
        problem=problem,
        runs=runs,
        renamed=renamed,
    )


@get("/trends", sync_to_thread=True)
def show_trends(
    database: Database, request: Request[Any, Any, Any], page_session: PageSession
) -> Response[str]:
    """Return the trends of the latest runs that the user may see."""
    filters = _read_filters(request.query_params, ("project", "suite", "environment", "branch"))
    wanted = ExecutionFilter(
        environments=page_session.environments,
        project=filters.get("project", ""),
        suite=filters.get("suite", ""),
        environment=filters.get("environment", ""),
        branch=filters.get("branch", ""),
    )
    with database.read() as connection:
        found = find_trends(connection, wanted)
    runs = list(reversed(found.runs))
    rates = [_pass_rate(each.results) for each in runs]
    kinds = [
        "skipped"
        if each.number in found.infrastructure or rate is None
        else "failed"
        if each.results.failed
        else "passed"
        for each, rate in zip(runs, rates, strict=True)
    ]
    durations = [each.runtime or 0 for each in runs]
    of_tests = {name: value for name, value in filters.items() if name != "project"}
    return page(
        page_session,
        "trends.html",
        filters=filters,
        trends=found,
        flaky_path=f"/tests?{urlencode({**of_tests, 'flaky': 1})}",
        latest_rate=rates[-1] if rates else None,
        rates=list(zip(charts.bars([rate or 0 for rate in rates], 1), kinds, strict=True)),
        durations=[(bar, "running") for bar in charts.bars(durations)],
        longest=max(durations, default=0),
        rows=[(each, rate, kind) for each, rate, kind in zip(runs, rates, kinds, strict=True)][::-1],
    )


HANDLERS = (show_tests, show_test, decide_rename, show_comparison, show_trends)


def _pass_rate(counts: wire.Counts) -> float | None:
    """Return the part of the tests that passed, of those that passed or failed; None without any."""
    decided = counts.passed + counts.failed
    return counts.passed / decided if decided else None


def _read_filters(query: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the filters that are set."""
    found = {name: query.get(name, "").replace("\x00", "").strip()[:MAX_FILTER] for name in names}
    return {name: value for name, value in found.items() if value}


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _tags(text: str) -> list[str]:
    return msgspec.json.decode(text, type=list[str])[:10]


def _may_see(page_session: PageSession, environment: str) -> bool:
    return not page_session.environments or environment in page_session.environments


def _chart(results: Sequence[HistoryEntry]) -> list[tuple[charts.Bar, str]]:
    """Return a bar for the duration of each result, the oldest first, with its kind."""
    shown = list(reversed(results))[-RESULTS:]
    kinds = ["flaky" if each.is_flaky else each.status for each in shown]
    return list(zip(charts.bars([each.duration for each in shown]), kinds, strict=True))


def _lines(
    results: Sequence[HistoryEntry], typical: int | None, slow: int | None
) -> list[tuple[str, float, int]]:
    """Return (name, vertical position, milliseconds) of the percentiles in the chart."""
    highest = max((each.duration for each in results), default=0)
    named = (("p50", typical), ("p95", slow))
    return [(name, charts.level(value, highest), value) for name, value in named if value is not None]


def _groups(results: Sequence[HistoryEntry]) -> list[tuple[HistoryEntry, list[str]]]:
    """Return the latest result of each suite, environment and branch, with its last ten, the oldest first."""
    found: dict[tuple[str, str, str], list[HistoryEntry]] = {}
    for each in results:
        found.setdefault((each.test_suite, each.environment, each.branch), []).append(each)
    return [
        (some[0], ["flaky" if each.is_flaky else each.status for each in some[:10]][::-1])
        for some in list(found.values())[:GROUPS]
    ]


def _causes(results: Sequence[HistoryEntry]) -> list[tuple[HistoryEntry, int]]:
    """Return the latest failure of each cause, and how many failures of it there are, most first."""
    counted = Counter(each.cause for each in results if each.cause)
    latest: dict[str | None, HistoryEntry] = {}
    for each in results:
        latest.setdefault(each.cause, each)
    return [(latest[cause], number) for cause, number in counted.most_common(10)]
