"""Tests and submissions: keep what a runner sent, each test once per shard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, exists, func, insert, select, text
from sqlalchemy.exc import OperationalError

from pytest_tms import wire
from pytest_tms.server.domain import counts
from pytest_tms.server.store import tables

KEYS_AT_ONCE = 1000
"""Test keys in one query."""


class TestRow(NamedTuple):
    """One test as it is stored; the columns of the table without its keys to others.

    ``document`` is the test as it was sent; ``shown`` is the JSON text of what a page shows of a failed test,
    None for any other.
    """

    test_key: str
    status: str
    title: str
    file: str
    duration: int
    retries: int
    error: str | None
    document: str
    shown: str | None


class Submission(NamedTuple):
    """One POST /results as it is stored.

    ``document`` is its body without the tests, ``shown`` the JSON text of the files that a page shows.
    """

    id: str
    execution_id: str
    shard_id: str
    received_at: int
    tests: int
    document: str
    shown: str


def add_submission(connection: Connection, submission: Submission) -> None:
    """Keep a submission."""
    connection.execute(insert(tables.submissions).values(**submission._asdict()))


def put_tests(
    connection: Connection, execution_id: str, shard_id: str, rows: Sequence[TestRow]
) -> wire.Counts:
    """Store tests of a shard whose execution is locked; a test that is there already is replaced.

    Return what to add to the shard's counts.
    """
    if not rows:
        return counts.NONE
    place = (execution_id, shard_id)
    table = tables.tests.c
    has_tests = connection.scalar(
        select(exists().where(table.execution_id == execution_id, table.shard_id == shard_id))
    )
    before = counts.NONE
    if connection.dialect.name == "postgresql":
        _copy(connection, rows)
        if has_tests:
            before = _replaced(connection, place)
        # ON CONFLICT looks each key up before it inserts, which an empty shard does not need.
        statement = _FROM_COPY + (_CONFLICT_CHANGED if has_tests else "")
        connection.execute(text(statement), {"execution_id": execution_id, "shard_id": shard_id})
    else:
        if has_tests:
            before = _known(connection, place, [row.test_key for row in rows])
        connection.exec_driver_sql(_UPSERT, [place + row for row in rows])
    return counts.change(before, tally(rows))


def tally(rows: Sequence[TestRow]) -> wire.Counts:
    """Count rows."""
    return _sum((row.status, row.retries, 1) for row in rows)


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
        if status != "passed":
            query = query.where(tables.tests.c.status != tables.constant("passed"))
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


_COLUMNS = TestRow._fields
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
_CONFLICT = f"ON CONFLICT (execution_id, shard_id, test_key) DO UPDATE SET {_UPDATES}"
_INSERT = f"INSERT INTO tests (execution_id, shard_id, {', '.join(_COLUMNS)})"  # names of our own
_UPSERT = f"{_INSERT} VALUES ({', '.join('?' * (len(_COLUMNS) + 2))}) {_CONFLICT}"
# A sequential scan of a temporary table gives its rows in the order in which they were copied.
_FROM_COPY = f"{_INSERT} SELECT :execution_id, :shard_id, {', '.join(_COLUMNS)} FROM tms_sent "  # noqa: S608
_CONFLICT_CHANGED = (
    f"WHERE true {_CONFLICT} WHERE ({', '.join(f'tests.{name}' for name in _COLUMNS[1:])}) "
    f"IS DISTINCT FROM ({', '.join(f'excluded.{name}' for name in _COLUMNS[1:])})"
)
# LIMIT keeps the planner from joining in another way than by the unique index, whatever it knows of the
# sizes: on a database without statistics it would compare every row with every other.
_REPLACED = text(
    "SELECT old.status, old.retries, count(*) FROM tms_sent CROSS JOIN LATERAL ("
    "SELECT status, retries FROM tests WHERE execution_id = :execution_id AND shard_id = :shard_id "
    "AND test_key = tms_sent.test_key LIMIT 1) AS old GROUP BY old.status, old.retries"
)


def _copy(connection: Connection, rows: Iterable[TestRow]) -> None:
    """Write rows to the temporary table ``tms_sent``, which is emptied at the end of the transaction."""
    import psycopg

    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE IF NOT EXISTS tms_sent (test_key text, status text, title text, file text, "
        "duration bigint, retries integer, error text, document text, shown text) ON COMMIT DELETE ROWS"
    )
    statement = f"COPY tms_sent ({', '.join(_COLUMNS)}) FROM STDIN"
    cursor = connection.connection.cursor()
    try:
        with cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.OperationalError as error:  # the driver's own call, so not translated by SQLAlchemy
        raise OperationalError(statement, None, error) from error
    finally:
        cursor.close()


def _replaced(connection: Connection, place: tuple[str, str]) -> wire.Counts:
    """Counts of the tests of a shard that the rows of ``tms_sent`` will replace."""
    found = connection.execute(_REPLACED, {"execution_id": place[0], "shard_id": place[1]})
    return _sum((row[0], row[1], row[2]) for row in found)


def _known(connection: Connection, place: tuple[str, str], keys: Sequence[str]) -> wire.Counts:
    """Counts of those of these tests that the shard has. Looks at no others."""
    table = tables.tests.c
    query = select(table.status, table.retries).where(
        table.execution_id == place[0], table.shard_id == place[1]
    )
    found: list[tuple[str, int, int]] = []
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        rows = connection.execute(query.where(table.test_key.in_(some)))
        found += [(row.status, row.retries, 1) for row in rows]
    return _sum(found)


def _sum(ends: Iterable[tuple[str, int, int]]) -> wire.Counts:
    """Counts of tests, given as (status, retries, number of tests)."""
    tallied = {"passed": 0, "failed": 0, "skipped": 0}
    flaky = 0
    for status, retries, number in ends:
        tallied[status] += number
        flaky += number if status == "passed" and retries > 0 else 0
    return wire.Counts(total=sum(tallied.values()), flaky=flaky, **tallied)
