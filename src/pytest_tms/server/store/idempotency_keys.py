"""Answers that were given under an Idempotency-Key, so that the same request gets the same one again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError, OperationalError

from pytest_tms.errors import InFlight
from pytest_tms.server.store import tables

KEPT = 24 * 3_600_000
"""Milliseconds for which an answer is kept (docs/protocol.md)."""
UNANSWERED = 60_000
"""Milliseconds after which a claim without an answer is taken for that of a process that died."""
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's word for a lock that was waited for in vain."""


def claim(connection: Connection, owner: str, key: str, request: str, now: int) -> tuple[str, str] | None:
    """Take a key, or give the (request, answer) of the one that had it before. ``request`` is its hash.

    Where another transaction has the key, this waits for its end. Raises InFlight where that takes too long,
    and where a claim was committed before its answer was there.
    """
    table = tables.answers
    own = (table.c.owner == owner, table.c.key == key)
    try:
        with connection.begin_nested():
            connection.execute(
                insert(table).values(owner=owner, key=key, request=request, answer="", created_at=now)
            )
    except IntegrityError:
        row = connection.execute(select(table).where(*own)).one_or_none()
        if row is not None and row.answer and row.created_at >= now - KEPT:
            return row.request, row.answer
        orphan = and_(table.c.answer == "", table.c.created_at < now - UNANSWERED)
        again = update(table).where(*own, or_(orphan, table.c.created_at < now - KEPT))
        if not connection.execute(again.values(request=request, answer="", created_at=now)).rowcount:
            raise InFlight(retry_after=1) from None
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != LOCK_NOT_AVAILABLE:
            raise
        raise InFlight(retry_after=1) from error
    return None


def free(connection: Connection, owner: str, key: str) -> None:
    """Give a claimed key back, for a request that came to nothing."""
    table = tables.answers
    connection.execute(delete(table).where(table.c.owner == owner, table.c.key == key, table.c.answer == ""))


def is_known(connection: Connection, owner: str, key: str, now: int) -> bool:
    """Whether a request of this key was answered, and its answer is still valid."""
    table = tables.answers
    own = (table.c.owner == owner, table.c.key == key)
    found = select(table.c.key).where(*own, table.c.answer != "", table.c.created_at >= now - KEPT)
    return connection.execute(found).one_or_none() is not None


def keep(connection: Connection, owner: str, key: str, answer: str) -> None:
    """Keep the answer to a claimed key."""
    table = tables.answers
    connection.execute(update(table).where(table.c.owner == owner, table.c.key == key).values(answer=answer))


def expired(connection: Connection, now: int, limit: int) -> list[tuple[str, str]]:
    """Return (owner, key) of at most ``limit`` keys whose answers are no longer valid."""
    table = tables.answers.c
    # A range with two ends: of one with a single end, PostgreSQL without statistics expects a third of all.
    query = select(table.owner, table.key).where(table.created_at.between(0, now - KEPT - 1))
    return [(row.owner, row.key) for row in connection.execute(query.order_by(table.created_at).limit(limit))]


def forget(connection: Connection, keys: Sequence[tuple[str, str]], now: int) -> None:
    """Delete these keys, except those that were claimed again."""
    table = tables.answers
    mine = tuple_(table.c.owner, table.c.key).in_(keys)
    connection.execute(delete(table).where(mine, table.c.created_at < now - KEPT))
