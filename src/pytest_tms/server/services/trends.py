"""Trends of the latest runs of a suite, environment and branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from pytest_tms.server.domain.flakiness import is_infrastructure_failure
from pytest_tms.server.services import flaky_tests
from pytest_tms.server.services.comparison import SlowerTest
from pytest_tms.server.services.flaky_tests import FlakyTest
from pytest_tms.server.store import comparisons, execution_lists, test_catalogue, test_history
from pytest_tms.server.store.execution_lists import ExecutionFilter, ListedExecution
from pytest_tms.server.store.test_history import RegisteredTest

RUNS = 100
"""Latest runs that are read."""
LISTED = 10
"""Tests of each list."""
BACK = 20
"""Runs by which the latest is compared with an earlier one, to find tests that become slower."""


@dataclass(frozen=True, kw_only=True)
class Trends:
    """The latest runs with results, the newest first, and the tests that stand out in them.

    ``flaky`` are the most flaky tests, with their rates in these runs. ``slower`` are those that take longer
    in the latest run than in ``compared_with``, an earlier run of the same suite, environment and branch.
    Runs of ``infrastructure`` are infrastructure failures, which change neither list.
    """

    runs: Sequence[ListedExecution]
    infrastructure: frozenset[int]
    flaky: Sequence[tuple[RegisteredTest, FlakyTest]]
    slower: Sequence[SlowerTest]
    compared_with: ListedExecution | None


def find_trends(connection: Connection, wanted: ExecutionFilter) -> Trends:
    """Return the trends of the latest runs that match a filter."""
    found, _ = execution_lists.find(connection, wanted, before=None, limit=RUNS)
    runs = [each for each in found if each.results.total]
    infrastructure = frozenset(
        each.number for each in runs if is_infrastructure_failure(each.results.total, each.results.failed)
    )
    usable = [each for each in runs if each.number not in infrastructure]
    ranked = flaky_tests.rank(connection, test_catalogue.flaky(connection, usable), usable)[:LISTED]
    flaky = {each.test_id: each for each in flaky_tests.describe(connection, ranked, usable)}
    earlier = _earlier(usable)
    return Trends(
        runs=runs,
        infrastructure=infrastructure,
        flaky=[(test, flaky[test.id]) for test in test_history.get_tests(connection, list(flaky))],
        slower=[] if earlier is None else _slower(connection, earlier, usable[0]),
        compared_with=earlier,
    )


def _earlier(runs: Sequence[ListedExecution]) -> ListedExecution | None:
    """Return the run that the first is compared with, None if there is none."""
    if not runs:
        return None
    latest = runs[0]
    same = [
        each
        for each in runs[1:]
        if (each.project, each.test_suite, each.environment, each.branch)
        == (latest.project, latest.test_suite, latest.environment, latest.branch)
    ]
    return same[:BACK][-1] if same else None


def _slower(connection: Connection, before: ListedExecution, after: ListedExecution) -> list[SlowerTest]:
    found = comparisons.slower(connection, before.number, after.number)[:LISTED]
    tests = {each.id: each for each in test_history.get_tests(connection, [each.test_id for each in found])}
    return [
        SlowerTest(test=tests[each.test_id], before=each.before, after=each.after)
        for each in found
        if each.test_id in tests
    ]
