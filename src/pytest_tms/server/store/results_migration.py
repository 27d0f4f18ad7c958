"""Results of version 0.1.0, moved to the tables of this version: in batches, each a transaction of its own.

The migration 0011 leaves them in ``tests_before_0011``. What is moved is deleted there, so that a move that
is interrupted continues where it stopped. The table is dropped with its last row.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, inspect, text

from pytest_tms import wire
from pytest_tms.server.domain.result_rows import ResultRow, result_row
from pytest_tms.server.store import executions, results

BATCH = 2_000
"""Rows that ``move`` takes at a time."""
TABLE = "tests_before_0011"
_TEST = msgspec.json.Decoder(wire.TestResult)  # made at import: see calls.decoder
_EARLIER = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def is_pending(connection: Connection) -> bool:
    """Return whether results of an earlier version are left to be moved."""
    return inspect(connection).has_table(TABLE)


def move(connection: Connection) -> None:
    """Move the next results, or remove the table if there are none."""
    query = text(f"SELECT * FROM {TABLE} ORDER BY execution_id, shard_id, id LIMIT :limit")  # noqa: S608  # a constant name
    rows = connection.execute(query, {"limit": BATCH}).all()
    if not rows:
        connection.execute(text(f"DROP TABLE {TABLE}"))
        return
    for (execution_id, shard_id), some in groupby(rows, lambda row: (row.execution_id, row.shard_id)):
        _move_shard(connection, execution_id, shard_id, list(some))
    statement = text(f"DELETE FROM {TABLE} WHERE id = :row_id")  # noqa: S608  # a constant name
    connection.execute(statement, [{"row_id": row.id} for row in rows])


def _move_shard(connection: Connection, execution_id: str, shard_id: str, rows: Sequence[Row[Any]]) -> None:
    """Store rows of one shard: those of earlier attempts first, as they once arrived."""
    execution = executions.lock(connection, execution_id)
    by_attempt: dict[int, list[ResultRow]] = {}
    for row in rows:
        for earlier in _EARLIER.decode(row.earlier or "[]"):
            attempt = int(bytes(earlier.pop("attempt")))
            document = msgspec.json.encode(earlier).decode()
            by_attempt.setdefault(attempt, []).append(_row(row.test_key, document))
        newest = _row(row.test_key, row.document)._replace(
            status=row.status, duration=row.duration, retries=row.retries, error=row.error
        )
        by_attempt.setdefault(row.attempt, []).append(newest)
    for attempt, some in sorted(by_attempt.items()):
        results.put(connection, execution, shard_id, some, attempt, execution.created_at, is_first=False)


def _row(key: str, document: str) -> ResultRow:
    try:
        test = _TEST.decode(document)
    except msgspec.MsgspecError:  # of an earlier attempt, cut to its bounds
        test = wire.TestResult(title=key, status="failed")
    return result_row(key, test, document)
