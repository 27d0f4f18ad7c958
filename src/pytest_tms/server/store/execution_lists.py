"""Lists of executions: found by filters, the newest first.

Executions are searched by their numbers, in ranges. Each range is one query of one index that has all
filters, so that its cost depends on neither the filters nor the number of executions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from pytest_tms import wire
from pytest_tms.server.domain import counts
from pytest_tms.server.domain.executions import runtime
from pytest_tms.server.domain.ids import first_id
from pytest_tms.server.store import tables

RANGE = 10_000
"""Numbers of executions that one query searches."""
MAX_RANGES = 10
"""Queries that search for one page."""
CLOCK_MARGIN = 60_000
"""Milliseconds by which the time in an id may differ from that of the creation."""

_TABLE = tables.executions.c


@dataclass(frozen=True, kw_only=True)
class ExecutionFilter:
    """Which executions a list has; what is empty or None excludes none.

    ``commit`` is the beginning of one, ``text`` a part of the id, branch, commit, suite or author without
    regard to case. ``since`` and ``until`` are milliseconds since 1970, the latter not included.
    """

    environments: Collection[str] = ()
    suite: str = ""
    environment: str = ""
    status: str = ""
    provider: str = ""
    project: str = ""
    branch: str = ""
    commit: str = ""
    author: str = ""
    text: str = ""
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, kw_only=True)
class ListedExecution:
    """An execution in a list; times are milliseconds since 1970, what was not sent is empty."""

    id: str
    number: int
    status: wire.ExecutionState
    test_suite: str
    environment: str
    provider: str
    trigger_source: str
    project: str
    branch: str
    commit: str
    author: str
    results: wire.Counts
    created_at: int
    started_at: int | None
    ended_at: int | None
    max_shard_duration: int
    not_run: int
    tests_expected: int | None
    reason: str | None
    shards_finished: int
    expected_shards: int

    @property
    def runtime(self) -> int | None:
        """The milliseconds from start to end, None before the end."""
        return runtime(self.started_at, self.ended_at, self.max_shard_duration)


def find(
    connection: Connection, wanted: ExecutionFilter, *, before: int | None, limit: int
) -> tuple[list[ListedExecution], int | None]:
    """Return executions, the newest first, and the cursor of the next page, None on the last page.

    ``before`` is the cursor. If few executions match, a page has fewer than ``limit`` and yet a cursor.
    """
    conditions = _conditions(connection, wanted)
    low, high = _bounds(connection, wanted)
    if before is not None:
        high = min(high, before - 1)
    numbers: list[int] = []
    for _ in range(MAX_RANGES):
        if conditions is None or high < low or len(numbers) > limit:
            break
        start = max(low, high - RANGE + 1)
        query = select(_TABLE.number).where(_TABLE.number.between(start, high), *conditions)
        numbers += connection.scalars(query.order_by(_TABLE.number.desc()).limit(limit + 1 - len(numbers)))
        high = start - 1
    if len(numbers) > limit:
        following: int | None = numbers[limit - 1]
    else:
        following = high + 1 if conditions is not None and high >= low else None
    return _read(connection, numbers[:limit]), following


def by_number(connection: Connection, numbers: Collection[int]) -> dict[int, ListedExecution]:
    """Return executions by their numbers, without those that do not exist or are being deleted."""
    if not numbers:
        return {}
    query = _listed().where(_TABLE.number.in_(sorted(numbers)), _TABLE.deleted_at.is_(None))
    return {row.number: _execution(row) for row in connection.execute(query)}


def projects(connection: Connection, limit: int) -> list[str]:
    """Return the names of projects in alphabetical order."""
    name = tables.projects.c.name
    return list(connection.scalars(select(name).order_by(name).limit(limit)))


def documents(connection: Connection, numbers: Collection[int]) -> dict[int, tuple[str, str, str]]:
    """Return the configuration, metadata and unknown fields of executions as JSON text, by their numbers."""
    query = select(_TABLE.number, _TABLE.configuration, _TABLE.metadata, _TABLE.extra)
    rows = connection.execute(query.where(_TABLE.number.in_(numbers)))
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def metadata(connection: Connection, numbers: Collection[int]) -> dict[int, str]:
    """Return the metadata of executions as JSON text, by their numbers."""
    query = select(_TABLE.number, _TABLE.metadata).where(_TABLE.number.in_(numbers))
    return {row[0]: row[1] for row in connection.execute(query)}


def _conditions(connection: Connection, wanted: ExecutionFilter) -> list[ColumnElement[bool]] | None:
    """Return the conditions of a filter, None if there is no such project."""
    found: list[ColumnElement[bool]] = [_TABLE.deleted_at.is_(None)]
    if wanted.project:
        names = tables.projects.c
        project_id = connection.scalar(select(names.id).where(names.name == wanted.project))
        if project_id is None:
            return None
        found.append(_TABLE.project_id == project_id)
    if wanted.environments:
        found.append(_TABLE.environment.in_(sorted(wanted.environments)))
    for column, value in (
        (_TABLE.test_suite, wanted.suite),
        (_TABLE.environment, wanted.environment),
        (_TABLE.status, wanted.status),
        (_TABLE.provider, wanted.provider),
        (_TABLE.branch, wanted.branch),
        (_TABLE.author, wanted.author),
    ):
        if value:
            found.append(column == value)
    if wanted.commit:
        found.append(func.substr(_TABLE.commit, 1, len(wanted.commit)) == wanted.commit)
    if wanted.since is not None:
        found.append(_TABLE.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(_TABLE.created_at < wanted.until)
    if wanted.text:
        found.append(_TABLE.search_text.contains(wanted.text.lower(), autoescape=True))
    return found


def _bounds(connection: Connection, wanted: ExecutionFilter) -> tuple[int, int]:
    """Return the first and the last number that a filter can match; an empty range if there is none."""
    first = select(_TABLE.number).order_by(_TABLE.number).limit(1)
    last = select(_TABLE.number).order_by(_TABLE.number.desc()).limit(1)
    if wanted.since is not None:
        since = first_id("exec", wanted.since - CLOCK_MARGIN)
        first = select(_TABLE.number).where(_TABLE.id >= since).order_by(_TABLE.id).limit(1)
    if wanted.until is not None:
        until = first_id("exec", wanted.until + CLOCK_MARGIN)
        last = select(_TABLE.number).where(_TABLE.id < until).order_by(_TABLE.id.desc()).limit(1)
    low, high = connection.scalar(first), connection.scalar(last)
    return (1, 0) if low is None or high is None else (low, high)


def _read(connection: Connection, numbers: Collection[int]) -> list[ListedExecution]:
    if not numbers:
        return []
    query = _listed().where(_TABLE.number.in_(numbers)).order_by(_TABLE.number.desc())
    return [_execution(row) for row in connection.execute(query)]


_PLAIN = (
    "id",
    "number",
    "status",
    "test_suite",
    "environment",
    "provider",
    "trigger_source",
    "branch",
    "commit",
    "author",
    "created_at",
    "started_at",
    "ended_at",
    "max_shard_duration",
    "not_run",
    "tests_expected",
    "reason",
    "shards_finished",
)
_COUNTS = wire.Counts.__struct_fields__


def _listed() -> Select[tuple[object, ...]]:
    return select(
        *(_TABLE[name] for name in (*_PLAIN, *_COUNTS)),
        _TABLE.reported_counts,
        _TABLE.shards_total,
        _TABLE.shards_seen,
        tables.projects.c.name.label("project"),
    ).outerjoin_from(tables.executions, tables.projects, tables.projects.c.id == _TABLE.project_id)


def _execution(row: Row[tuple[object, ...]]) -> ListedExecution:
    columns = row._mapping  # SQLAlchemy's public name for it
    reported_counts = (
        None
        if columns["reported_counts"] is None
        else msgspec.json.decode(columns["reported_counts"], type=wire.Counts)
    )
    summed = wire.Counts(**{name: columns[name] for name in _COUNTS})
    return ListedExecution(
        **{name: columns[name] for name in _PLAIN},
        project=columns["project"] or "",
        results=counts.effective(summed, reported_counts),
        expected_shards=max(columns["shards_total"], columns["shards_seen"]),
    )
