"""The tests of a project over all runs: found by name, owner, suite, environment, branch and flakiness."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from pytest_tms.server.domain import flakiness
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.flakiness import Observation, is_infrastructure_failure
from pytest_tms.server.store import (
    bulk,
    case_links,
    comparisons,
    execution_lists,
    failures,
    renames,
    tables,
    test_lists,
)
from pytest_tms.server.store.execution_lists import ExecutionFilter, ListedExecution
from pytest_tms.server.store.results import STATUSES
from pytest_tms.server.store.test_lists import TestFilter

RANGE = 100_000
"""Tests that one page of the catalogue searches; the next page continues there."""
RUNS = 100
"""Latest runs in which flaky tests are searched."""
MAX_FLAKY = 20_000
"""Flaky results that are counted."""
MAX_FAILED = 500
"""Failures of a run that are looked for in other runs of its commit."""

_TEST = tables.tests.c


@dataclass(frozen=True, kw_only=True)
class CatalogueFilter:
    """Which tests a catalogue has; what is empty or False excludes none.

    ``q`` is a part of the key, title, file, owner or tags, without regard to case. With ``suite``,
    ``environment`` or ``branch`` the tests are those of the latest run with these values. ``environments``
    are those allowed. ``has_no_case`` are tests that carry the id of no test case.
    """

    environments: Collection[str] = ()
    q: str = ""
    suite: str = ""
    environment: str = ""
    branch: str = ""
    owner: str = ""
    is_flaky: bool = False
    has_no_case: bool = False

    @property
    def runs(self) -> ExecutionFilter:
        """The filter of the runs in question."""
        return ExecutionFilter(
            environments=self.environments,
            suite=self.suite,
            environment=self.environment,
            branch=self.branch,
        )


def find(
    connection: Connection, wanted: CatalogueFilter, *, after: int, limit: int
) -> tuple[list[int], int | None]:
    """Return the ids of tests, and the cursor of the next page or None; ``after`` is 0 on the first page.

    A page may have fewer than ``limit`` and yet a cursor. For flaky tests, see ``flaky``.
    """
    if wanted.suite or wanted.environment or wanted.branch or wanted.environments:
        return _of_latest_run(connection, wanted, after, limit)
    query = (
        select(_TEST.id)
        .where(_TEST.id > after, _TEST.id <= after + RANGE, *_names(connection, wanted))
        .order_by(_TEST.id)
        .limit(limit + 1)
    )
    found = list(connection.scalars(query))
    if len(found) > limit:
        return found[:limit], found[limit - 1]
    last = int(connection.scalar(select(func.max(_TEST.id))) or 0)
    return found, after + RANGE if last > after + RANGE else None


def runs(connection: Connection, wanted: ExecutionFilter, limit: int = RUNS) -> list[ListedExecution]:
    """Return the latest runs with results, without infrastructure failures, the newest first."""
    found, _ = execution_lists.find(connection, wanted, before=None, limit=limit)
    return [
        each
        for each in found
        if each.results.total and not is_infrastructure_failure(each.results.total, each.results.failed)
    ]


def flaky(connection: Connection, some: Sequence[ListedExecution]) -> list[tuple[int, int]]:
    """Return (test id, number of flaky results) of tests in some runs, the most flaky first.

    A result is flaky if it passed after a failed attempt, or failed while it passed in another run of the
    same commit, suite and environment, unless the cause of the failure was widespread.
    """
    result = tables.results.c
    counted: Counter[int] = Counter()
    for run in some:
        query = (
            select(result.test_id)
            .where(result.execution == run.number, *test_lists.is_flaky(), result.is_superseded.is_(False))
            .order_by(result.sequence)
            .limit(MAX_FLAKY // RUNS)
        )
        counted.update(connection.scalars(query))
    by_commit: defaultdict[tuple[str, str, str], list[ListedExecution]] = defaultdict(list)
    for run in some:
        if run.commit:
            by_commit[run.commit, run.test_suite, run.environment].append(run)
    for same in by_commit.values():
        for run in same if len(same) > 1 else ():
            failed = _failed_alone(connection, run)
            passed: set[int] = set()
            for other in same:
                if other is not run and failed:
                    verdicts = comparisons.verdicts(connection, other.number, failed)
                    passed |= {test_id for test_id, (status, _) in verdicts.items() if status == "passed"}
            counted.update(passed)
    return sorted(counted.items(), key=lambda each: (-each[1], each[0]))


def _failed_alone(connection: Connection, run: ListedExecution) -> list[int]:
    """Return the tests of a run that failed without a widespread cause."""
    failed = comparisons.failed(connection, run.number, MAX_FAILED)
    numbers = {(run.number, sequence) for sequence in failed.values()}
    common = _widespread(connection, numbers, {run.number: (run.results.total, run.results.failed)})
    return [test_id for test_id, sequence in failed.items() if (run.number, sequence) not in common]


def observations(
    connection: Connection, test_ids: Collection[int], environments: Collection[str], limit: int
) -> dict[int, list[tuple[int, Observation]]]:
    """Return (time of the run, observation) of the latest results of tests, the newest first, by test id.

    Those of earlier tests that were joined to a test are among them.
    """
    result = tables.results.c
    rows: dict[int, Sequence[Any]] = {}
    joined = renames.earlier(connection, test_ids)
    for test_id in test_ids:
        read: list[Any] = []
        for name in (test_id, *joined.get(test_id, ())):
            query = (
                select(result.execution, result.sequence, result.status, result.is_flaky, result.duration)
                .where(result.test_id == name, result.is_superseded.is_(False))
                .order_by(result.execution.desc())
                .limit(limit)
            )
            read += connection.execute(query).all()
        rows[test_id] = sorted(read, key=lambda row: -row.execution)[:limit] if test_id in joined else read
    numbers = sorted({row.execution for some in rows.values() for row in some})
    found: dict[int, tuple[str, str, str, int, int, int]] = {}
    statement = (
        'SELECT number, test_suite, environment, "commit", total, failed, created_at FROM executions '
        "WHERE deleted_at IS NULL AND number > {} AND number IN {}"
    )
    for row in bulk.select(connection, statement, (-1,), numbers):
        if not environments or row[2] in environments:
            found[row[0]] = (row[1], row[2], row[3], row[4], row[5], row[6])
    failed = {
        (row.execution, row.sequence)
        for some in rows.values()
        for row in some
        if row.status == failures.FAILED and row.execution in found
    }
    common = _widespread(connection, failed, {number: run[3:5] for number, run in found.items()})
    return {
        test_id: [
            (
                found[row.execution][5],
                _observation(found[row.execution], row, (row.execution, row.sequence) in common),
            )
            for row in some
            if row.execution in found
        ]
        for test_id, some in rows.items()
    }


def _widespread(
    connection: Connection, failed: Collection[tuple[int, int]], counts: Mapping[int, tuple[int, int]]
) -> set[tuple[int, int]]:
    """Return those of the failed results, given as (execution, sequence), whose cause is widespread.

    ``counts`` are the numbers of all tests and of failed tests of each execution.
    """
    by_run: defaultdict[int, list[int]] = defaultdict(list)
    for number, sequence in failed:
        total, number_failed = counts[number]
        if number_failed >= flakiness.widespread(total):
            by_run[number].append(sequence)
    return {
        (number, sequence)
        for number, sequences in by_run.items()
        for sequence in failures.widespread(connection, number, counts[number][0], sequences)
    }


def numbers_of_results(
    connection: Connection, test_ids: Collection[int], some: Sequence[ListedExecution]
) -> dict[int, int]:
    """Return how many results tests have in some runs, by test id."""
    # A query for each test, because PostgreSQL would else read all results of these runs.
    statement = (
        "SELECT t.id, (SELECT count(*) FROM results AS r WHERE r.test_id = t.id AND r.execution IN (:runs)) "
        "FROM tests AS t WHERE t.id >= {} AND t.id IN {}"
    ).replace(":runs", ", ".join(str(int(run.number)) for run in some))
    rows = bulk.select(connection, statement, (0,), test_ids, index="ix_results_test_id") if some else ()
    return {row[0]: int(row[1]) for row in rows}


def observations_in(
    connection: Connection, test_ids: Collection[int], some: Sequence[ListedExecution]
) -> dict[int, list[Observation]]:
    """Return the results of tests in some runs, in the order of these, by test id.

    A retry within an attempt is taken to last as long as the result; attempts of a shard are known exactly.
    """
    by_test: dict[int, dict[int, list[Any]]] = {}
    statement = (
        "SELECT execution, status, is_flaky, duration, retries, is_superseded, sequence FROM results "
        "WHERE test_id = {} AND execution IN {}"
    )
    numbers = [run.number for run in some]
    for test_id in test_ids:
        rows: defaultdict[int, list[Any]] = defaultdict(list)
        for row in bulk.select(connection, statement, (test_id,), numbers, index="ix_results_test_id"):
            rows[row[0]].append(row)
        by_test[test_id] = rows
    failed = {
        (number, row[6])
        for runs_of_test in by_test.values()
        for number, rows_of_run in runs_of_test.items()
        for row in rows_of_run
        if row[1] == failures.FAILED
    }
    common = _widespread(
        connection, failed, {run.number: (run.results.total, run.results.failed) for run in some}
    )
    return {
        test_id: [
            observed
            for run in some
            if run.number in runs_of_test
            for observed in _observed(run, runs_of_test[run.number], common)
        ]
        for test_id, runs_of_test in by_test.items()
    }


def _observed(
    run: ListedExecution, rows: Sequence[Any], common: Collection[tuple[int, int]]
) -> list[Observation]:
    lost = sum(row[3] for row in rows if row[5] and row[1] == failures.FAILED)
    verdicts = [row for row in rows if not row[5]]
    return [
        Observation(
            status=STATUSES[row[1]],
            is_flaky=bool(row[2]),
            duration=row[3],
            commit=run.commit,
            series=(run.test_suite, run.environment),
            lost=row[4] * row[3] + (lost if place == 0 else 0),
            is_widespread=(run.number, row[6]) in common,
        )
        for place, row in enumerate(verdicts)
    ]


def _observation(run: tuple[str, str, str, int, int, int], row: Any, is_widespread: bool) -> Observation:
    suite, environment, commit, total, failed, _ = run
    return Observation(
        status=STATUSES[row.status],
        is_flaky=bool(row.is_flaky),
        duration=row.duration,
        commit=commit,
        series=(suite, environment),
        is_infrastructure_failure=is_infrastructure_failure(total, failed),
        is_widespread=is_widespread,
    )


def _of_latest_run(
    connection: Connection, wanted: CatalogueFilter, after: int, limit: int
) -> tuple[list[int], int | None]:
    """Return tests of the latest run with results; the cursor is the number of a result of it."""
    found, _ = execution_lists.find(connection, wanted.runs, before=None, limit=10)
    latest = next((each for each in found if each.results.total), None)
    if latest is None:
        return [], None
    cursor = str(after) if after else None
    rows, following = test_lists.find(
        connection, latest.number, TestFilter(q=wanted.q, owner=wanted.owner), after=cursor, limit=limit
    )
    test_ids = list(dict.fromkeys(row.test_id for row in rows))
    return matching(connection, test_ids, wanted), None if following is None else int(following)


def matching(connection: Connection, test_ids: Sequence[int], wanted: CatalogueFilter) -> list[int]:
    """Return those of the first ``MAX_FLAKY`` tests that have the text and the owner of a filter."""
    if not (wanted.q or wanted.owner or wanted.has_no_case):
        return list(test_ids)
    query = select(_TEST.id).where(_TEST.id.in_(test_ids[:MAX_FLAKY]), *_names(connection, wanted))
    found = set(connection.scalars(query))
    return [test_id for test_id in test_ids if test_id in found]


def _names(connection: Connection, wanted: CatalogueFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.q:
        found.append(test_lists.contains(connection, _TEST.search_text, without_nul(wanted.q.lower())))
    if wanted.owner:
        found.append(_TEST.owner == without_nul(wanted.owner))
    if wanted.has_no_case:
        found.append(case_links.has_no_case())
    return found
