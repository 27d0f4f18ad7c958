"""API tokens: only their hashes are kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from pytest_tms.errors import Conflict, NotFound
from pytest_tms.server.store import tables

State = Literal["valid", "expired", "revoked"]

_ROW = tables.tokens.c


@dataclass(frozen=True, kw_only=True)
class ApiToken:
    """A token without its text; times are milliseconds since 1970. No ``environments`` means all."""

    id: str
    name: str
    scopes: tuple[str, ...]
    environments: tuple[str, ...] = ()
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    used_at: int | None = None
    previous_until: int | None = None

    def state(self, now: int) -> State:
        """Whether it opens anything, or why not."""
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if self.expires_at is None or now < self.expires_at else "expired"

    def is_valid(self, now: int) -> bool:
        """Whether it opens anything."""
        return self.state(now) == "valid"

    def allows(self, scope: str) -> bool:
        """Whether it may do what needs ``scope``; ``admin`` may do everything."""
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, environments: Collection[str] | None) -> bool:
        """Whether it may touch what concerns these environments; none stands for all of them."""
        return not self.environments or bool(environments and set(environments) <= set(self.environments))


def add(connection: Connection, token: ApiToken, hashed: str) -> None:
    """Keep a token's hash."""
    connection.execute(
        insert(tables.tokens).values(
            id=token.id,
            name=token.name,
            hash=hashed,
            scopes=" ".join(token.scopes),
            environments=msgspec.json.encode(token.environments).decode(),
            created_at=token.created_at,
            expires_at=token.expires_at,
        )
    )


def find(connection: Connection, hashed: str) -> ApiToken | None:
    """The token with this hash, valid or not; by the hash before its rotation, it expires with the overlap.

    The database compares hashes only: whoever measures how long that takes learns nothing about a text.
    """
    by_hash = or_(_ROW.hash == hashed, _ROW.previous_hash == hashed)
    query = select(tables.tokens, (_ROW.previous_hash == hashed).label("is_previous"))
    row = connection.execute(query.where(by_hash)).one_or_none()
    if row is None:
        return None
    token = _token(row)
    return replace(token, expires_at=token.previous_until) if row.is_previous else token


def get(connection: Connection, token_id: str) -> ApiToken:
    """The token with this id, which nobody else changes until the transaction ends. Raises NotFound."""
    query = select(tables.tokens).where(_ROW.id == token_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no token {token_id[:100]}: `tms token list` shows them.")
    return _token(row)


def every(connection: Connection) -> list[ApiToken]:
    """All tokens, the oldest first."""
    return [_token(row) for row in connection.execute(select(tables.tokens).order_by(_ROW.id))]


def rotate(
    connection: Connection, token_id: str, hashed: str, now: int, overlap: int, expires_at: int | None
) -> ApiToken:
    """Give a token a new hash; the one before opens, too, for ``overlap`` ms, but not beyond its own end.

    ``expires_at`` is when the new one ends, None for as before. Raises NotFound, and Conflict where nothing
    would be opened by it.
    """
    token = get(connection, token_id)
    if token.revoked_at is not None:
        raise Conflict(f"The token {token_id} is revoked: make a new one.")
    if not token.is_valid(now) and expires_at is None:
        raise Conflict(f"The token {token_id} has expired: say with --expires how long the new text lasts.")
    until = min(now + overlap, token.expires_at or now + overlap)
    ends = expires_at or token.expires_at
    connection.execute(
        update(tables.tokens)
        .where(_ROW.id == token_id)
        .values(hash=hashed, previous_hash=_ROW.hash, previous_until=until, expires_at=ends)
    )
    return replace(token, previous_until=until, expires_at=ends)


def revoke(connection: Connection, token_id: str, now: int) -> bool:
    """Close a token for good; answers whether it was open. Raises NotFound."""
    if get(connection, token_id).revoked_at is not None:
        return False
    connection.execute(update(tables.tokens).where(_ROW.id == token_id).values(revoked_at=now))
    return True


def used(connection: Connection, token_id: str, now: int) -> None:
    """Note a token's latest use."""
    connection.execute(update(tables.tokens).where(_ROW.id == token_id).values(used_at=now))


def forget(connection: Connection, token_id: str) -> None:
    """Delete a token if it is there, for a server that makes itself a new one at each start."""
    connection.execute(delete(tables.tokens).where(_ROW.id == token_id))


def _token(row: Row[tuple[object, ...]]) -> ApiToken:
    return ApiToken(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes.split()),
        environments=msgspec.json.decode(row.environments, type=tuple[str, ...]),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        used_at=row.used_at,
        previous_until=row.previous_until,
    )
