"""Answers that were given under an Idempotency-Key, so that the same request gets the same one again."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update
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
    connection.execute(delete(table).where(table.c.created_at < now - KEPT))
    try:
        with connection.begin_nested():
            connection.execute(
                insert(table).values(owner=owner, key=key, request=request, answer="", created_at=now)
            )
    except IntegrityError:
        row = connection.execute(select(table).where(*own)).one()
        if row.answer:
            return row.request, row.answer
        orphan = update(table).where(*own, table.c.answer == "", table.c.created_at < now - UNANSWERED)
        if not connection.execute(orphan.values(request=request, created_at=now)).rowcount:
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


def is_known(connection: Connection, owner: str, key: str) -> bool:
    """Whether a request of this key was answered."""
    table = tables.answers
    found = select(table.c.key).where(table.c.owner == owner, table.c.key == key, table.c.answer != "")
    return connection.execute(found).one_or_none() is not None


def keep(connection: Connection, owner: str, key: str, answer: str) -> None:
    """Keep the answer to a claimed key."""
    table = tables.answers
    connection.execute(update(table).where(table.c.owner == owner, table.c.key == key).values(answer=answer))
