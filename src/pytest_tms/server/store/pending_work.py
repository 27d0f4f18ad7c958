"""What waits to be done: deliveries, deadlines and locks, for metrics. Each query is bounded by an index."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, literal_column, select, text

from pytest_tms.server.store import tables
from pytest_tms.server.store.deliveries import PENDING

MAX_COUNTED = 10_000
"""Rows that are counted at most."""

RUNNING = tables.constant("running")
_HOOK = tables.webhooks.c
_ROW = tables.deliveries.c
_EXECUTION = tables.executions.c
_SHARD = tables.shards.c


class PendingWork(NamedTuple):
    """What waits to be done.

    Counts are at most ``MAX_COUNTED``. Times are milliseconds since 1970, None if there is nothing.
    """

    pending: int
    oldest_pending_at: int | None
    oldest_due_at: int | None
    running: int
    oldest_deadline_at: int | None


def read(connection: Connection) -> PendingWork:
    """Return what waits to be done, without the deliveries of webhooks that are paused or disabled."""
    of_webhook = (_ROW.webhook_id == _HOOK.id, _ROW.status == PENDING)
    # One look-up in an index for each webhook: a paused one may have any number of deliveries.
    oldest = select(_ROW.created_at).where(*of_webhook).order_by(_ROW.number).limit(1).scalar_subquery()
    due = select(func.min(_ROW.due_at)).where(*of_webhook).scalar_subquery()
    each = select(oldest.label("oldest"), due.label("due")).where(_HOOK.status == "active").subquery()
    first = connection.execute(select(func.min(each.c.oldest), func.min(each.c.due))).one()
    one: ColumnElement[int] = literal_column("1")
    pending = select(one).where(_ROW.status == PENDING).limit(MAX_COUNTED).subquery()
    running = select(one).where(_EXECUTION.status == RUNNING).limit(MAX_COUNTED).subquery()
    deadlines = [
        connection.scalar(
            select(func.min(_EXECUTION.deadline_at)).where(_EXECUTION.deadline_at.is_not(None))
        ),
        connection.scalar(select(func.min(_SHARD.silence_deadline_at)).where(_SHARD.status == RUNNING)),
    ]
    return PendingWork(
        pending=connection.execute(select(func.count()).select_from(pending)).scalar_one(),
        oldest_pending_at=first[0],
        oldest_due_at=first[1],
        running=connection.execute(select(func.count()).select_from(running)).scalar_one(),
        oldest_deadline_at=min((each for each in deadlines if each is not None), default=None),
    )


def lock_waiters(connection: Connection) -> int:
    """Return how many sessions of a PostgreSQL database wait for a lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return int(connection.execute(text(query)).scalar_one())
