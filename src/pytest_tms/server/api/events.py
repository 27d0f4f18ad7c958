"""Inbound events: what a runner reports while its execution runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from pytest_tms import calls, wire
from pytest_tms.errors import Problem
from pytest_tms.server.api import authentication
from pytest_tms.server.api.authentication import Caller
from pytest_tms.server.api.idempotency import IdempotencyGuard
from pytest_tms.server.api.rate_limits import RateLimits
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import count_problems, decode, happened, time_problems
from pytest_tms.server.domain import counts, states
from pytest_tms.server.domain.column_values import plain
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.metadata_limits import size_problems
from pytest_tms.server.domain.result_rows import ResultRow, result_rows
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import shard_reports
from pytest_tms.server.services.claims import Origin
from pytest_tms.server.services.shard_reports import ShardReport
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, deadlines, executions, runners
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.outbox import announce

OF_SHARDS = ("execution.started", "execution.progress", "shard.started", "shard.completed")
"""Events by which a shard that they name is running, or has ended."""
CLAIMS = ("execution.progress", "shard.started", "shard.completed")
"""Events by which a runner claims the shard that they name."""


@route(calls.SEND_EVENT)
def send_event(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    addresses: Urls,
    worker: DeliveryWorker,
    once: IdempotencyGuard,
    limits: RateLimits,
    caller: Caller,
    execution_id: str,
) -> wire.EventAccepted:
    """Take an event; repeats and late ones are kept and change nothing that has ended."""
    event, document = decode(body, wire.Event, partial(_problems, execution_id))
    data = event.data or wire.EventData()
    now = authentication.now()
    then = happened(event.happened_at, now)
    # Tests are kept as rows, so that the log of a long run stays small.
    sent = (document.get("data") or {}).pop("tests", None) or []
    rows = result_rows(data.tests or [], [msgspec.json.encode(test).decode() for test in sent])
    kept = msgspec.json.encode(document).decode()
    runner = None if data.runner is None else plain(data.runner)
    silence = settings.shard_silence * 1000
    with database.write() as connection:
        if earlier := once.recall(connection, body, wire.EventAccepted):
            state = executions.get(connection, execution_id).status
            return msgspec.structs.replace(earlier, execution_status=state)
        found = execution = executions.lock(connection, execution_id)
        if runner is not None and event.event in OF_SHARDS:
            found = execution = execution.begun_late()
        if runner is None or not runners.is_superseded(connection, execution_id, runner):
            execution = _apply(execution, event, data, then)
        changed: list[tuple[Shard | None, Shard]] = []
        in_flight = shard_reports.in_flight(data.running or (), [] if data.running is None else _named(data))
        if data.shard_id is not None and (event.event in OF_SHARDS or rows):
            again = partial(_begins_anew, connection, execution_id, event.event, kept)
            report = _report(event.event, data, runner, rows, in_flight.get(plain(data.shard_id)), again)
            stored = shard_reports.store(connection, execution, report, now, then, silence)
            execution = stored.execution
            changed.append((stored.before, stored.after))
        executions.add_event(connection, execution_id, event.event, kept, now)
        asked = limits.interval(execution.expected_shards)
        until = 0
        if event.event == "execution.progress" and event.happened_at is None and silence:
            until = now + states.patience(silence, data.interval or asked)
            named = runners.given(connection, execution_id, runner, _named(data))
            for name, tests in in_flight.items():
                if name != data.shard_id:
                    [own] = runners.given(connection, execution_id, runner, [name])
                    executions.set_in_flight(connection, execution_id, own, runner, tests)
            for lost in executions.lost(connection, execution_id, named, runner):
                back = lost.reported("running", then)
                execution = executions.change_shard(connection, execution, lost, back, then)
                changed.append((lost, back))
            deadlines.heard(connection, execution_id, named, runner, now, until)
        execution = shard_reports.close(connection, execution.timed(now, until), now)
        executions.save(connection, execution)
        if execution.status == "cancelled" != found.status:
            audit.add(connection, caller, "execution.cancelled", execution_id, now)
        told = announce(connection, addresses, found, execution, changed)
        given = None
        if runner is not None and data.shard_id is not None:
            [given] = runners.given(connection, execution_id, runner, [plain(data.shard_id)])
        answer = wire.EventAccepted(
            event=event.event,
            execution_id=execution_id,
            execution_status=execution.status,
            progress_interval=asked,
            shard_id=given,
        )
        once.keep(connection, answer)
    if told:
        worker.wake()
    return answer


def _problems(execution_id: str, document: dict[str, Any]) -> Iterator[Problem]:
    """What no schema says: the execution is that of the address, a shard has a name, a time is one."""
    data = document.get("data")
    data = data if isinstance(data, dict) else {}
    named = document.get("executionId")
    if isinstance(named, str) and named and named != execution_id:
        yield Problem("executionId", f"Must be {execution_id[:100]}, as in the address")
    of_shard = document.get("event") in ("shard.started", "shard.completed")
    if (of_shard or data.get("tests")) and data.get("shardId") is None:
        yield Problem("data.shardId", "Is required")
    for name in ("timestamp", "happenedAt"):
        yield from time_problems(document.get(name), name)
    yield from count_problems(data.get("results"), "data.results")
    yield from size_problems(data.get("metadata"), "data.metadata")


def _apply(execution: Execution, event: wire.Event, data: wire.EventData, now: int) -> Execution:
    state = states.execution_after(execution.status, event.event)
    if state in ("cancelled", "failed") and execution.status != state:
        why = "The runner cancelled it" if state == "cancelled" else "The runner said that it failed"
        execution = replace(execution, reason=plain(data.reason or why)[:1000])
    if event.event == "execution.completed":
        given = counts.complete(data.results, execution.summed)
        execution = replace(execution, given=given or execution.given)
    return execution.became(state, now)


def _report(
    event: str,
    data: wire.EventData,
    runner: str | None,
    rows: Sequence[ResultRow],
    in_flight: Sequence[wire.RunningTest] | None,
    begins_anew: Callable[[Shard], bool],
) -> ShardReport:
    return ShardReport(
        origin=Origin(
            shard_id=plain(data.shard_id or ""),
            runner=runner,
            declared=data.attempt,
            claims=event in CLAIMS or bool(rows),
            begins_anew=begins_anew,
        ),
        told=data,
        rows=rows,
        is_start=event in OF_SHARDS,
        is_end=event == "shard.completed",
        status=data.status,
        duration=None if data.duration is None else round(data.duration),
        reason=data.reason,
        running=in_flight,
    )


def _begins_anew(connection: Connection, execution_id: str, event: str, document: str, shard: Shard) -> bool:
    """Whether an event without a runner begins another attempt: a start after an early end, not repeated."""
    return (
        event == "shard.started"
        and shard.status in ("cancelled", "lost")
        and not executions.has_event(connection, execution_id, event, document)
    )


def _named(data: wire.EventData) -> list[str]:
    """The shards that an event names, its own first."""
    names = (plain(each) for each in (data.shard_id, *(data.shards or ())) if each is not None)
    return list(dict.fromkeys(names))
