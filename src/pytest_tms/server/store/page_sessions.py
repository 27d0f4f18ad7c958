"""Logins to the pages: which token a browser's cookie stands for. Only hashes are kept."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from pytest_tms.server.store import tables

_ROW = tables.sessions.c


def add(connection: Connection, hashed: str, token_hash: str, now: int, until: int) -> None:
    """Let a cookie stand for a token until then; forgets the logins that have ended by themselves."""
    connection.execute(delete(tables.sessions).where(_ROW.expires_at <= now))
    connection.execute(
        insert(tables.sessions).values(hash=hashed, token_hash=token_hash, created_at=now, expires_at=until)
    )


def token_hash(connection: Connection, hashed: str, now: int) -> str | None:
    """The hash of the token that a cookie stands for; whether that is still valid is for the token to say."""
    return connection.scalar(select(_ROW.token_hash).where(_ROW.hash == hashed, _ROW.expires_at > now))


def end(connection: Connection, hashed: str) -> None:
    """Log out; again is harmless."""
    connection.execute(delete(tables.sessions).where(_ROW.hash == hashed))
