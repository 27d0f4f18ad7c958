"""Inbound events: what a runner reports while its execution runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import msgspec
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import counts, states
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import shard_reports
from pytest_tms.server.services.execution_changes import ShardChange, save_execution, save_shard
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.services.received_events import SHARD_EVENTS, ReceivedEvent, shard_report
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, deadlines, executions, queues, runners
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker

END_EVENTS = ("execution.completed", "execution.failed", "execution.cancelled")
"""Events that end an execution whose tests are in no queue."""
MAX_REASON = 1000
"""Characters that are stored of a reason."""


def accept_event(
    database: Database,
    settings: ServerSettings,
    rate_limits: RateLimits,
    execution_id: str,
    received: ReceivedEvent,
    *,
    urls: Urls,
    delivery_worker: DeliveryWorker,
    idempotency: IdempotentRequest,
    caller: Caller,
) -> wire.EventAccepted:
    """Store an event, and apply it to its execution and shard.

    Repeated and late events are stored, and do not change what has ended.

    Raises:
        NotFound: The execution does not exist.
    """
    data, now, runner = received.data, received.now, received.runner
    silence = settings.shard_silence * 1000
    changed: list[ShardChange] = []
    with database.write() as connection:
        if earlier := idempotency.recall(connection, wire.EventAccepted):
            state = executions.get(connection, execution_id).status
            return msgspec.structs.replace(earlier, execution_status=state)
        before = executions.lock(connection, execution_id)
        if runner is not None and received.name in SHARD_EVENTS:
            before = before.without_start_timeout()
        execution = before
        if runner is not None and execution.queue_state is not None:
            queues.renew(connection, execution.number, runner, now)
        if runner is None or not runners.is_superseded(connection, execution_id, runner):
            execution = _applied(execution, received)
        if data.shard_id is not None and (received.name in SHARD_EVENTS or received.rows):
            report = shard_report(
                received,
                data.shard_id,
                partial(_starts_new_attempt, connection, execution_id, received),
            )
            stored = shard_reports.store(connection, execution, report, now, received.then, silence)
            execution = stored.execution
            changed.append((stored.before, stored.after))
        if not received.is_heartbeat:
            executions.add_event(connection, execution_id, received.name, received.document, now)
        interval = rate_limits.progress_interval(execution.expected_shards)
        until = 0
        if received.is_live and silence:
            until = now + states.silence_timeout(silence, data.interval or interval)
            execution, revived = _record_heartbeat(connection, execution, received, until)
            changed += revived
        execution, deliveries = save_execution(
            connection, urls, before, execution.timed(now, until), changed, now
        )
        if execution.status == "cancelled" != before.status:
            audit.add(connection, caller, "execution.cancelled", execution_id, now)
        assigned = None
        if runner is not None and data.shard_id is not None:
            [assigned] = runners.assigned(connection, execution_id, runner, [without_nul(data.shard_id)])
        response = wire.EventAccepted(
            event=received.name,
            execution_id=execution_id,
            execution_status=execution.status,
            progress_interval=interval,
            shard_id=assigned,
        )
        idempotency.keep(connection, response)
    if deliveries:
        delivery_worker.wake()
    return response


def _applied(execution: Execution, received: ReceivedEvent) -> Execution:
    """Return an execution after an event."""
    if execution.queue_state is not None and received.runner is not None and received.name in END_EVENTS:
        return execution  # its shards and its queue decide when it ends
    state = states.execution_after(execution.status, received.name)
    if state in ("cancelled", "failed") and execution.status != state:
        why = "The runner cancelled it" if state == "cancelled" else "The runner reported a failure"
        execution = replace(execution, reason=without_nul(received.data.reason or why)[:MAX_REASON])
    if received.name == "execution.completed":
        reported_counts = counts.complete(received.data.results, execution.summed)
        execution = replace(execution, reported_counts=reported_counts or execution.reported_counts)
    return execution.with_status(state, received.then)


def _record_heartbeat(
    connection: Connection, execution: Execution, received: ReceivedEvent, until: int
) -> tuple[Execution, list[ShardChange]]:
    """Store that the shards of a progress event are alive, and that their next report is due ``until``.

    Return the execution, and the shards that had been lost and run again.
    """
    runner = received.runner
    shard_ids = runners.assigned(connection, execution.id, runner, received.shard_ids)
    for name, tests in received.in_flight.items():
        if name != received.data.shard_id:
            [assigned] = runners.assigned(connection, execution.id, runner, [name])
            executions.set_in_flight(connection, execution.id, assigned, runner, tests)
    revived: list[ShardChange] = []
    for lost in executions.lost(connection, execution.id, shard_ids, runner):
        shard = lost.reported("running", received.then)
        execution, _ = save_shard(connection, execution, lost, shard, received.then)
        revived.append((lost, shard))
    deadlines.record_report(connection, execution.id, shard_ids, runner, received.now, until)
    return execution, revived


def _starts_new_attempt(
    connection: Connection, execution_id: str, received: ReceivedEvent, shard: Shard
) -> bool:
    """Return whether an event without a runner begins another attempt of a shard.

    It does if it starts a shard that ended early, and is not a repetition.
    """
    return (
        received.name == "shard.started"
        and shard.status in ("cancelled", "lost")
        and not executions.has_event(connection, execution_id, received.name, received.document)
    )
