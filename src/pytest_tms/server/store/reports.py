"""What the pages show: each query is bounded, and follows an index."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, case, func, select

from pytest_tms import wire
from pytest_tms.server.model import counts
from pytest_tms.server.model.execution import runtime
from pytest_tms.server.store import tables

COUNTS = wire.Counts.__struct_fields__
LONGEST_METADATA = 20_000
"""Characters of an execution's metadata beyond which a list does not look into it."""


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


@dataclass(frozen=True, kw_only=True)
class ShownExecution:
    """An execution in a list; times are milliseconds since 1970, ``branch`` is empty where nobody said it."""

    id: str
    status: wire.ExecutionState
    test_suite: str
    environment: str
    branch: str
    results: wire.Counts
    created_at: int
    started_at: int | None
    ended_at: int | None
    longest: int
    not_run: int
    tests_expected: int | None

    @property
    def runtime(self) -> int | None:
        """Milliseconds from start to end, None before the end."""
        return runtime(self.started_at, self.ended_at, self.longest)


class ShownEvent(NamedTuple):
    """An inbound event; ``text`` is the beginning of its document, ``length`` that of the whole."""

    id: int
    received_at: int
    event: str
    text: str
    length: int


class _Submitted(msgspec.Struct):
    artifacts: dict[str, msgspec.Raw] | None = None


_SUBMITTED = msgspec.json.Decoder(_Submitted)  # made at import: see calls.decoder


def latest(
    connection: Connection, *, environments: Collection[str], before: str | None, limit: int
) -> list[ShownExecution]:
    """Executions of these environments (none means all), the newest first; with ``before``, older ones."""
    table = tables.executions.c
    names = (
        "id",
        "status",
        "test_suite",
        "environment",
        "created_at",
        "started_at",
        "ended_at",
        "longest",
        "not_run",
        "tests_expected",
    )
    metadata = case((func.length(table.metadata) <= LONGEST_METADATA, table.metadata), else_="{}")
    query = select(
        *(table[name] for name in names),
        *(table[name] for name in COUNTS),
        table.given,
        metadata.label("said"),
    )
    if environments:
        query = query.where(table.environment.in_(environments))
    if before is not None:
        query = query.where(table.id < before)
    found = []
    for row in connection.execute(query.order_by(table.id.desc()).limit(limit)):
        columns = row._mapping
        given = None if row.given is None else msgspec.json.decode(row.given, type=wire.Counts)
        summed = wire.Counts(**{name: columns[name] for name in COUNTS})
        found.append(
            ShownExecution(
                **{name: columns[name] for name in names},
                branch=str(msgspec.json.decode(row.said).get("branch") or ""),
                results=counts.effective(summed, given),
            )
        )
    return found


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
    connection: Connection, execution_id: str, *, after: int, limit: int, length: int
) -> list[ShownEvent]:
    """Inbound events in the order of arrival, of each document the first ``length`` characters."""
    table = tables.events.c
    text = func.substr(table.document, 1, length).label("text")
    rows = connection.execute(
        select(table.id, table.received_at, table.event, text, func.length(table.document).label("length"))
        .where(table.execution_id == execution_id, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    return [ShownEvent(*row) for row in rows]


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
    return [(row.id, row.shard_id, _SUBMITTED.decode(row.document).artifacts or {}) for row in rows]


def _shown(columns: Any, sent: wire.TestResult | None) -> ShownTest:
    names = ("id", "shard_id", "title", "file", "duration", "retries", "error")
    return ShownTest(**{name: columns[name] for name in names}, sent=sent)
