"""Idempotency keys with the responses stored under them, which a repeated request receives again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, and_, delete, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError, OperationalError

from pytest_tms.errors import InFlight
from pytest_tms.server.store import bulk, tables

RETENTION = 24 * 3_600_000
"""Milliseconds for which a response is stored (docs/protocol.md)."""
RESERVATION_TIMEOUT = 60_000
"""Milliseconds after which a reservation without a response is considered that of a process that crashed."""
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's error code for a lock timeout."""


_ADD = insert(tables.idempotent_responses)


def reserve(
    connection: Connection, token_hash: str, key: str, request_hash: str, now: int
) -> tuple[str, str] | None:
    """Reserve a key for a request, or return the (request hash, response) that is stored under it.

    ``request_hash`` is that of path and body. If another transaction reserves the key, this waits for it.

    Raises:
        InFlight: The wait took too long, or another request has reserved the key and has no response yet.
    """
    table = tables.idempotent_responses
    is_own = (table.c.token_hash == token_hash, table.c.key == key)
    try:
        with connection.begin_nested():
            connection.execute(
                insert(table).values(
                    token_hash=token_hash, key=key, request_hash=request_hash, response="", created_at=now
                )
            )
    except IntegrityError:
        row = connection.execute(select(table).where(*is_own)).one_or_none()
        if row is not None and row.response and row.created_at >= now - RETENTION:
            return row.request_hash, row.response
        is_abandoned = and_(table.c.response == "", table.c.created_at < now - RESERVATION_TIMEOUT)
        again = update(table).where(*is_own, or_(is_abandoned, table.c.created_at < now - RETENTION))
        if not connection.execute(
            again.values(request_hash=request_hash, response="", created_at=now)
        ).rowcount:
            raise InFlight(retry_after=1) from None
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != LOCK_NOT_AVAILABLE:
            raise
        raise InFlight(retry_after=1) from error
    return None


def known(connection: Connection, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of some (token hash, key) that are stored, also if their responses have expired."""
    statement = (
        "SELECT token_hash, key FROM {pairs} CROSS JOIN idempotent_responses "
        "WHERE token_hash = pairs.one AND key = pairs.other"
    )
    usable = [each for each in keys if "\x00" not in each[1]]  # PostgreSQL takes no NUL
    return {(row[0], row[1]) for row in bulk.pairs(connection, statement, (), usable, ("text", "text"))}


def add(connection: Connection, responses: Sequence[tuple[str, str, str, str]], now: int) -> None:
    """Store (token hash, key, request hash, response) of requests that were carried out.

    Raises:
        IntegrityError: One of the keys is stored already.
    """
    columns = ("token_hash", "key", "request_hash", "response", "created_at")
    if responses:
        connection.execute(_ADD, [dict(zip(columns, (*each, now), strict=True)) for each in responses])


def release(connection: Connection, token_hash: str, key: str) -> None:
    """Delete a reservation that has no response, after its request failed."""
    table = tables.idempotent_responses
    connection.execute(
        delete(table).where(table.c.token_hash == token_hash, table.c.key == key, table.c.response == "")
    )


def is_known(connection: Connection, token_hash: str, key: str, now: int) -> bool:
    """Return whether a response is stored under a key and has not expired."""
    table = tables.idempotent_responses
    is_own = (table.c.token_hash == token_hash, table.c.key == key)
    found = select(table.c.key).where(*is_own, table.c.response != "", table.c.created_at >= now - RETENTION)
    return connection.execute(found).one_or_none() is not None


def keep(connection: Connection, token_hash: str, key: str, response: str) -> None:
    """Store the response of a reserved key."""
    table = tables.idempotent_responses
    connection.execute(
        update(table).where(table.c.token_hash == token_hash, table.c.key == key).values(response=response)
    )


def expired(connection: Connection, now: int, limit: int) -> list[tuple[str, str]]:
    """Return (token_hash, key) of at most ``limit`` keys whose responses have expired."""
    table = tables.idempotent_responses.c
    # A range with two ends: of one with a single end, PostgreSQL without statistics expects a third of all.
    query = select(table.token_hash, table.key).where(table.created_at.between(0, now - RETENTION - 1))
    return [
        (row.token_hash, row.key) for row in connection.execute(query.order_by(table.created_at).limit(limit))
    ]


def delete_expired(connection: Connection, keys: Sequence[tuple[str, str]], now: int) -> None:
    """Delete these keys, except those that were reserved again."""
    table = tables.idempotent_responses
    is_selected = tuple_(table.c.token_hash, table.c.key).in_(keys)
    connection.execute(delete(table).where(is_selected, table.c.created_at < now - RETENTION))
