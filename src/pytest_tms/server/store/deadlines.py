"""Queries of the background jobs: timeouts of executions, shards without reports, progress events."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, func, or_, select, update

from pytest_tms.server.store import tables

MAX_FOUND = 100
"""Executions that one query returns; the next run of the job finds the rest."""

RUNNING = tables.constant("running")

_EXECUTION = tables.executions.c
_SHARD = tables.shards.c


def timed_out(connection: Connection, after: int, until: int) -> list[str]:
    """Return executions that wait or run and have a deadline in ``after < deadline <= until``."""
    query = select(_EXECUTION.id).where(_EXECUTION.deadline_at > after, _EXECUTION.deadline_at <= until)
    return list(connection.scalars(query.order_by(_EXECUTION.deadline_at).limit(MAX_FOUND)))


def idle(connection: Connection, until: int) -> list[str]:
    """Return executions that wait for more shards since ``until`` or longer."""
    query = select(_EXECUTION.id).where(_EXECUTION.idle_since > 0, _EXECUTION.idle_since <= until)
    return list(connection.scalars(query.order_by(_EXECUTION.idle_since).limit(MAX_FOUND)))


def silent(connection: Connection, now: int) -> list[str]:
    """Return executions with running shards whose next report is overdue."""
    query = select(_SHARD.execution_id).where(_SHARD.status == RUNNING, _SHARD.silence_deadline_at <= now)
    return list(connection.scalars(query.distinct().limit(MAX_FOUND)))


def record_report(
    connection: Connection,
    execution_id: str,
    shard_ids: Collection[str],
    runner: str | None,
    now: int,
    until: int,
) -> None:
    """Store that the runner of running shards reported, and when its next report is due at the latest.

    Without ``shard_ids`` this applies to the shards with live reports. With a ``runner`` it leaves out shards
    that another runner runs now. ``now`` and ``until`` are milliseconds since 1970.
    """
    values: dict[str, Any] = {"its_execution": execution_id, "until": until, "now": now}
    if shard_ids:
        values["its_shards"] = list(shard_ids)
    if runner is not None:
        values["its_runner"] = runner
    query = _record_report(has_shards=bool(shard_ids), has_runner=runner is not None)
    connection.execute(query, values)


@cache  # SQLAlchemy takes longer to make the statement than to run it, and each live message needs it
def _record_report(*, has_shards: bool, has_runner: bool) -> Update:
    is_selected = (
        _SHARD.shard_id.in_(bindparam("its_shards", expanding=True))
        if has_shards
        else _SHARD.silence_deadline_at.is_not(None)
    )
    query = update(tables.shards).where(
        _SHARD.execution_id == bindparam("its_execution"), _SHARD.status == "running", is_selected
    )
    if has_runner:
        query = query.where(or_(_SHARD.runner.is_(None), _SHARD.runner == bindparam("its_runner")))
    return query.values(silence_deadline_at=bindparam("until"), last_reported_at=bindparam("now"))


def progress_due(connection: Connection, before: int) -> list[str]:
    """Return the running executions whose latest progress event was before ``before``."""
    return list(connection.scalars(_progress_due(before)))


def lock_progress_due(connection: Connection, before: int) -> list[str]:
    """Lock and return what ``progress_due`` returns, except executions that are locked already."""
    return list(connection.scalars(_progress_due(before).with_for_update(skip_locked=True)))


def mark_progress_sent(connection: Connection, execution_ids: Collection[str], now: int) -> None:
    """Store when ``execution.progress`` was last written."""
    query = update(tables.executions).where(_EXECUTION.id.in_(execution_ids))
    connection.execute(query.values(progressed_at=now))


def _progress_due(before: int) -> Select[tuple[str]]:
    latest = func.coalesce(_EXECUTION.progressed_at, _EXECUTION.started_at)
    return select(_EXECUTION.id).where(_EXECUTION.status == RUNNING, latest <= before).limit(MAX_FOUND)
