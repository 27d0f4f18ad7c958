"""Sessions of the pages: the token or person of each cookie. Only hashes of cookies and tokens are stored."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, insert, select

from pytest_tms.server.domain.people import Person
from pytest_tms.server.store import tables

MAX_LISTED = 10_000
"""Sessions of people that are listed."""

_ROW = tables.sessions.c


@dataclass(frozen=True, kw_only=True)
class StoredSession:
    """A session: of the API token with ``token_hash``, else of a person who logged in at ``issuer``.

    Times are milliseconds since 1970. The token may have expired or been revoked.
    """

    token_hash: str
    created_at: int
    expires_at: int
    issuer: str
    user_id: str
    user_name: str
    role: str


def add(
    connection: Connection,
    hashed: str,
    now: int,
    until: int,
    *,
    token_hash: str = "",
    person: Person | None = None,
) -> None:
    """Add a session from ``now`` to ``until``, in milliseconds since 1970; delete expired sessions.

    It is that of an API token with ``token_hash``, or of a person.
    """
    connection.execute(delete(tables.sessions).where(_ROW.expires_at <= now))
    connection.execute(
        insert(tables.sessions).values(
            hash=hashed,
            token_hash=token_hash,
            created_at=now,
            expires_at=until,
            issuer=person and person.issuer,
            user_id=person and person.id,
            user_name=person and person.shown_name,
            role=person and person.role,
        )
    )


def find(connection: Connection, hashed: str, now: int) -> StoredSession | None:
    """Return a session, None if it is unknown or has expired."""
    query = select(tables.sessions).where(_ROW.hash == hashed, _ROW.expires_at > now)
    row = connection.execute(query).one_or_none()
    return None if row is None else _session(row)


def of_people(connection: Connection, now: int) -> list[StoredSession]:
    """Return the sessions of people that have not expired, the newest first, at most ``MAX_LISTED``."""
    query = select(tables.sessions).where(_ROW.user_id.is_not(None), _ROW.expires_at > now)
    query = query.order_by(_ROW.created_at.desc()).limit(MAX_LISTED)
    return [_session(row) for row in connection.execute(query)]


def end_of_person(connection: Connection, user_id: str) -> int:
    """Delete the sessions of a person, and return their number."""
    return connection.execute(delete(tables.sessions).where(_ROW.user_id == user_id)).rowcount


def end(connection: Connection, hashed: str) -> None:
    """Delete a session if it exists."""
    connection.execute(delete(tables.sessions).where(_ROW.hash == hashed))


def _session(row: Row[tuple[object, ...]]) -> StoredSession:
    return StoredSession(
        token_hash=row.token_hash,
        created_at=row.created_at,
        expires_at=row.expires_at,
        issuer=row.issuer or "",
        user_id=row.user_id or "",
        user_name=row.user_name or "",
        role=row.role or "",
    )
