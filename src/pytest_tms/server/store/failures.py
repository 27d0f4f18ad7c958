"""Failures of an execution: their causes, counted as results arrive, and since when each test fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Insert, exists, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tms.server.domain import flakiness
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.failure_causes import FailureCause, fingerprint_of, number_of
from pytest_tms.server.store import bulk, sealed, series, tables

MAX_COMPARED = 20_000
"""Failed tests of one execution that are compared with earlier runs."""
MAX_RUNS = 10
"""Earlier runs that are searched for a test, so that a run of a few tests hides no failure before it."""
MAX_MISSING = 1_000
"""Tests that the previous run did not have and that are searched for in earlier runs."""
MAX_POSITION = 10_000
"""Failures that are counted to say which one is shown."""
FAILED = 1
"""The status of failed results: see ``results.STATUSES``."""


class Streak(NamedTuple):
    """The consecutive failures of a test.

    ``since`` is the number of the execution in which they began, None if there was no run to compare with;
    ``runs`` is how many runs have failed, the present one included.
    """

    since: int | None
    runs: int


class Cause(NamedTuple):
    """A cause with its failures in one execution.

    ``is_new`` is whether the previous run had no failure of this cause, None if there is no previous run.
    ``first_seen`` is the number of the project's first execution with this cause. ``first_sequence`` is the
    number of its first result, by which ``test_lists.by_sequence`` finds the test.
    """

    fingerprint: str
    exception: str
    message: str
    location: str
    failures: int
    first_sequence: int
    first_seen: int
    is_new: bool | None


class Place(NamedTuple):
    """Where a failed result is shown: as a part of its page's address."""

    sequence: int
    test_id: int
    shard_id: str


class Neighbours(NamedTuple):
    """The failures before and after a result, in the order of arrival; None if there is none.

    ``position`` counts from 1, and is None if the result is not a failure or comes after ``MAX_POSITION``.
    ``total`` is the number of failures of the execution.
    """

    previous: Place | None
    next: Place | None
    position: int | None
    total: int


def count(
    connection: Connection,
    execution: int,
    project_id: int,
    added: Sequence[FailureCause],
    removed: Counter[int],
) -> None:
    """Count the failures that were added to a locked execution, and those removed, by fingerprint."""
    if not added and not removed:
        return
    table = tables.failure_causes
    causes = {each.number: each for each in added}
    changes = Counter(each.number for each in added)
    changes.subtract(removed)
    more = [
        _new_cause(connection, execution, project_id, causes[number], change)
        for number, change in sorted(changes.items())
        if change > 0
    ]
    if more:
        connection.execute(_add(connection.dialect.name), more)
    fewer = [(number, -change) for number, change in sorted(changes.items()) if change < 0]
    for number, change in fewer:
        is_it = (table.c.execution == execution, table.c.fingerprint == number)
        connection.execute(table.update().where(*is_it).values(failures=table.c.failures - change))
    if fewer:
        statement = "DELETE FROM failure_causes WHERE execution = {} AND failures <= 0 AND fingerprint IN {}"
        bulk.execute(connection, statement, (execution,), [number for number, _ in fewer])


@cache  # made once: SQLAlchemy takes longer to make it than to run it
def _add(dialect: str) -> Insert:
    """Return the statement that adds failures to causes of executions, which it inserts if they are new."""
    table = tables.failure_causes
    inserting = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    return inserting.on_conflict_do_update(
        index_elements=[table.c.execution, table.c.fingerprint],
        set_={"failures": table.c.failures + inserting.excluded.failures},
    )


def _new_cause(
    connection: Connection, execution: int, project_id: int, cause: FailureCause, failures: int
) -> dict[str, Any]:
    (message,), encrypted = sealed.seal(
        connection, sealed.FAILURE_CAUSES, (execution, cause.number), (cause.message,)
    )
    return {
        "execution": execution,
        "fingerprint": cause.number,
        "project_id": project_id,
        "exception": cause.exception,
        "message": message,
        "location": cause.location,
        "failures": failures,
        "sealed": encrypted,
    }


def _message(connection: Connection, execution: int, row: Any) -> str:
    """Return the message of a row with the columns fingerprint, message and sealed."""
    place = (execution, row.fingerprint)
    return sealed.opened(connection, sealed.FAILURE_CAUSES, place, (row.message,), row.sealed)[0] or ""


