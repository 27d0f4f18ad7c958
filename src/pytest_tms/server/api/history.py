"""Calls of the capability ``history``: causes of failures, comparisons, and tests over all executions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Request

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import NotFound, Problem
from pytest_tms.server.api.paging import requested_page
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.flakiness import Rate
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.services import comparison, renames, test_history
from pytest_tms.server.services.comparison import ComparedTests
from pytest_tms.server.services.test_history import TestSummary
from pytest_tms.server.store import (
    execution_lists,
    executions,
    failures,
    run_changes,
    series,
    test_lists,
    test_registry,
)
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.execution_lists import ListedExecution
from pytest_tms.server.store.test_catalogue import CatalogueFilter
from pytest_tms.server.store.test_history import HistoryEntry, HistoryFilter
from pytest_tms.server.store.test_lists import TestFilter

MAX_FILTER = 200
"""Characters of the longest filter."""
MAX_SHARDS = 200
"""Shards that one request may name."""
MAX_KNOWN = 200_000
"""Tests of a project that are listed as known."""
TESTS = 5
"""Tests that are listed of each cause."""
_CURSOR = re.compile(r"([0-9]{1,18})-([0-9a-f]{16})", re.ASCII)


@route(calls.LIST_FAILURES)
def list_failures(
    database: Database, execution_id: str, cursor: str | None = None, limit: str = "100"
) -> wire.FailurePage:
    """Return one page of the causes of an execution's failures, those with most failures first."""
    page = requested_page(None, limit, None, ())
    position = None if cursor is None else _CURSOR.fullmatch(cursor)
    if cursor is not None and position is None:
        refuse([Problem("cursor", "Must be the cursor of an earlier page")])
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        after = None if position is None else (int(position[1]), position[2])
        found = failures.causes(connection, execution.number, limit=page.limit + 1, after=after)
        shown = found[: page.limit]
        tests = {
            each.fingerprint: test_lists.find(
                connection, execution.number, TestFilter(cause=each.fingerprint), limit=TESTS
            )[0]
            for each in shown
        }
        listed = [test for some in tests.values() for test in some]
        runs = comparison.first_runs(connection, listed)
        first = execution_lists.by_number(connection, {each.first_seen for each in shown})
    last = shown[-1] if len(found) > page.limit else None
    return wire.FailurePage(
        execution_id=execution_id,
        causes=[
            wire.FailureCause(
                fingerprint=each.fingerprint,
                exception=each.exception,
                message=each.message,
                location=each.location,
                count=each.failures,
                is_new=each.is_new,
                first_seen=_time(first.get(each.first_seen)),
                tests=[run_changes.compared_test(test, runs) for test in tests[each.fingerprint]],
            )
            for each in shown
        ],
        cursor=None if last is None else f"{last.failures}-{last.fingerprint}",
    )


@route(calls.GET_CHANGES)
def get_changes(
    request: Request[Any, Any, Any], database: Database, execution_id: str, limit: str = "100"
) -> wire.RunChanges:
    """Return what changed in an execution since the previous one."""
    page = requested_page(None, limit, None, ())
    shards = request.query_params.getall("shard", [])
    if len(shards) > MAX_SHARDS:
        refuse([Problem("shard", f"Must be given at most {MAX_SHARDS} times")])
    for shard in shards:
        _check({"shard": shard}, ["shard"])
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        found = run_changes.find(connection, execution, shards=shards, limit=page.limit)
    return run_changes.as_message(execution_id, found)


@route(calls.COMPARE_EXECUTIONS)
def compare_executions(
    database: Database,
    caller: Caller,
    execution_id: str,
    query: dict[str, Any],
    limit: str = "100",
) -> wire.ExecutionComparison:
    """Return what changed from one execution to another."""
    page = requested_page(None, limit, None, ())
    other = query.get("with")
    _check(query, ["with"])
    with database.read() as connection:
        after = executions.get(connection, execution_id)
        if other is None:
            number = series.previous(connection, after.number)
            previous = execution_lists.by_number(connection, [number]).get(number)
            if previous is None:
                raise NotFound(f"{execution_id} has no previous execution: name one in the parameter with.")
            other = previous.id
        before = executions.get(connection, other)
        caller.require_access([before.environment])
        found = comparison.compare(connection, before, after, limit=page.limit)
        lists = (found.newly_failing, found.still_failing)
        runs = comparison.first_runs(connection, [test for some in lists for test in some.tests])

    def listed(some: ComparedTests) -> list[wire.ComparedTest]:
        return [run_changes.compared_test(test, runs) for test in some.tests]

    return wire.ExecutionComparison(
        execution_id=execution_id,
        compared_with=before.id,
        counts=wire.ComparisonCounts(
            newly_failing=found.newly_failing.count,
            fixed=found.fixed.count,
            still_failing=found.still_failing.count,
            added=found.added.count,
            removed=found.removed.count,
            slower=found.slower_count,
        ),
        is_complete=found.newly_failing.is_complete and found.fixed.is_complete,
        newly_failing=listed(found.newly_failing),
        fixed=listed(found.fixed),
        still_failing=listed(found.still_failing),
        added=listed(found.added),
        removed=listed(found.removed),
        renames=[
            wire.PossibleRename(
                key=str(each.test.id),
                node_id=each.test.node_id,
                earlier_key=str(each.earlier.id),
                earlier_node_id=each.earlier.node_id,
                reason=each.reason,
            )
            for each in found.renames[: page.limit]
        ],
        slower=[
            wire.SlowerTest(
                key=str(each.test.id),
                node_id=each.test.node_id,
                title=each.test.title,
                file=each.test.file,
                before=each.before,
                after=each.after,
            )
            for each in found.slower
        ],
    )


