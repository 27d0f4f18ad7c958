"""Queues: the tests that the shards of an execution take in turn.

The tests of a queue are stored once, numbered in the order in which it was made, see ``domain.queue``. What
is free, and what a runner has taken, are ranges of these numbers. All functions need the lock of the
execution.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, insert, select, text, update

from pytest_tms.server.domain import test_keys
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.queue import QueuedTest, Range
from pytest_tms.server.store import bulk, tables
from pytest_tms.server.store.result_documents import zstd

TESTS_PER_ROW = 200
"""Tests of one row of ``queue_tests``, except for the last."""
MAX_FOUND = 100
"""Runners that one query returns; the next run of the job finds the rest."""
LEVEL = 1
"""Compression level of zstd: the fastest."""

_RUNNER = tables.queue_runners.c
_BATCH = tables.queue_batches.c
_TESTS = tables.queue_tests.c
_COLLECTION = tables.queue_collections.c


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The queue of an execution.

    ``since`` is the sequence of the latest result before the CI attempt ``ci_attempt``, which made the queue.
    ``weight`` is the expected milliseconds of all ``tests``, ``free_weight`` of those that no shard has.
    ``left_out`` is the number of collected tests that need not run again. ``crashes`` has the runners that
    ended while they ran a test, and their shards, by its number.
    """

    created_at: int
    ci_attempt: int
    since: int
    tests: int = 0
    left_out: int = 0
    weight: int = 0
    free: tuple[Range, ...] = ()
    free_weight: int = 0
    crashes: Mapping[int, Sequence[tuple[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class QueueRunner:
    """A runner that takes tests from a queue.

    ``collection`` is the number of the list of tests that it collected. ``lease`` is the milliseconds within
    which it must report, ``lease_until`` when its next report is due. ``is_standby`` means that it has no
    tests, and waits for those of others. ``has_ended`` means that it takes no more tests.
    """

    runner: str
    shard_id: str
    collection: int
    workers: int
    lease: int
    lease_until: int
    is_standby: bool = False
    has_ended: bool = False

    def is_alive(self, now: int) -> bool:
        """Return whether it may run tests at ``now``."""
        return not self.has_ended and self.lease_until > now


class CollectedTests(NamedTuple):
    """A list of tests that shards collected; ``lacks`` are the tests of the queue that it does not have."""

    number: int
    digest: str
    tests: int
    lacks: tuple[Range, ...]


class ClaimedBatch(NamedTuple):
    """Tests that a runner has taken by its request ``number``."""

    runner: str
    number: int
    ranges: tuple[Range, ...]


def get(connection: Connection, execution: int) -> Queue | None:
    """Return the queue of an execution, by its number; None if it has none."""
    row = connection.execute(
        select(tables.queues).where(tables.queues.c.execution == execution)
    ).one_or_none()
    if row is None:
        return None
    return Queue(
        **{name: getattr(row, name) for name in _PLAIN},
        free=_RANGES.decode(row.free),
        crashes=_CRASHES.decode(row.crashes),
    )


def save(connection: Connection, execution: int, before: Queue | None, after: Queue) -> None:
    """Store a queue; ``before`` is the stored one, None if it is new."""
    if before == after:
        return
    values = {name: getattr(after, name) for name in _PLAIN}
    values |= {"free": _text(after.free), "crashes": _text(after.crashes)}
    if before is None:
        connection.execute(insert(tables.queues).values(execution=execution, **values))
    else:
        connection.execute(
            update(tables.queues).where(tables.queues.c.execution == execution).values(**values)
        )


def remove(connection: Connection, execution: int) -> None:
    """Delete the queue of an execution, so that another CI attempt can begin a new one."""
    for table in (
        tables.queue_batches,
        tables.queue_runners,
        tables.queue_collections,
        tables.queue_tests,
        tables.queues,
    ):
        connection.execute(delete(table).where(table.c.execution == execution))


def add_tests(connection: Connection, execution: int, tests: Sequence[QueuedTest]) -> None:
    """Add tests to a queue; their numbers follow those of the stored ones."""
    if not tests:
        return
    first = tests[0].number
    added = list(tests)
    if first % TESTS_PER_ROW:  # the last row has room
        added = [*tests_of(connection, execution, [(first - first % TESTS_PER_ROW, first)]), *tests]
        connection.execute(
            delete(tables.queue_tests).where(_TESTS.execution == execution, _TESTS.first == added[0].number)
        )
    rows = []
    for _, members in groupby(added, lambda test: test.number // TESTS_PER_ROW):
        some = list(members)
        document = msgspec.json.encode([(each.node_id, each.group, each.weight) for each in some])
        rows.append((execution, some[0].number, zstd.compress(document, LEVEL)))
    bulk.insert(connection, "queue_tests", ("execution", "first", "document"), rows)


def tests_of(connection: Connection, execution: int, ranges: Sequence[Range]) -> Iterator[QueuedTest]:
    """Yield the tests in ranges, in their order. Rows are read when they are needed."""
    stored: dict[int, list[tuple[str, str, int]]] = {}
    for start, end in ranges:
        for number in range(start, end):
            first = number - number % TESTS_PER_ROW
            if first not in stored:
                stored = {first: _row_of_tests(connection, execution, first)}
            yield QueuedTest(number, *stored[first][number - first])


def node_ids(connection: Connection, execution: int) -> list[str]:
    """Return the node ids of all tests of a queue, by their numbers."""
    query = select(_TESTS.document).where(_TESTS.execution == execution).order_by(_TESTS.first)
    return [each[0] for document in connection.scalars(query) for each in _unpacked(document)]


def collections(connection: Connection, execution: int) -> list[CollectedTests]:
    """Return the different lists of tests that shards collected, in the order of their numbers."""
    query = select(tables.queue_collections).where(_COLLECTION.execution == execution)
    return [_collected(row) for row in connection.execute(query.order_by(_COLLECTION.number))]


def collection(connection: Connection, execution: int, number: int) -> CollectedTests:
    """Return a list of tests that shards collected, by its number."""
    query = select(tables.queue_collections).where(
        _COLLECTION.execution == execution, _COLLECTION.number == number
    )
    return _collected(connection.execute(query).one())


def save_collection(connection: Connection, execution: int, collected: CollectedTests) -> None:
    """Store a list of tests that shards collected, in the place of the one with its number."""
    connection.execute(
        delete(tables.queue_collections).where(
            _COLLECTION.execution == execution, _COLLECTION.number == collected.number
        )
    )
    values = collected._asdict() | {"lacks": zstd.compress(msgspec.json.encode(collected.lacks), LEVEL)}
    connection.execute(insert(tables.queue_collections).values(execution=execution, **values))


def runners(connection: Connection, execution: int) -> list[QueueRunner]:
    """Return the runners that take tests from a queue."""
    columns = [column for column in _RUNNER if column is not _RUNNER.execution]
    rows = connection.execute(select(*columns).where(_RUNNER.execution == execution))
    return [QueueRunner(**row._mapping) for row in rows]


def save_runner(
    connection: Connection, execution: int, before: QueueRunner | None, after: QueueRunner
) -> None:
    """Store a runner of a queue; ``before`` is the stored one, None if it is new."""
    values = {name: getattr(after, name) for name in QueueRunner.__dataclass_fields__}
    if before is None:
        connection.execute(insert(tables.queue_runners).values(execution=execution, **values))
    elif before != after:
        connection.execute(
            update(tables.queue_runners)
            .where(_RUNNER.execution == execution, _RUNNER.runner == after.runner)
            .values(**values)
        )


def renew(connection: Connection, execution: int, runner: str, now: int) -> None:
    """Store that a runner reported at ``now``."""
    connection.execute(
        update(tables.queue_runners)
        .where(_RUNNER.execution == execution, _RUNNER.runner == runner)
        .values(lease_until=_RUNNER.lease + now)
    )


def expired(connection: Connection, now: int) -> list[str]:
    """Return the executions, by id, with runners of a queue that have not reported in time."""
    query = select(_RUNNER.execution).where(
        text("NOT queue_runners.has_ended"),  # as in its index
        _RUNNER.lease_until <= now,
    )
    numbers = set(connection.scalars(query.order_by(_RUNNER.lease_until).limit(MAX_FOUND)))
    if not numbers:
        return []
    executions = tables.executions.c
    return list(connection.scalars(select(executions.id).where(executions.number.in_(numbers))))


def batch(connection: Connection, execution: int, runner: str, number: int) -> ClaimedBatch | None:
    """Return the batch that a runner got by a request, None if it got no tests."""
    query = select(_BATCH.runner, _BATCH.number, _BATCH.ranges).where(
        _BATCH.execution == execution, _BATCH.runner == runner, _BATCH.number == number
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else ClaimedBatch(row.runner, row.number, _RANGES.decode(row.ranges))


def open_batches(connection: Connection, execution: int) -> list[ClaimedBatch]:
    """Return the batches that may have unfinished tests which no other runner has."""
    query = select(_BATCH.runner, _BATCH.number, _BATCH.ranges).where(
        _BATCH.execution == execution,
        text("queue_batches.is_open"),  # as in its index
    )
    return [
        ClaimedBatch(row.runner, row.number, _RANGES.decode(row.ranges)) for row in connection.execute(query)
    ]


def add_batch(connection: Connection, execution: int, added: ClaimedBatch) -> None:
    """Store a batch that a runner has taken."""
    values = added._asdict() | {"ranges": _text(added.ranges), "is_open": True}
    connection.execute(insert(tables.queue_batches).values(execution=execution, **values))


def close_batches(connection: Connection, execution: int, closed: Collection[ClaimedBatch]) -> None:
    """Store that all tests of some batches are finished, or have been given back."""
    for each in closed:
        connection.execute(
            update(tables.queue_batches)
            .where(_BATCH.execution == execution, _BATCH.runner == each.runner, _BATCH.number == each.number)
            .values(is_open=False)
        )


def finished(connection: Connection, execution: Execution, since: int, tests: Collection[str]) -> set[str]:
    """Return those of some tests, by node id, that have a result which arrived after ``since``."""
    return {name for name, _ in _verdicts(connection, execution, since, tests)}


def settled(connection: Connection, execution: Execution, tests: Collection[str]) -> set[str]:
    """Return those of some tests, by node id, that passed or were skipped, as their newest results say."""
    return {name for name, has_failed in _verdicts(connection, execution, 0, tests) if not has_failed}


def _verdicts(
    connection: Connection, execution: Execution, since: int, tests: Collection[str]
) -> Iterator[tuple[str, bool]]:
    """Yield the tests that have a result which arrived after ``since``, and whether it is a failure."""
    by_hash = {blake2b(test_keys.shortened(name).encode(), digest_size=16).digest(): name for name in tests}
    statement = "SELECT id, key_hash FROM tests WHERE project_id = {} AND key_hash IN {}"
    rows = bulk.select(connection, statement, (execution.project_id,), by_hash)
    by_id = {row[0]: by_hash[bytes(row[1])] for row in rows}
    statement = (
        "SELECT test_id, status FROM results WHERE execution = {} AND sequence > {} AND NOT is_superseded "
        "AND test_id IN {}"
    )
    found = bulk.select(connection, statement, (execution.number, since), by_id, index="ix_results_test_id")
    return ((by_id[row[0]], row[1] == 1) for row in found)


def _row_of_tests(connection: Connection, execution: int, first: int) -> list[tuple[str, str, int]]:
    query = select(_TESTS.document).where(_TESTS.execution == execution, _TESTS.first == first)
    return _unpacked(connection.scalars(query).one())


def _unpacked(document: bytes) -> list[tuple[str, str, int]]:
    return _TEST_LIST.decode(zstd.decompress(document))


def _collected(row: Any) -> CollectedTests:
    lacks = _RANGES.decode(zstd.decompress(row.lacks))
    return CollectedTests(row.number, row.digest, row.tests, lacks)


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


_PLAIN = ("created_at", "ci_attempt", "since", "tests", "left_out", "weight", "free_weight")
_RANGES = msgspec.json.Decoder(tuple[Range, ...])  # made at import: see calls.decoder
_CRASHES = msgspec.json.Decoder(dict[int, list[tuple[str, str]]])
_TEST_LIST = msgspec.json.Decoder(list[tuple[str, str, int]])
