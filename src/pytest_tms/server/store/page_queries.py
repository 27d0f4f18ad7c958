"""Queries of the pages. Each is bounded and follows an index."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, and_, case, func, select, union_all

from pytest_tms import wire
from pytest_tms.server.domain import counts
from pytest_tms.server.domain.executions import Shard, runtime
from pytest_tms.server.domain.page_details import MAX_NAME, Details, Files, details, files, shorten
from pytest_tms.server.store import executions, tables

COUNTS = wire.Counts.__struct_fields__
MAX_DOCUMENT = 100_000
"""Characters of the largest document that a page reads."""
MAX_METADATA = 20_000
"""Characters of the largest metadata of an execution that a list reads."""


@dataclass(frozen=True, kw_only=True)
class ShownTest:
    """A test on a page with shortened names; durations are milliseconds.

    ``details_are_missing`` if they are only in a document that is too large to be read for a page.
    """

    id: int
    shard_id: str
    title: str
    file: str
    duration: int
    retries: int
    error: str | None
    details: Details = field(default_factory=Details)
    details_are_missing: bool = False


@dataclass(frozen=True, kw_only=True)
class ShownExecution:
    """An execution in a list; times are milliseconds since 1970, ``branch`` is empty if it is unknown."""

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
        """The milliseconds from start to end, None before the end."""
        return runtime(self.started_at, self.ended_at, self.longest)


class ShownEvent(NamedTuple):
    """An inbound event; ``text`` is the beginning of its document, ``length`` the length of the whole."""

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
    """Return executions of these environments (empty for all), the newest first.

    ``before`` is the cursor: the id of the last execution of the previous page.
    """
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
    metadata = case((func.length(table.metadata) <= MAX_METADATA, table.metadata), else_="{}")
    ids = select(table.id).order_by(table.id.desc()).limit(limit)
    if before is not None:
        ids = ids.where(table.id < before)
    if environments:  # the newest of each, so that each follows the index
        each = [ids.where(table.environment == name).subquery() for name in sorted(set(environments))]
        newest = union_all(*(select(one.c.id) for one in each)).subquery()
        ids = select(newest.c.id).order_by(newest.c.id.desc()).limit(limit)
    wanted = list(connection.scalars(ids))
    query = select(
        *(table[name] for name in names),
        *(table[name] for name in COUNTS),
        table.given,
        metadata.label("read_metadata"),
    )
    found = []
    for row in connection.execute(query.where(table.id.in_(wanted)).order_by(table.id.desc())):
        columns = row._mapping
        given = None if row.given is None else msgspec.json.decode(row.given, type=wire.Counts)
        summed = wire.Counts(**{name: columns[name] for name in COUNTS})
        found.append(
            ShownExecution(
                **{name: columns[name] for name in names},
                branch=str(msgspec.json.decode(row.read_metadata).get("branch") or ""),
                results=counts.effective(summed, given),
            )
        )
    return found


def failing(connection: Connection, execution_id: str, *, after: int, limit: int) -> list[ShownTest]:
    """Return failed tests in the order of arrival, with the texts that a report shows."""
    table = tables.tests.c
    is_small = and_(table.shown.is_(None), func.length(table.document) <= MAX_DOCUMENT)
    rows = connection.execute(
        select(*_TEST, table.shown, case((is_small, table.document)).label("document"))
        .where(table.execution_id == execution_id, table.status == "failed", table.id > after)
        .where(table.status != tables.constant("passed"))
        .order_by(table.id)
        .limit(limit)
    )
    found = []
    for row in rows:
        if row.shown is not None:
            shown = msgspec.json.decode(row.shown, type=Details)
        elif row.document is not None:
            shown = details(msgspec.json.decode(row.document, type=wire.TestResult))
        else:
            shown = None
        found.append(_shown(row._mapping, shown))
    return found


def slowest(connection: Connection, execution_id: str, *, limit: int) -> list[ShownTest]:
    """Return the tests with the longest durations, without their details."""
    table = tables.tests.c
    rows = connection.execute(
        select(*_TEST)
        .where(table.execution_id == execution_id, table.duration > 0)
        .order_by(table.duration.desc())
        .limit(limit)
    )
    return [_shown(row._mapping, Details()) for row in rows]


def shards(connection: Connection, execution_id: str, *, limit: int) -> list[Shard]:
    """Return the shards that have reported, without metadata; those with the shortest ids if limited."""
    return executions.shards(connection, execution_id, limit=limit, with_metadata=False)


def events(
    connection: Connection, execution_id: str, *, after: int, limit: int, length: int
) -> list[ShownEvent]:
    """Return inbound events in the order of arrival, each with ``length`` characters of its document."""
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
) -> list[tuple[str, str, list[Files]]]:
    """Return submissions in the order of arrival, as (id, shard id, files that a page shows)."""
    table = tables.submissions.c
    is_small = and_(table.shown.is_(None), func.length(table.document) <= MAX_DOCUMENT)
    rows = connection.execute(
        select(table.id, table.shard_id, table.shown, case((is_small, table.document)).label("document"))
        .where(table.execution_id == execution_id, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    return [
        (
            row.id,
            row.shard_id,
            files(_SUBMITTED.decode(row.document or "{}").artifacts or {})
            if row.shown is None
            else msgspec.json.decode(row.shown, type=list[Files]),
        )
        for row in rows
    ]


_NAMES = tuple(tables.tests.c[name] for name in ("title", "file"))
_TEST = (
    *(tables.tests.c[name] for name in ("id", "shard_id", "duration", "retries", "error")),
    *(func.substr(column, 1, MAX_NAME).label(column.name) for column in _NAMES),
    *(func.length(column).label(f"{column.name}_length") for column in _NAMES),
)


def _shown(columns: Any, shown: Details | None) -> ShownTest:
    return ShownTest(
        **{name: columns[name] for name in ("id", "shard_id", "duration", "retries", "error")},
        title=shorten(columns["title"], MAX_NAME, columns["title_length"]),
        file=shorten(columns["file"], MAX_NAME, columns["file_length"]),
        details=shown or Details(),
        details_are_missing=shown is None,
    )