def largest(connection: Connection, executions: Collection[int]) -> dict[int, str]:
    """Return the most frequent cause of each execution with failures: the exception and the message."""
    if not executions:
        return {}
    table, numbers = tables.failure_causes.c, tables.executions.c.number
    other = tables.failure_causes.alias().c
    most = (
        select(other.fingerprint).where(other.execution == numbers).order_by(other.failures.desc()).limit(1)
    )
    query = (
        select(table.execution, table.fingerprint, table.exception, table.message, table.sealed)
        .join_from(tables.executions, tables.failure_causes, table.execution == numbers)
        .where(numbers.in_(executions), table.fingerprint == most.scalar_subquery())
    )
    return {
        row.execution: f"{row.exception}: {_message(connection, row.execution, row)}".removeprefix(": ")
        for row in connection.execute(query).all()
    }


def remove(connection: Connection, execution: int, sequences: Collection[int]) -> Counter[int]:
    """Clear the causes of results that are verdicts no longer, and return how many had each."""
    if not sequences:
        return Counter()
    statement = (
        "SELECT cause FROM result_details WHERE execution = {} AND cause IS NOT NULL AND sequence IN {}"
    )
    removed = Counter(int(row[0]) for row in bulk.select(connection, statement, (execution,), sequences))
    if removed:
        statement = (
            "UPDATE result_details SET cause = NULL, failing_since = NULL, failing_runs = NULL, "
            "is_quarantined = false "
            "WHERE execution = {} AND sequence IN {}"
        )
        bulk.execute(connection, statement, (execution,), sequences)
    return removed


def widespread(connection: Connection, execution: int, total: int, sequences: Collection[int]) -> set[int]:
    """Return those of the failed results, by their numbers, whose cause is widespread.

    ``total`` is the number of tests of the execution.
    """
    statement = (
        "SELECT d.sequence FROM result_details AS d "
        "JOIN failure_causes AS f ON f.execution = d.execution AND f.fingerprint = d.cause "
        "WHERE d.execution = {} AND f.failures >= {} AND d.sequence IN {}"
    )
    most = flakiness.widespread(total)
    return {row[0] for row in bulk.select(connection, statement, (execution, most), sequences)}


def streaks(
    connection: Connection, execution: Execution, previous: int, test_ids: Collection[int]
) -> dict[int, Streak]:
    """Return since when tests fail that failed in an execution.

    ``previous`` is the number of the run that it is compared with, 0 if there is none. The latest earlier run
    in which a test passed or failed decides; a test that has none begins to fail now.
    """
    if not test_ids:
        return {}
    if not previous or execution.summed.failed > MAX_COMPARED:
        return dict.fromkeys(test_ids, Streak(None, 1))
    runs = series.up_to(connection, previous, MAX_RUNS)
    found = _streaks(connection, execution.number, runs[:1], test_ids)
    missing = set(test_ids) - found.keys()
    if len(missing) <= MAX_MISSING:
        found |= _streaks(connection, execution.number, runs[1:], missing)
    return {**dict.fromkeys(test_ids, Streak(execution.number, 1)), **found}


def _streaks(
    connection: Connection, execution: int, earlier: Sequence[int], test_ids: Collection[int]
) -> dict[int, Streak]:
    """Return the streaks of tests by the latest of some earlier runs in which each passed or failed."""
    statement = (
        "SELECT results.test_id, results.execution, status, failing_since, failing_runs "
        "FROM {pairs} CROSS JOIN results LEFT JOIN result_details AS details "
        "ON details.execution = results.execution AND details.sequence = results.sequence "
        "WHERE test_id = pairs.one AND results.execution = pairs.other AND NOT is_superseded AND status <> 2"
    )
    pairs = [(test_id, run) for test_id in test_ids for run in earlier]
    rows = bulk.pairs(connection, statement, (), pairs, ("bigint", "bigint"), index="ix_results_test_id")
    found: dict[int, Streak] = {}
    decided_by: dict[int, int] = {}
    for test_id, run, status, since, count in sorted(rows, key=lambda row: row[1], reverse=True):
        if decided_by.setdefault(test_id, run) != run:
            continue
        if status == FAILED:
            found[test_id] = Streak(since or run, (count or 1) + 1)
        else:
            found.setdefault(test_id, Streak(execution, 1))
    return found


