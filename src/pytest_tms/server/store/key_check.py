"""The encrypted text by which a server detects that its key differs from that of other servers."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from pytest_tms.server.store import tables


def read(connection: Connection) -> str | None:
    """Return the encrypted text; None if no server has written one."""
    found: str | None = connection.execute(select(tables.key_check.c.encrypted)).scalar()
    return found


def put(connection: Connection, encrypted: str) -> None:
    """Replace the encrypted text."""
    connection.execute(delete(tables.key_check))
    connection.execute(insert(tables.key_check).values(encrypted=encrypted))
