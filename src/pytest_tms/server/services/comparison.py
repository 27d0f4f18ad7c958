"""The difference of any two runs. ``store.run_changes`` compares a run with its previous one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from pytest_tms.errors import Problem
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.services import renames
from pytest_tms.server.services.renames import SuggestedRename
from pytest_tms.server.store import comparisons, execution_lists, test_history, test_lists
from pytest_tms.server.store import renames as stored_renames
from pytest_tms.server.store.execution_lists import ListedExecution
from pytest_tms.server.store.test_history import RegisteredTest
from pytest_tms.server.store.test_lists import ListedTest

LISTED = 20
"""Tests of each kind that a comparison lists unless its caller wants more."""

MAX_JOINED = 5_000
"""Added tests whose earlier names are looked for."""


@dataclass(frozen=True, kw_only=True)
class ComparedTests:
    """Tests that differ in one way: their number and the first of them.

    ``is_complete`` is False if a run has more than the comparison reads; then the number is at least that.
    """

    count: int
    tests: Sequence[ListedTest]
    is_complete: bool = True


@dataclass(frozen=True, kw_only=True)
class SlowerTest:
    """A passed test that takes longer than before: over twice as long, and over a second (milliseconds)."""

    test: RegisteredTest
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """The difference of two runs: from ``before`` to ``after``.

    ``removed`` tests are only in the run before: they are listed with their results there. A test that was
    joined to one of them is neither added nor removed. ``renames`` are added tests that may be removed ones.
    """

    before: ListedExecution
    after: ListedExecution
    newly_failing: ComparedTests
    fixed: ComparedTests
    still_failing: ComparedTests
    added: ComparedTests
    removed: ComparedTests
    renames: Sequence[SuggestedRename]
    slower: Sequence[SlowerTest]
    slower_count: int


def first_runs(connection: Connection, tests: Sequence[ListedTest]) -> dict[int, ListedExecution]:
    """Return the runs in which failures began, by the number in ``failing_since``: with commit and time."""
    return execution_lists.by_number(connection, {each.failing_since for each in tests if each.failing_since})


def compare(
    connection: Connection, before: Execution, after: Execution, *, limit: int = LISTED
) -> RunComparison:
    """Compare two runs of one project, the later one with the earlier one.

    Raises:
        Unprocessable: They belong to different projects, which have no test in common.
    """
    if before.project_id != after.project_id:
        message = f"Must be an execution of the same project, which {before.id} is not"
        refuse([Problem("with", message)])
    runs = execution_lists.by_number(connection, [before.number, after.number])
    old, new = (comparisons.failed(connection, each.number) for each in (before, after))
    is_complete = max(len(old), len(new)) < comparisons.MAX_FAILURES
    then = comparisons.verdicts(connection, before.number, new)
    failed_then = {test_id for test_id, (status, _) in then.items() if status == "failed"}
    still = [sequence for test_id, sequence in new.items() if test_id in failed_then]
    newly = [sequence for test_id, sequence in new.items() if test_id not in failed_then]
    removed, added = _changed_tests(connection, before.number, after.number)
    slower = comparisons.slower(connection, before.number, after.number)
    tests = test_history.get_tests(connection, [each.test_id for each in slower[:limit]])
    by_id = {each.id: each for each in tests}
    return RunComparison(
        before=runs[before.number],
        after=runs[after.number],
        newly_failing=_listed(connection, after.number, newly, limit, is_complete),
        still_failing=_listed(connection, after.number, still, limit, is_complete),
        fixed=_fixed(connection, old, after.number, limit),
        added=_only_in(connection, after.number, added, limit),
        removed=_only_in(connection, before.number, removed, limit),
        renames=renames.suggest(connection, before.number, removed, added),
        slower=[
            SlowerTest(test=by_id[each.test_id], before=each.before, after=each.after)
            for each in slower[:limit]
            if each.test_id in by_id
        ],
        slower_count=len(slower),
    )


def _changed_tests(connection: Connection, before: int, after: int) -> tuple[set[int], set[int]]:
    """Return the tests that only the run before has, and those that only the run after has."""
    earlier, later = (comparisons.test_ids(connection, number) for number in (before, after))
    removed, added = earlier - later, later - earlier
    if removed and added:
        for test_id, names in stored_renames.earlier(connection, sorted(added)[:MAX_JOINED]).items():
            if same := removed.intersection(names):
                removed -= same
                added.discard(test_id)
    return removed, added


def _fixed(connection: Connection, failed: Collection[int], after: int, limit: int) -> ComparedTests:
    """Return the tests that ``failed`` in the run before and passed in the run after."""
    now = comparisons.verdicts(connection, after, failed)
    passed = [now[test_id][1] for test_id in failed if test_id in now and now[test_id][0] == "passed"]
    return _listed(connection, after, passed, limit, len(failed) < comparisons.MAX_FAILURES)


def _only_in(connection: Connection, execution: int, test_ids: set[int], limit: int) -> ComparedTests:
    found = comparisons.verdicts(connection, execution, sorted(test_ids)[:limit])
    sequences = [sequence for _, sequence in found.values()]
    tests = test_lists.by_sequence(connection, execution, sorted(sequences))
    return ComparedTests(count=len(test_ids), tests=tests)


def _listed(
    connection: Connection, execution: int, sequences: Sequence[int], limit: int, is_complete: bool
) -> ComparedTests:
    tests = test_lists.by_sequence(connection, execution, sequences[:limit])
    return ComparedTests(count=len(sequences), tests=tests, is_complete=is_complete)
