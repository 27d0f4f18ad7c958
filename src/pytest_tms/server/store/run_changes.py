"""What changed in a run since the previous one of its suite, environment and branch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from pytest_tms import wire
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.store import bulk, comparisons, execution_lists, series, tables, test_lists
from pytest_tms.server.store.comparisons import MAX_FAILURES
from pytest_tms.server.store.execution_lists import ListedExecution
from pytest_tms.server.store.test_lists import ListedTest

_RESULT = tables.results.c


@dataclass(frozen=True, kw_only=True)
class ChangedTests:
    """Tests that changed in one way: their number and the first of them."""

    count: int
    tests: Sequence[ListedTest]


@dataclass(frozen=True, kw_only=True)
class RunChanges:
    """The failed, fixed and flaky tests of a run; failures in quarantine are neither new nor known.

    ``previous`` is the run that it is compared with. Without one, failures are neither new nor known, and
    only flaky tests and those in quarantine are listed. ``is_base_branch`` is whether that is a run of the
    base branch, because its own branch has no earlier one. ``first_runs`` are the runs in which known
    failures began, by the number in ``ListedTest.failing_since``. ``is_complete`` is False if a run has more
    failures than are compared; then the numbers are at least these.
    """

    previous: ListedExecution | None
    is_base_branch: bool
    new_failures: ChangedTests
    known_failures: ChangedTests
    fixed: ChangedTests
    flaky: ChangedTests
    quarantined: ChangedTests
    first_runs: dict[int, ListedExecution]
    is_complete: bool


def find(
    connection: Connection, execution: Execution, *, shards: Collection[str] = (), limit: int
) -> RunChanges:
    """Compare a run with its previous one; ``limit`` is the number of tests of each list.

    With ``shards`` only tests with a result in one of these shards are counted and listed.
    """
    number = series.previous(connection, execution.number)
    runs = execution_lists.by_number(connection, [number, execution.number]) if number else {}
    previous = runs.get(number)
    new: list[int] = []
    known: list[int] = []
    fixed: list[int] = []
    is_complete = True
    quarantined = comparisons.quarantined(connection, execution.number, MAX_FAILURES)
    if previous is not None:
        failed = comparisons.failed(connection, execution.number)
        began = set(comparisons.new_failures(connection, execution.number, MAX_FAILURES)) if failed else set()
        before = comparisons.failed(connection, number)
        is_complete = max(len(failed), len(before)) < MAX_FAILURES
        excluded = set(quarantined)
        counted = [each for each in failed.values() if each not in excluded]
        new = [each for each in counted if each in began]
        known = [each for each in counted if each not in began]
        fixed = _fixed(connection, execution.number, before)
    flaky = _flaky(connection, execution.number)
    if shards:
        own = _in_shards(connection, execution.number, {*new, *known, *fixed, *flaky, *quarantined}, shards)
        new, known, fixed, flaky, quarantined = (
            [each for each in some if each in own] for some in (new, known, fixed, flaky, quarantined)
        )

    def listed(sequences: Sequence[int]) -> ChangedTests:
        tests = test_lists.by_sequence(connection, execution.number, sequences[:limit])
        return ChangedTests(count=len(sequences), tests=tests)

    known_failures = listed(known)
    since = {each.failing_since for each in known_failures.tests if each.failing_since}
    return RunChanges(
        previous=previous,
        is_base_branch=previous is not None and previous.branch != runs[execution.number].branch,
        new_failures=listed(new),
        known_failures=known_failures,
        fixed=listed(fixed),
        flaky=listed(flaky),
        quarantined=listed(quarantined),
        first_runs=execution_lists.by_number(connection, since),
        is_complete=is_complete,
    )


def as_message(execution_id: str, changes: RunChanges) -> wire.RunChanges:
    """Return changes as GET /executions/{id}/changes does."""

    def listed(some: ChangedTests) -> wire.ChangedTests:
        tests = [compared_test(test, changes.first_runs) for test in some.tests]
        return wire.ChangedTests(count=some.count, tests=tests)

    return wire.RunChanges(
        execution_id=execution_id,
        compared_with=None if changes.previous is None else changes.previous.id,
        is_complete=changes.is_complete,
        new_failures=listed(changes.new_failures),
        known_failures=listed(changes.known_failures),
        fixed=listed(changes.fixed),
        flaky=listed(changes.flaky),
        quarantined=listed(changes.quarantined),
    )


def compared_test(test: ListedTest, first_runs: Mapping[int, ListedExecution]) -> wire.ComparedTest:
    """Return a test as the API does; ``first_runs`` has the run in which it began to fail."""
    first = first_runs.get(test.failing_since or 0)
    return wire.ComparedTest(
        key=str(test.test_id),
        node_id=test.node_id,
        title=test.title,
        file=test.file,
        shard_id=test.shard_id,
        status=test.status,
        error=test.error,
        since=None
        if first is None
        else wire.FailingSince(
            execution_id=first.id,
            created_at=clock.timestamp(first.created_at),
            commit=first.commit,
            runs=test.failing_runs or 1,
        ),
    )


def _fixed(connection: Connection, execution: int, failed_before: Collection[int]) -> list[int]:
    """Return the numbers of the passed results of tests that failed in the previous run."""
    now = comparisons.verdicts(connection, execution, failed_before) if failed_before else {}
    return [now[test_id][1] for test_id in failed_before if test_id in now and now[test_id][0] == "passed"]


def _flaky(connection: Connection, execution: int) -> list[int]:
    """Return the numbers of the results that passed after a failed attempt."""
    query = (
        select(_RESULT.sequence)
        .where(_RESULT.execution == execution, *test_lists.is_flaky(), _RESULT.is_superseded.is_(False))
        .order_by(_RESULT.sequence)
        .limit(MAX_FAILURES)
    )
    return list(connection.scalars(query))


def _in_shards(
    connection: Connection, execution: int, sequences: Collection[int], shards: Collection[str]
) -> set[int]:
    """Return those results that belong to one of the shards."""
    if not sequences:
        return set()
    statement = "SELECT sequence, shard_id FROM results WHERE execution = {} AND sequence IN {}"
    rows = bulk.select(connection, statement, (execution,), sequences)
    return {sequence for sequence, shard_id in rows if shard_id in shards}
