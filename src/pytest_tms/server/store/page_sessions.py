"""Sessions of the pages: the token of each session cookie. Only hashes are stored."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from pytest_tms.server.store import tables

_ROW = tables.sessions.c


def add(connection: Connection, hashed: str, token_hash: str, now: int, until: int) -> None:
    """Add a session from ``now`` to ``until``, in milliseconds since 1970; delete expired sessions."""
    connection.execute(delete(tables.sessions).where(_ROW.expires_at <= now))
    connection.execute(
        insert(tables.sessions).values(hash=hashed, token_hash=token_hash, created_at=now, expires_at=until)
    )


def token_hash(connection: Connection, hashed: str, now: int) -> str | None:
    """Return the hash of the token of a session, None if the session is unknown or has expired.

    The token may have expired or been revoked.
    """
    return connection.scalar(select(_ROW.token_hash).where(_ROW.hash == hashed, _ROW.expires_at > now))


def end(connection: Connection, hashed: str) -> None:
    """Delete a session if it exists."""
    connection.execute(delete(tables.sessions).where(_ROW.hash == hashed))