@route(calls.LIST_REGISTERED_TESTS)
def list_registered_tests(
    database: Database, caller: Caller, query: dict[str, Any], cursor: str | None = None, limit: str = "100"
) -> wire.RegisteredTestPage:
    """Return one page of the tests of all executions that the caller may see."""
    page = requested_page(cursor, limit, None, ())
    _check(query, ["q", "testSuite", "environment", "branch", "owner"])
    refuse(
        Problem(name, "Must be one of: true, false")
        for name in ("flaky", "withoutCase")
        if query.get(name, "false") not in ("true", "false")
    )
    wanted = CatalogueFilter(
        environments=_environments(caller),
        q=query.get("q", ""),
        suite=query.get("testSuite", ""),
        environment=query.get("environment", ""),
        branch=query.get("branch", ""),
        owner=query.get("owner", ""),
        is_flaky=query.get("flaky") == "true",
        has_no_case=query.get("withoutCase") == "true",
    )
    with database.read() as connection:
        found, following = test_history.list_tests(
            connection, wanted, after=page.cursor or 0, limit=page.limit
        )
    return wire.RegisteredTestPage(
        tests=[_registered(each) for each in found], cursor=None if following is None else str(following)
    )


@route(calls.GET_TEST_HISTORY)
def get_test_history(
    database: Database,
    caller: Caller,
    test_key: str,
    query: dict[str, Any],
    cursor: str | None = None,
    limit: str = "100",
) -> wire.TestHistory:
    """Return one page of the results of a test that the caller may see, the newest first."""
    page = requested_page(cursor, limit, None, ())
    _check(query, ["testSuite", "environment", "branch"])
    wanted = HistoryFilter(
        environments=_environments(caller),
        suite=query.get("testSuite", ""),
        environment=query.get("environment", ""),
        branch=query.get("branch", ""),
    )
    with database.read() as connection:
        test, results, following = test_history.get_history(
            connection, test_key, wanted, before=page.cursor, limit=page.limit
        )
        names = [each.id for each in renames.earlier_tests(connection, test.test.id)]
        earlier = test_history.list_observed(connection, names, wanted.environments)
    return wire.TestHistory(
        test=_registered(test),
        earlier=[_registered(each) for each in earlier if each.recent or not wanted.environments],
        results=[_result(each) for each in results],
        cursor=None if following is None else str(following),
    )


@route(calls.LIST_KNOWN_TESTS)
def list_known_tests(database: Database, execution_id: str) -> wire.KnownTests:
    """Return hashes of the tests that the project of an execution had run before."""
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        found = test_registry.known_hashes(
            connection, execution.project_id, execution.created_at, MAX_KNOWN + 1
        )
    return wire.KnownTests(
        hashes=[each.hex()[:16] for each in found[:MAX_KNOWN]], is_complete=len(found) <= MAX_KNOWN
    )


@route(calls.DECIDE_RENAME)
def decide_rename(body: bytes, database: Database, caller: Caller, test_key: str) -> wire.RenamedTest:
    """Join the history of an earlier test to a test, or reject that they are the same."""
    decision, _ = decode(body, wire.RenameDecision, lambda _: ())
    joined = renames.decide(database, test_key, decision.earlier_key, is_same=decision.is_same, caller=caller)
    return wire.RenamedTest(key=test_key, earlier_keys=[str(each) for each in joined])


HANDLERS = (
    list_failures,
    get_changes,
    compare_executions,
    list_registered_tests,
    get_test_history,
    list_known_tests,
    decide_rename,
)


def _check(query: Mapping[str, str], names: Sequence[str]) -> None:
    """Check the length of query parameters.

    Raises:
        Unprocessable: A parameter is not valid.
    """
    refuse(
        Problem(name, f"Must be a text of 1 to {MAX_FILTER} characters")
        for name in names
        if name in query and not (1 <= len(query[name]) <= MAX_FILTER and "\x00" not in query[name])
    )


def _environments(caller: Caller) -> Sequence[str]:
    return [] if caller.token is None else list(caller.token.environments)


def _time(run: ListedExecution | None) -> str | None:
    return None if run is None else clock.timestamp(run.created_at)


def _registered(found: TestSummary) -> wire.RegisteredTest:
    test, figures = found.test, found.statistics
    return wire.RegisteredTest(
        key=str(test.id),
        node_id=test.node_id,
        title=test.title,
        file=test.file,
        owner=test.owner,
        tags=msgspec.json.decode(test.tags, type=list[str]),
        first_seen=clock.timestamp(test.first_seen),
        last_seen=clock.timestamp(test.last_seen),
        last_status=found.last_status,
        runs=figures.passed.of,
        pass_rate=_rounded(figures.passed, figures.passed.rate),
        flake_rate=_rounded(figures.flaky, figures.flaky.rate),
        flake_rate_low=_rounded(figures.flaky, figures.flaky.low),
        flake_rate_high=_rounded(figures.flaky, figures.flaky.high),
        flake_trend=None if found.flakiness is None else found.flakiness.trend,
        flake_cost=None if found.flakiness is None else found.flakiness.cost,
        median_duration=figures.typical,
        slow_duration=figures.slow,
    )


def _rounded(rate: Rate, value: float) -> float | None:
    return round(value, 4) if rate.of else None


def _result(entry: HistoryEntry) -> wire.HistoryResult:
    return wire.HistoryResult(
        execution_id=entry.execution_id,
        created_at=clock.timestamp(entry.created_at),
        test_suite=entry.test_suite,
        environment=entry.environment,
        branch=entry.branch,
        commit=entry.commit,
        shard_id=entry.shard_id,
        status=entry.status,
        outcome=entry.outcome,
        duration=entry.duration,
        is_flaky=entry.is_flaky,
        error=entry.error,
        cause=entry.cause,
        failing_runs=entry.failing_runs,
    )
