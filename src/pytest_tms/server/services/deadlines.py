"""Deadlines: timeouts of executions, their end after a wait for more shards, shards whose runners are
silent, and periodic progress events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection

from pytest_tms.errors import NotFound
from pytest_tms.server.domain import states
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import queue_ends
from pytest_tms.server.services.claims import LEASE
from pytest_tms.server.services.execution_changes import (
    ShardChange,
    end_execution,
    save_execution,
    save_shard,
)
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import deadlines, executions, queues, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.outbox import announce_progress


@dataclass(frozen=True)
class Due:
    """What is due: executions to check, and whether a progress event is due."""

    execution_ids: frozenset[str]
    is_progress_due: bool


def find_due(database: Database, settings: ServerSettings, listening_since: int, now: int) -> Due:
    """Return what is due at ``now``.

    ``listening_since`` is since when runners could report to this server. Deadlines and silence from before
    count only after the server has listened for as long as a shard may be silent. Times are milliseconds
    since 1970.
    """
    silence = settings.shard_silence * 1000
    has_listened = now - listening_since >= silence
    with database.read() as connection:
        late = deadlines.timed_out(connection, 0 if has_listened else listening_since, now)
        silent = deadlines.silent(connection, now) if silence and has_listened else []
        wait = settings.run_key_wait * 1000
        idle = deadlines.idle(connection, now - wait) if now - listening_since >= wait else []
        expired = queues.expired(connection, now) if now - listening_since >= LEASE else []
        wanted = webhooks.has_subscriber(connection, "execution.progress")
        progress = wanted and deadlines.progress_due(connection, now - settings.progress_interval * 1000)
    return Due(frozenset({*late, *silent, *idle, *expired}), bool(progress))


def enforce_deadline(database: Database, settings: ServerSettings, execution_id: str, now: int) -> int:
    """Fail an execution whose timeout has expired, and mark its silent shards as lost.

    An execution whose shards have all ended is not failed: it ends, since no other shard began in time.
    Return the number of webhook deliveries. Nothing happens if another process was faster.
    """
    try:
        with database.write() as connection:
            before = after = executions.lock(connection, execution_id)
            if before.idle_since is not None:
                is_over = before.idle_since + settings.run_key_wait * 1000 <= now or before.is_late(now)
                return _end_idle(connection, settings, before, now) if is_over else 0
            is_late = before.is_late(now)
            has_queue = before.queue_state is not None
            silent = _silent_runners(connection, before, now) if has_queue else frozenset[str]()
            shards = executions.shards(connection, execution_id)
            why_late = before.why_late(shard.shard_id for shard in shards)
            if is_late and not has_queue:
                after = after.expired(why_late, now)
            changed: list[ShardChange] = []
            for shard in shards:
                is_lost = shard.is_silent(now) or (shard.runner in silent and not shard.is_finished)
                if is_lost or (is_late and not shard.is_finished):
                    lost = _lost(shard, None if is_lost else why_late, now)
                    after, lost = save_shard(connection, after, shard, lost, now)
                    changed.append((shard, lost))
            if has_queue:
                queue_ends.end_silent(connection, after, silent)
            if is_late and after.status not in states.ENDED:  # its queue may be complete
                if (missing := queue_ends.why_incomplete(connection, after)) is not None:
                    why_late = f"{why_late}. {missing}"
                after = after.expired(why_late, now)
            if not changed and not is_late:
                return 0
            urls = Urls(settings.public_url or after.root)
            return save_execution(connection, urls, before, after, changed, now)[1]
    except NotFound:  # it was deleted meanwhile
        return 0


def _end_idle(connection: Connection, settings: ServerSettings, before: Execution, now: int) -> int:
    """End an execution for which no more shards began, at the time when its last shard ended."""
    shards = executions.shards(connection, before.id)
    ended_at = max(shard.ended_at or 0 for shard in shards) or now
    after = end_execution(connection, before, ended_at)
    return save_execution(connection, Urls(settings.public_url or before.root), before, after, (), now)[1]


def send_progress(database: Database, settings: ServerSettings, now: int) -> int:
    """Write the progress events that are due, and return the number of webhook deliveries."""
    with database.write() as connection:
        return announce_progress(connection, now, settings.progress_interval * 1000)


def _silent_runners(connection: Connection, execution: Execution, now: int) -> frozenset[str]:
    """Return the runners that take tests from a queue and have not reported in time."""
    found = queues.runners(connection, execution.number)
    return frozenset(each.runner for each in found if not each.has_ended and each.lease_until <= now)


def _lost(shard: Shard, reason: str | None, now: int) -> Shard:
    return replace(shard.reported("lost", now), reason=reason or "Its runner stopped reporting")
