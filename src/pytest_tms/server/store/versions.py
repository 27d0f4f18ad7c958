"""Versions of what pages show: of one execution, and of the list of executions.

The version of an execution increases with each change that a page shows. On PostgreSQL, the transaction of
the change also notifies all server processes; see ``change_notifications``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ARRAY, Connection, Text, Update, bindparam, cast, func, select, update

from pytest_tms.server.store import tables

CHANNEL = "tms_changes"
"""The channel of PostgreSQL on which the ids of changed executions are sent."""
LISTED = 100
"""Newest executions whose changes change the version of the list."""
BATCH = 500
"""Executions of one query."""

_EXECUTION = tables.executions.c
_Query = TypeVar("_Query", bound=Update)


class Subject(NamedTuple):
    """What a page shows: an execution, or the list of the executions of some environments.

    Without an ``execution_id`` it is the list; empty ``environments`` mean all.
    """

    execution_id: str | None = None
    environments: tuple[str, ...] = ()


def with_next_version(dialect: str, query: _Query) -> _Query:
    """Return an UPDATE of executions that also increases their versions and notifies all server processes."""
    changed: Any = query.values(version=_EXECUTION.version + 1)
    if dialect == "postgresql":  # in the same statement, to save a round trip
        changed = changed.returning(func.pg_notify(CHANNEL, _EXECUTION.id))
    found: _Query = changed
    return found


def increase(connection: Connection, execution_id: str) -> None:
    """Increase the version of an execution, because something that belongs to it has changed."""
    connection.execute(_increase(connection.dialect.name), {"its_id": execution_id})


@cache
def _increase(dialect: str) -> Update:
    query = update(tables.executions).where(_EXECUTION.id == bindparam("its_id"))
    return with_next_version(dialect, query)


def notify(connection: Connection, execution_ids: Sequence[str]) -> None:
    """Notify all server processes of changed executions, once the transaction is committed."""
    if connection.dialect.name == "postgresql":
        ids = func.unnest(cast(list(execution_ids), ARRAY(Text)))
        connection.execute(select(func.pg_notify(CHANNEL, ids)))


def read(connection: Connection, subjects: Collection[Subject]) -> dict[Subject, str]:
    """Return the versions of subjects; that of an execution that does not exist is empty.

    The version of a list changes with its ``LISTED`` newest executions.
    """
    named = [subject.execution_id for subject in subjects if subject.execution_id is not None]
    ids = [each for each in named if "\x00" not in each]  # PostgreSQL takes no NUL, not even to look for
    found: dict[str, int] = {}
    for start in range(0, len(ids), BATCH):
        query = select(_EXECUTION.id, _EXECUTION.version).where(
            _EXECUTION.id.in_(ids[start : start + BATCH]), _EXECUTION.deleted_at.is_(None)
        )
        found.update({row[0]: row[1] for row in connection.execute(query)})
    newest = _newest(connection) if len(named) < len(subjects) else []
    return {
        subject: _list_version(newest, subject.environments)
        if subject.execution_id is None
        else str(found.get(subject.execution_id, ""))
        for subject in subjects
    }


def _newest(connection: Connection) -> list[tuple[str, int, str]]:
    """Return id, version and environment of the newest executions."""
    query = select(_EXECUTION.id, _EXECUTION.version, _EXECUTION.environment, _EXECUTION.deleted_at)
    rows = connection.execute(query.order_by(_EXECUTION.number.desc()).limit(LISTED))
    return [(row[0], row[1], row[2]) for row in rows if row[3] is None]


def _list_version(newest: Collection[tuple[str, int, str]], environments: Collection[str]) -> str:
    """Return a hash, which does not reveal how many executions of other environments there are."""
    digest = hashlib.blake2b(digest_size=8)
    for execution_id, version, environment in newest:
        if not environments or environment in environments:
            digest.update(f"{execution_id} {version}\n".encode())
    return digest.hexdigest()
