"""API tokens, of which only hashes are stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, insert, or_, select, update

from pytest_tms.errors import NotFound
from pytest_tms.server.domain.api_tokens import ApiToken
from pytest_tms.server.store import tables

_ROW = tables.tokens.c
_FIND = select(tables.tokens).where(  # made once: see ``executions``
    or_(
        _ROW.hash.in_(bindparam("hashes", expanding=True)),
        _ROW.previous_hash.in_(bindparam("hashes", expanding=True)),
    )
)


def add(connection: Connection, token: ApiToken, hashed: str, *, is_of_job: bool = False) -> None:
    """Insert a token with the hash of its text; ``is_of_job`` is whether a CI job exchanged an ID token."""
    connection.execute(
        insert(tables.tokens).values(
            id=token.id,
            name=token.name,
            hash=hashed,
            scopes=" ".join(token.scopes),
            environments=msgspec.json.encode(token.environments).decode(),
            created_at=token.created_at,
            expires_at=token.expires_at,
            job_until=token.expires_at if is_of_job else None,
        )
    )


def find(connection: Connection, hashed: str) -> ApiToken | None:
    """Return the token with this hash: see ``find_all``."""
    return find_all(connection, [hashed]).get(hashed)


def find_all(connection: Connection, hashes: Collection[str]) -> dict[str, ApiToken]:
    """Return tokens by their hashes, valid or not; by its previous hash, one expires with the overlap.

    The database compares hashes only, so the time that it takes reveals nothing about a text.
    """
    found: dict[str, ApiToken] = {}
    for row in connection.execute(_FIND, {"hashes": sorted(hashes)}):
        token = _token(row)
        found[row.hash] = token
        if row.previous_hash is not None:
            found[row.previous_hash] = replace(token, expires_at=token.previous_until)
    return found


def lock(connection: Connection, token_id: str) -> ApiToken:
    """Return the token with this id, locked until the transaction ends.

    Raises:
        NotFound: The token does not exist.
    """
    query = select(tables.tokens).where(_ROW.id == token_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no token {token_id[:100]}: `tms token list` shows them.")
    return _token(row)


def every(connection: Connection, *, of_jobs: bool = False) -> list[ApiToken]:
    """Return all tokens that operators created, or those of CI jobs, the oldest first."""
    query = (
        select(tables.tokens)
        .where(_ROW.job_until.is_not(None) if of_jobs else _ROW.job_until.is_(None))
        .order_by(_ROW.id)
    )
    return [_token(row) for row in connection.execute(query)]


def page(connection: Connection, *, after: str, limit: int) -> list[ApiToken]:
    """Return tokens that operators created with ids after ``after``, the oldest first."""
    query = (
        select(tables.tokens).where(_ROW.id > after, _ROW.job_until.is_(None)).order_by(_ROW.id).limit(limit)
    )
    return [_token(row) for row in connection.execute(query)]


def save_rotated(connection: Connection, token: ApiToken, hashed: str) -> None:
    """Store a token that was rotated, and the hash of its new text."""
    connection.execute(
        update(tables.tokens)
        .where(_ROW.id == token.id)
        .values(
            hash=hashed,
            previous_hash=_ROW.hash,
            previous_until=token.previous_until,
            expires_at=token.expires_at,
        )
    )


def revoke(connection: Connection, token_id: str, now: int) -> None:
    """Store that a token is revoked."""
    connection.execute(update(tables.tokens).where(_ROW.id == token_id).values(revoked_at=now))


def used(connection: Connection, token_id: str, now: int) -> None:
    """Store the time of a token's latest use."""
    connection.execute(update(tables.tokens).where(_ROW.id == token_id).values(used_at=now))


def expired_of_jobs(connection: Connection, before: int, limit: int) -> list[str]:
    """Return the ids of tokens of CI jobs that expired before a time in milliseconds since 1970."""
    expired = select(_ROW.id).where(_ROW.job_until < before).order_by(_ROW.job_until)
    return list(connection.scalars(expired.limit(limit)))


def delete_tokens(connection: Connection, token_ids: Sequence[str]) -> None:
    """Delete tokens."""
    connection.execute(delete(tables.tokens).where(_ROW.id.in_(token_ids)))


def delete_token(connection: Connection, token_id: str) -> None:
    """Delete a token if it exists."""
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
