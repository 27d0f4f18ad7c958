"""API tokens: only their hashes are kept."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, insert, select, update

from pytest_tms.errors import NotFound
from pytest_tms.server.store import tables


@dataclass(frozen=True, kw_only=True)
class ApiToken:
    """A token without its text; times are milliseconds since 1970."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    def is_valid(self, now: int) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, scope: str) -> bool:
        """Whether it may do what needs this scope."""
        return scope in self.scopes or "admin" in self.scopes


def add(connection: Connection, token: ApiToken, hashed: str) -> None:
    """Keep a token's hash."""
    connection.execute(
        insert(tables.tokens).values(
            id=token.id,
            name=token.name,
            hash=hashed,
            scopes=" ".join(token.scopes),
            created_at=token.created_at,
            expires_at=token.expires_at,
        )
    )


def find(connection: Connection, hashed: str) -> ApiToken | None:
    """The token with this hash, valid or not."""
    row = connection.execute(select(tables.tokens).where(tables.tokens.c.hash == hashed)).one_or_none()
    return None if row is None else _token(row)


def every(connection: Connection) -> list[ApiToken]:
    """All tokens, the oldest first."""
    return [_token(row) for row in connection.execute(select(tables.tokens).order_by(tables.tokens.c.id))]


def revoke(connection: Connection, token_id: str, now: int) -> None:
    """Close a token for good; again is harmless. Raises NotFound."""
    found = connection.execute(
        update(tables.tokens)
        .where(tables.tokens.c.id == token_id, tables.tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    if not found.rowcount and token_id not in {token.id for token in every(connection)}:
        raise NotFound(f"There is no token {token_id}: `tms token list` shows them.")


def forget(connection: Connection, token_id: str) -> None:
    """Delete a token if it is there, for a server that makes itself a new one at each start."""
    connection.execute(delete(tables.tokens).where(tables.tokens.c.id == token_id))


def _token(row: Row[tuple[object, ...]]) -> ApiToken:
    return ApiToken(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes.split()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
