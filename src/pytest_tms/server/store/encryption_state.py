"""Whether the data of a database is encrypted, with which keys, and how far existing data is rewritten."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tms.server.store import tables

_PROGRESS = tables.encryption_progress


class RewriteProgress(NamedTuple):
    """How far data of one kind is rewritten with a key, whose id is empty to store it unencrypted.

    ``position`` is the JSON list of the key of the latest row, empty at the start of a pass. ``rows`` were
    rewritten. ``passes`` are complete; the latest ended at ``passed_at``, in milliseconds since 1970.
    """

    name: str
    key_id: str
    position: str = ""
    rows: int = 0
    passes: int = 0
    passed_at: int = 0


def is_on(connection: Connection) -> bool:
    """Return whether new data has to be encrypted."""
    return bool(connection.scalar(select(tables.encryption.c.is_on)))


def switch(connection: Connection, is_on: bool) -> None:
    """Store whether new data has to be encrypted."""
    connection.execute(delete(tables.encryption))
    connection.execute(insert(tables.encryption).values(is_on=is_on))


def keys(connection: Connection) -> list[str]:
    """Return the ids of the keys with which stored data may be encrypted, the oldest first."""
    table = tables.encryption_keys.c
    return list(connection.scalars(select(table.key_id).order_by(table.used_since, table.key_id)))


def add_key(connection: Connection, key_id: str, now: int) -> None:
    """Store that data is encrypted with a key from ``now`` on, in milliseconds since 1970."""
    upsert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(
        upsert(tables.encryption_keys).values(key_id=key_id, used_since=now).on_conflict_do_nothing()
    )


def forget_keys(connection: Connection, key_ids: Collection[str]) -> None:
    """Remove keys with which no data is encrypted."""
    connection.execute(
        delete(tables.encryption_keys).where(tables.encryption_keys.c.key_id.in_(list(key_ids)))
    )


def progress(connection: Connection) -> dict[str, RewriteProgress]:
    """Return how far each kind of data is rewritten, by its name."""
    rows = connection.execute(select(*(_PROGRESS.c[name] for name in RewriteProgress._fields)))
    return {row.name: RewriteProgress(*row) for row in rows}


def save(connection: Connection, found: RewriteProgress) -> None:
    """Store how far a kind of data is rewritten; a command and a server may do so at once."""
    upsert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = found._asdict()
    query = upsert(_PROGRESS).values(**values)
    connection.execute(query.on_conflict_do_update(index_elements=[_PROGRESS.c.name], set_=values))
