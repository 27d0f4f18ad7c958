"""Tests and submissions: keep what a runner sent, each test once per shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, update

from pytest_tms import wire
from pytest_tms.server.model import counts
from pytest_tms.server.store import tables

ASKED_AT_ONCE = 1000
"""Keys that one query names."""


class TestRow(NamedTuple):
    """One test as it is kept; the columns of the table without its keys to others."""

    test_key: str
    status: str
    title: str
    file: str
    duration: int
    retries: int
    error: str | None
    document: str


class Submission(NamedTuple):
    """One POST /results as it is kept; ``document`` is its body without the tests."""

    id: str
    execution_id: str
    shard_id: str
    received_at: int
    tests: int
    document: str


def add_submission(connection: Connection, submission: Submission) -> None:
    """Keep a submission."""
    connection.execute(insert(tables.submissions).values(**submission._asdict()))


def put_tests(
    connection: Connection, execution_id: str, shard_id: str, rows: Sequence[TestRow], *, fresh: bool
) -> wire.Counts:
    """Keep tests of a shard whose execution is locked; a test that is there already is replaced.

    ``fresh`` says that the shard has none yet. Answers what to add to the shard's counts.
    """
    if not rows:
        return counts.NONE
    place = (execution_id, shard_id)
    if fresh:
        _insert(connection, place, rows)
        return tally(rows)
    known = _known(connection, execution_id, shard_id, [row.test_key for row in rows])
    old = [row for row in rows if row.test_key in known]
    _insert(connection, place, [row for row in rows if row.test_key not in known])
    _replace(connection, [(known[row.test_key][0], row) for row in old])
    return counts.change(_sum([known[row.test_key][1:] for row in old]), tally(rows))


def tally(rows: Sequence[TestRow]) -> wire.Counts:
    """Count rows."""
    return _sum([(row.status, row.retries) for row in rows])


def page(
    connection: Connection, execution_id: str, *, status: str | None, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Tests as they were sent, in the order of arrival, and the cursor of the next page if there is one.

    ``earlierAttempts`` of a test are the documents of earlier attempts of its shard, the newest first.
    """
    query = (
        select(tables.tests.c.id, tables.tests.c.shard_id, tables.tests.c.document, tables.tests.c.earlier)
        .where(tables.tests.c.execution_id == execution_id, tables.tests.c.id > after)
        .order_by(tables.tests.c.id)
        .limit(limit + 1)
    )
    if status is not None:
        query = query.where(tables.tests.c.status == status)
    rows = connection.execute(query).all()
    # Fields stay as text: what a runner wrote is given back, also where no number of ours holds it.
    fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
    documents = [
        {
            "shardId": row.shard_id,
            **fields.decode(row.document),
            **({} if row.earlier is None else {"earlierAttempts": msgspec.Raw(row.earlier.encode())}),
        }
        for row in rows[:limit]
    ]
    return documents, rows[limit - 1].id if len(rows) > limit else None


def has_submission(connection: Connection, submission: Submission) -> bool:
    """Return whether a submission with the same document is kept already."""
    table = tables.submissions.c
    query = select(table.id).where(
        table.execution_id == submission.execution_id,
        table.shard_id == submission.shard_id,
        table.tests == submission.tests,
        table.document == submission.document,
    )
    return connection.execute(query.limit(1)).one_or_none() is not None


def time_spent(connection: Connection, execution_id: str, shard_id: str) -> int:
    """Return the sum of the durations of a shard's tests, in milliseconds."""
    query = select(func.sum(tables.tests.c.duration)).where(
        tables.tests.c.execution_id == execution_id, tables.tests.c.shard_id == shard_id
    )
    return min(int(connection.scalar(query) or 0), wire.MAX_COUNT)


def _insert(connection: Connection, place: tuple[str, str], rows: Sequence[TestRow]) -> None:
    """As tuples to the driver, in half the time that 100,000 dicts take."""
    if rows:
        names = ("execution_id", "shard_id", *TestRow._fields)
        mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
        statement = f"INSERT INTO tests ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"  # noqa: S608  # our own names
        connection.exec_driver_sql(statement, [place + row for row in rows])


def _replace(connection: Connection, rows: Sequence[tuple[int, TestRow]]) -> None:
    if rows:
        fields = TestRow._fields[1:]
        new: dict[str, Any] = {name: bindparam(f"new_{name}") for name in fields}
        connection.execute(
            update(tables.tests).where(tables.tests.c.id == bindparam("row_id")).values(**new),
            [
                {"row_id": row_id, **{f"new_{name}": getattr(row, name) for name in fields}}
                for row_id, row in rows
            ],
        )


def _known(
    connection: Connection, execution_id: str, shard_id: str, keys: Sequence[str]
) -> dict[str, tuple[int, str, int]]:
    """Which of these tests the shard has: their rows' ids, statuses and retries. Asks for no others."""
    table = tables.tests.c
    query = select(table.test_key, table.id, table.status, table.retries).where(
        table.execution_id == execution_id, table.shard_id == shard_id
    )
    found = {}
    for start in range(0, len(keys), ASKED_AT_ONCE):
        some = keys[start : start + ASKED_AT_ONCE]
        for row in connection.execute(query.where(table.test_key.in_(some))):
            found[row.test_key] = (row.id, row.status, row.retries)
    return found


def _sum(ends: Sequence[tuple[str, int]]) -> wire.Counts:
    tallied = {"passed": 0, "failed": 0, "skipped": 0}
    flaky = 0
    for status, retries in ends:
        tallied[status] += 1
        flaky += status == "passed" and retries > 0
    return wire.Counts(total=len(ends), flaky=flaky, **tallied)
