"""Tests in quarantine, and those that were: one row for each time that a test was added."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tms.server.domain.quarantine import QuarantineEntry
from pytest_tms.server.store import tables

_ROW = tables.quarantine.c
_TEST = tables.tests.c
_PROJECT = tables.projects.c


@dataclass(frozen=True, kw_only=True)
class QuarantineFilter:
    """Which entries a list has; what is empty or None excludes none.

    ``is_active`` is whether their failures do not count now. ``key`` is that of the test.
    """

    project: str = ""
    project_id: int | None = None
    key: str = ""
    owner: str = ""
    is_active: bool | None = None


def find_test(connection: Connection, project: str, key: str) -> tuple[int, int, str] | None:
    """Return the ids of a project and of its test with this key, and the test's owner; None if none."""
    query = (
        select(_PROJECT.id, _TEST.id, _TEST.owner)
        .join(tables.tests, _TEST.project_id == _PROJECT.id)
        .where(_PROJECT.name == project, _TEST.key_hash == hash_key(key))
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (int(row[0]), int(row[1]), str(row[2]))


def add(
    connection: Connection,
    project_id: int,
    key: str,
    *,
    reason: str,
    owner: str,
    until: int,
    now: int,
    created_by: str,
    is_automatic: bool = False,
) -> int:
    """Add a test and return the id of the entry; 0 if the test has an entry that is not ended."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    query = (
        insert(tables.quarantine)
        .values(
            project_id=project_id,
            key_hash=hash_key(key),
            key=key,
            reason=reason,
            owner=owner,
            until=until,
            is_automatic=is_automatic,
            created_at=now,
            created_by=created_by,
        )
        .on_conflict_do_nothing()
        .returning(_ROW.id)
    )
    return int(connection.scalar(query) or 0)


def end(connection: Connection, entry_id: int, now: int, ended_by: str | None) -> bool:
    """End an entry; return whether it was not ended before."""
    query = update(tables.quarantine).where(_ROW.id == entry_id, _ROW.ended_at.is_(None))
    return connection.execute(query.values(ended_at=now, ended_by=ended_by)).rowcount == 1


def end_expired(connection: Connection, now: int, limit: int) -> int:
    """Mark entries whose end has passed as ended; return how many."""
    some = select(_ROW.id).where(_ROW.ended_at.is_(None), _ROW.until < now).limit(limit)
    query = update(tables.quarantine).where(_ROW.id.in_(some.scalar_subquery()), _ROW.ended_at.is_(None))
    return int(connection.execute(query.values(ended_at=_ROW.until)).rowcount)


def has_expired(connection: Connection, now: int) -> bool:
    """Return whether there is an entry whose end has passed and that is not marked as ended."""
    query = select(_ROW.id).where(_ROW.ended_at.is_(None), _ROW.until < now).limit(1)
    return connection.scalar(query) is not None


def automatic(connection: Connection, project: str, now: int, limit: int) -> list[QuarantineEntry]:
    """Return active entries of a project that the policy added, and whose tests have results."""
    query = _entries().where(
        _PROJECT.name == project, _ROW.is_automatic.is_(True), _TEST.id.is_not(None), _is_active(now)
    )
    return [_entry(row) for row in connection.execute(query.order_by(_ROW.id).limit(limit))]


def is_decided(connection: Connection, project_id: int, key: str, now: int, span: int) -> bool:
    """Return whether a test is in quarantine, or a person removed it in the last ``span`` milliseconds."""
    query = select(_ROW.id).where(
        _ROW.project_id == project_id,
        _ROW.key_hash == hash_key(key),
        or_(_is_active(now), and_(_ROW.ended_by != "", _ROW.ended_at > now - span)),
    )
    return connection.scalar(query.limit(1)) is not None


def get(connection: Connection, entry_id: int) -> QuarantineEntry | None:
    """Return an entry, None if it does not exist."""
    row = connection.execute(_entries().where(_ROW.id == entry_id)).one_or_none()
    return None if row is None else _entry(row)


def find_open(connection: Connection, project_id: int, key: str) -> QuarantineEntry | None:
    """Return the entry of a test that is not ended, though its end may have passed; None if none."""
    query = _entries().where(
        _ROW.project_id == project_id, _ROW.key_hash == hash_key(key), _ROW.ended_at.is_(None)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _entry(row)


def find(
    connection: Connection, wanted: QuarantineFilter, now: int, *, before: int | None, limit: int
) -> tuple[list[QuarantineEntry], int | None]:
    """Return entries, the newest first, and the cursor of the next page or None; ``before`` is the cursor."""
    query = _entries().order_by(_ROW.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(_ROW.id < before)
    if wanted.project:
        project = select(_PROJECT.id).where(_PROJECT.name == wanted.project).scalar_subquery()
        query = query.where(_ROW.project_id == project)
    if wanted.project_id is not None:
        query = query.where(_ROW.project_id == wanted.project_id)
    if wanted.key:
        query = query.where(_ROW.key_hash == hash_key(wanted.key))
    if wanted.owner:
        query = query.where(_ROW.owner == wanted.owner)
    if wanted.is_active is not None:
        query = query.where(_is_active(now) if wanted.is_active else _is_over(now))
    found = [_entry(row) for row in connection.execute(query)]
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def active(connection: Connection, project_id: int, keys: Collection[str], now: int) -> dict[str, int]:
    """Return the ends of the active entries of tests, by their keys."""
    query = select(_ROW.key, _ROW.until).where(
        _ROW.project_id == project_id, _ROW.key_hash.in_([hash_key(key) for key in keys]), _is_active(now)
    )
    return {row.key: row.until for row in connection.execute(query)}


def hash_key(key: str) -> bytes:
    """Return the hash by which a test is found, as in ``tests``."""
    return blake2b(key.encode(), digest_size=16).digest()


def _is_active(now: int) -> ColumnElement[bool]:
    return and_(_ROW.ended_at.is_(None), _ROW.until >= now)


def _is_over(now: int) -> ColumnElement[bool]:
    return or_(_ROW.ended_at.is_not(None), _ROW.until < now)


def _entries() -> Select[Any]:
    is_test = and_(_TEST.project_id == _ROW.project_id, _TEST.key_hash == _ROW.key_hash)
    return (
        select(
            tables.quarantine,
            _PROJECT.name.label("project"),
            func.coalesce(_TEST.id, 0).label("test_id"),
        )
        .select_from(tables.quarantine)
        .join(tables.projects, _PROJECT.id == _ROW.project_id)
        .outerjoin(tables.tests, is_test)
    )


def _entry(row: Row[Any]) -> QuarantineEntry:
    return QuarantineEntry(
        id=row.id,
        project=row.project,
        key=row.key,
        test_id=row.test_id,
        reason=row.reason,
        owner=row.owner,
        until=row.until,
        is_automatic=bool(row.is_automatic),
        created_at=row.created_at,
        created_by=row.created_by,
        ended_at=row.ended_at,
        ended_by=row.ended_by,
    )