def causes(
    connection: Connection, execution: int, *, limit: int, after: tuple[int, str] | None = None
) -> list[Cause]:
    """Return the causes of failures of an execution, by its number: those with most failures first.

    ``after`` is the number of failures and the fingerprint of the last cause of the page before.

    Raises:
        ValueError: The fingerprint is not valid.
    """
    table = tables.failure_causes.c
    if after is None:
        return _causes(connection, execution, limit)
    position = tuple_(table.failures, table.fingerprint)
    return _causes(connection, execution, limit, position < (after[0], number_of(after[1])))


def cause(connection: Connection, execution: int, fingerprint: str) -> Cause | None:
    """Return one cause of an execution, None if it has no failure of it.

    Raises:
        ValueError: The fingerprint is not valid.
    """
    is_it = tables.failure_causes.c.fingerprint == number_of(fingerprint)
    found = _causes(connection, execution, 1, is_it)
    return found[0] if found else None


def number_of_causes(connection: Connection, execution: int, limit: int) -> int:
    """Return how many causes the failures of an execution have, at most ``limit``."""
    table = tables.failure_causes.c
    counted = select(table.fingerprint).where(table.execution == execution).limit(limit).subquery()
    return int(connection.scalar(select(func.count()).select_from(counted)) or 0)


def neighbours(connection: Connection, execution: int, sequence: int) -> Neighbours:
    """Return the failures before and after a result of an execution, given by their numbers."""
    table = tables.results.c
    failures = _failures(execution)
    columns = (table.sequence, table.test_id, table.shard_id)
    before = connection.execute(
        select(*columns).where(*failures, table.sequence < sequence).order_by(table.sequence.desc()).limit(1)
    ).one_or_none()
    after = connection.execute(
        select(*columns).where(*failures, table.sequence > sequence).order_by(table.sequence).limit(1)
    ).one_or_none()
    counted = (
        select(table.sequence)
        .where(*failures, table.sequence <= sequence)
        .order_by(table.sequence)
        .limit(MAX_POSITION + 1)
        .subquery()
    )
    number, last = connection.execute(select(func.count(), func.max(counted.c.sequence))).one()
    executions = tables.executions.c
    total = connection.scalar(select(executions.failed).where(executions.number == execution))
    return Neighbours(
        None if before is None else Place(*before),
        None if after is None else Place(*after),
        number if last == sequence and number <= MAX_POSITION else None,
        int(total or 0),
    )


def _causes(
    connection: Connection, execution: int, limit: int, *conditions: ColumnElement[bool]
) -> list[Cause]:
    table, detail = tables.failure_causes.c, tables.result_details.c
    earlier = tables.failure_causes.alias()
    first = select(func.min(detail.sequence)).where(
        detail.execution == table.execution, detail.cause == table.fingerprint
    )
    first_seen = select(func.min(earlier.c.execution)).where(
        earlier.c.project_id == table.project_id, earlier.c.fingerprint == table.fingerprint
    )
    previous = series.previous(connection, execution)
    was_there = exists().where(earlier.c.execution == previous, earlier.c.fingerprint == table.fingerprint)
    query = (
        select(
            table.fingerprint,
            table.exception,
            table.message,
            table.sealed,
            table.location,
            table.failures,
            first.scalar_subquery().label("first_sequence"),
            first_seen.scalar_subquery().label("first_seen"),
            was_there.label("was_there"),
        )
        .where(table.execution == execution, *conditions)
        .order_by(table.failures.desc(), table.fingerprint.desc())
        .limit(limit)
    )
    return [
        Cause(
            fingerprint=fingerprint_of(row.fingerprint),
            exception=row.exception,
            message=_message(connection, execution, row),
            location=row.location,
            failures=row.failures,
            first_sequence=row.first_sequence,
            first_seen=row.first_seen,
            is_new=None if not previous else not row.was_there,
        )
        for row in connection.execute(query).all()
    ]


def _failures(execution: int) -> list[ColumnElement[bool]]:
    table = tables.results.c
    return [
        table.execution == execution,
        table.status == FAILED,
        table.status != tables.constant(0),
        table.is_superseded.is_(False),
    ]
