"""Queries of the pages. Each is bounded and follows an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, and_, case, func, select

from pytest_tms import wire
from pytest_tms.server.domain.executions import Shard
from pytest_tms.server.domain.page_details import MAX_NAME, Details, Files, files, truncate
from pytest_tms.server.store import executions, sealed, tables
from pytest_tms.server.store.results import has_status

COUNTS = wire.Counts.__struct_fields__
MAX_DOCUMENT = 100_000
"""Characters of the largest document that a page reads."""
SLOW = 100
"""Milliseconds from which on a test is in the list of the slowest; the index has no others."""


@dataclass(frozen=True, kw_only=True)
class ShownTest:
    """A test on a page with shortened names; durations are milliseconds."""

    id: int
    shard_id: str
    title: str
    file: str
    duration: int
    retries: int
    error: str | None
    details: Details


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


def failing(connection: Connection, execution_id: str, *, after: int, limit: int) -> list[ShownTest]:
    """Return failed tests in the order of arrival, with the texts that a report shows."""
    table = tables.results.c
    rows = connection.execute(
        _tests(execution_id)
        .add_columns(tables.result_details.c.details)
        .where(*has_status("failed"), table.sequence > after)
        .order_by(table.sequence)
        .limit(limit)
    )
    return [
        _shown(connection, row, msgspec.json.decode(_texts(connection, row)[1] or "{}", type=Details))
        for row in rows.all()
    ]


def slowest(connection: Connection, execution_id: str, *, limit: int) -> list[ShownTest]:
    """Return the tests with the longest durations, from ``SLOW`` milliseconds on, without their details."""
    table = tables.results.c
    rows = connection.execute(
        _tests(execution_id)
        .where(table.duration >= tables.constant(SLOW))
        .order_by(table.duration.desc())
        .limit(limit)
    )
    return [_shown(connection, row, Details()) for row in rows.all()]


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
        .add_columns(table.sealed)
        .where(table.execution_id == execution_id, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    found = []
    for row in rows.all():
        if row.sealed is None:
            found.append(ShownEvent(*row[:-1]))
            continue
        [whole] = sealed.opened(connection, sealed.EVENTS, (execution_id,), (row.text,), row.sealed)
        beginning, size = (whole or "")[:length], len(whole or "")
        found.append(ShownEvent(row.id, row.received_at, row.event, beginning, size))
    return found


def submissions(
    connection: Connection, execution_id: str, *, after: str, limit: int
) -> list[tuple[str, str, list[Files]]]:
    """Return submissions in the order of arrival, as (id, shard id, files that a page shows)."""
    table = tables.submissions.c
    is_small = and_(table.files.is_(None), func.length(table.document) <= MAX_DOCUMENT)
    rows = connection.execute(
        select(table.id, table.shard_id, table.files, case((is_small, table.document)).label("document"))
        .add_columns(table.sealed)
        .where(table.execution_id == execution_id, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    found = []
    for row in rows.all():
        document, shown = sealed.opened(
            connection, sealed.SUBMISSIONS, (row.id,), (row.document, row.files), row.sealed
        )
        its_files = (
            files(_SUBMITTED.decode(document or "{}").artifacts or {})
            if shown is None
            else msgspec.json.decode(shown, type=list[Files])
        )
        found.append((row.id, row.shard_id, its_files))
    return found


_NAMES = tuple(tables.tests.c[name] for name in ("title", "file"))
_TEST = (
    tables.results.c.sequence.label("id"),
    *(tables.results.c[name] for name in ("shard_id", "duration", "retries")),
    *(tables.result_details.c[name] for name in ("error", "sealed")),
    tables.results.c.execution,
    *(func.substr(column, 1, MAX_NAME).label(column.name) for column in _NAMES),
    *(func.length(column).label(f"{column.name}_length") for column in _NAMES),
)


def _tests(execution_id: str) -> Select[Any]:
    """Return a query of the verdicts of an execution."""
    results, details = tables.results.c, tables.result_details.c
    return (
        select(*_TEST)
        .join_from(tables.executions, tables.results, tables.executions.c.number == results.execution)
        .join(tables.tests, tables.tests.c.id == results.test_id)
        .outerjoin(
            tables.result_details,
            and_(details.execution == results.execution, details.sequence == results.sequence),
        )
        .where(tables.executions.c.id == execution_id, results.is_superseded.is_(False))
    )


def _texts(connection: Connection, row: Any) -> Sequence[str | None]:
    """Return the error and, if the row has them, the details of a result."""
    columns = (row.error, row._mapping.get("details"))
    return sealed.opened(connection, sealed.RESULT_DETAILS, (row.execution, row.id), columns, row.sealed)


def _shown(connection: Connection, row: Any, details: Details) -> ShownTest:
    columns = row._mapping
    return ShownTest(
        **{name: columns[name] for name in ("id", "shard_id", "duration", "retries")},
        error=_texts(connection, row)[0],
        title=truncate(columns["title"], MAX_NAME, columns["title_length"]),
        file=truncate(columns["file"], MAX_NAME, columns["file_length"]),
        details=details,
    )
