"""Answers that were given under an Idempotency-Key, so that the same request gets the same one again."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pytest_tms.server.store import tables

KEPT = 24 * 3_600_000
"""Milliseconds for which an answer is kept (docs/protocol.md)."""


def claim(connection: Connection, owner: str, key: str, request: str, now: int) -> tuple[str, str] | None:
    """Take a key for this transaction, or give the (request, answer) of the one that had it before.

    Where another transaction has it and goes on, this waits for its end. ``request`` is the request's hash.
    """
    table = tables.answers
    connection.execute(delete(table).where(table.c.created_at < now - KEPT))
    try:
        with connection.begin_nested():
            connection.execute(
                insert(table).values(owner=owner, key=key, request=request, answer="", created_at=now)
            )
    except IntegrityError:
        row = connection.execute(
            select(table.c.request, table.c.answer).where(table.c.owner == owner, table.c.key == key)
        ).one()
        return row.request, row.answer
    return None


def is_known(connection: Connection, owner: str, key: str) -> bool:
    """Whether a request of this key was answered."""
    table = tables.answers
    found = select(table.c.key).where(table.c.owner == owner, table.c.key == key)
    return connection.execute(found).one_or_none() is not None


def keep(connection: Connection, owner: str, key: str, answer: str) -> None:
    """Keep the answer to a claimed key."""
    table = tables.answers
    connection.execute(update(table).where(table.c.owner == owner, table.c.key == key).values(answer=answer))
