"""What the pages show: each query is bounded, and follows an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from pytest_tms import wire
from pytest_tms.server.store import tables


@dataclass(frozen=True, kw_only=True)
class ShownTest:
    """A test on a page; ``sent`` is all that its runner sent, where the page needs it; durations in ms."""

    id: int
    shard_id: str
    title: str
    file: str
    duration: int
    retries: int
    error: str | None
    sent: wire.TestResult | None


class _Submitted(msgspec.Struct):
    artifacts: dict[str, msgspec.Raw] | None = None


def failing(connection: Connection, execution_id: str, *, after: int, limit: int) -> list[ShownTest]:
    """Failed tests in the order of arrival, with everything that was sent about them."""
    table = tables.tests.c
    rows = connection.execute(
        select(tables.tests)
        .where(table.execution_id == execution_id, table.status == "failed", table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    return [_shown(row._mapping, msgspec.json.decode(row.document, type=wire.TestResult)) for row in rows]


def slowest(connection: Connection, execution_id: str, *, limit: int) -> list[ShownTest]:
    """The tests that took longest, without their documents."""
    table = tables.tests.c
    rows = connection.execute(
        select(table.id, table.shard_id, table.title, table.file, table.duration, table.retries, table.error)
        .where(table.execution_id == execution_id, table.duration > 0)
        .order_by(table.duration.desc())
        .limit(limit)
    )
    return [_shown(row._mapping, None) for row in rows]


def events(
    connection: Connection, execution_id: str, *, after: int, limit: int
) -> list[tuple[int, int, str]]:
    """Inbound events in the order of arrival, as (row, time, document)."""
    table = tables.events.c
    rows = connection.execute(
        select(table.id, table.received_at, table.document)
        .where(table.execution_id == execution_id, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    return [(row.id, row.received_at, row.document) for row in rows]


def submissions(
    connection: Connection, execution_id: str, *, after: str, limit: int
) -> list[tuple[str, str, dict[str, msgspec.Raw]]]:
    """Submissions in the order of arrival, as (id, shard id, artifacts as they were sent)."""
    table = tables.submissions.c
    rows = connection.execute(
        select(table.id, table.shard_id, table.document)
        .where(table.execution_id == execution_id, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    return [
        (row.id, row.shard_id, msgspec.json.decode(row.document, type=_Submitted).artifacts or {})
        for row in rows
    ]


def _shown(columns: Any, sent: wire.TestResult | None) -> ShownTest:
    names = ("id", "shard_id", "title", "file", "duration", "retries", "error")
    return ShownTest(**{name: columns[name] for name in names}, sent=sent)
