"""Which tests of two runs differ, by ids of tests. A test failed in a run if it failed in any shard."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, literal_column, select

from pytest_tms import wire
from pytest_tms.server.store import bulk, tables
from pytest_tms.server.store.failures import FAILED
from pytest_tms.server.store.results import STATUSES

MAX_FAILURES = 5_000
"""Failures of a run that are compared; of more, the first ones."""
MAX_TESTS = 200_000
"""Results of a run that are read to find added and removed tests."""
MAX_SLOW = 5_000
"""Slow results of a run that are compared."""
SLOWER_BY = 2
"""Times by which a test is slower than before to be listed; it must also exceed ``SLOWER_THAN``."""
SLOWER_THAN = 1_000
"""Milliseconds that a test takes at least, to be listed as slower."""

_BY_TEST = "ix_results_test_id"
_RESULT = tables.results.c
_PASSED = STATUSES.index("passed")
_PRECEDENCE = ("failed", "passed", "skipped")


class SlowerTest(NamedTuple):
    """A test that takes longer in the later run; durations are milliseconds."""

    test_id: int
    before: int
    after: int


def failed(connection: Connection, execution: int, limit: int = MAX_FAILURES) -> dict[int, int]:
    """Return the failed tests of a run in the order of arrival, each with the number of its result."""
    query = (
        select(_RESULT.test_id, _RESULT.sequence)
        .where(
            _RESULT.execution == execution,
            _RESULT.status == FAILED,
            _RESULT.status != tables.constant(0),
            _RESULT.is_superseded.is_(False),
        )
        .order_by(_RESULT.sequence)
        .limit(limit)
    )
    found: dict[int, int] = {}
    for test_id, sequence in connection.execute(query):
        found.setdefault(test_id, sequence)
    return found


def new_failures(connection: Connection, execution: int, limit: int) -> list[int]:
    """Return the numbers of failed results whose tests did not fail in the run before."""
    detail = tables.result_details.c
    query = (
        select(detail.sequence)
        .where(detail.execution == execution, detail.failing_since == execution)
        .order_by(detail.sequence)
        .limit(limit)
    )
    return list(connection.scalars(query))


def quarantined(connection: Connection, execution: int, limit: int) -> list[int]:
    """Return the numbers of failed results that did not fail their run, since the tests are in quarantine."""
    detail = tables.result_details.c
    query = (
        select(detail.sequence)
        .where(
            detail.execution == execution,
            # The condition of the index, and that of its column.
            literal_column("result_details.is_quarantined"),
            detail.is_quarantined.is_(True),
        )
        .order_by(detail.sequence)
        .limit(limit)
    )
    return list(connection.scalars(query))


def verdicts(
    connection: Connection, execution: int, test_ids: Collection[int]
) -> dict[int, tuple[wire.TestStatus, int]]:
    """Return (status, number of the result) of those tests that a run has; a passed shard hides a skipped."""
    statement = (
        "SELECT test_id, status, sequence FROM results "
        "WHERE execution = {} AND NOT is_superseded AND test_id IN {}"
    )
    found: dict[int, tuple[wire.TestStatus, int]] = {}
    for test_id, code, sequence in bulk.select(connection, statement, (execution,), test_ids, index=_BY_TEST):
        status = STATUSES[code]
        known = found.get(test_id)
        if known is None or _PRECEDENCE.index(status) < _PRECEDENCE.index(known[0]):
            found[test_id] = (status, sequence)
    return found


def test_ids(connection: Connection, execution: int) -> set[int]:
    """Return the tests of a run; of more than ``MAX_TESTS`` results, those of the first."""
    statement = "SELECT test_id FROM results WHERE execution = {} AND sequence <= {}"
    return bulk.numbers(connection, statement, (execution, MAX_TESTS))


def slower(connection: Connection, before: int, after: int) -> list[SlowerTest]:
    """Return the tests that take longer in a later run, those with the largest difference first."""
    query = (
        select(_RESULT.test_id, _RESULT.duration)
        .where(
            _RESULT.execution == after,
            # The first condition is where SQLite begins to read the index, the second that of the index.
            _RESULT.duration >= SLOWER_THAN,
            _RESULT.duration >= tables.constant(100),
            _RESULT.is_superseded.is_(False),
            _RESULT.status == _PASSED,
        )
        .order_by(_RESULT.duration.desc())
        .limit(MAX_SLOW)
    )
    durations: dict[int, int] = {}
    for test_id, duration in connection.execute(query):
        durations.setdefault(test_id, int(duration))  # the longest one of its shards
    earlier = dict(_durations(connection, before, durations))
    found = [
        SlowerTest(test_id, earlier[test_id], duration)
        for test_id, duration in durations.items()
        if test_id in earlier and duration > SLOWER_BY * earlier[test_id]
    ]
    return sorted(found, key=lambda each: each.before - each.after)


def _durations(connection: Connection, execution: int, wanted: Collection[int]) -> Iterator[tuple[int, int]]:
    statement = (
        "SELECT test_id, max(duration) FROM results "
        "WHERE execution = {} AND NOT is_superseded AND status = 0 AND test_id IN {} GROUP BY test_id"
    )
    for test_id, duration in bulk.select(connection, statement, (execution,), wanted, index=_BY_TEST):
        yield int(test_id), int(duration)
