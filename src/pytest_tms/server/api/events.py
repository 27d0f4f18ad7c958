"""Inbound events: what a runner reports while its execution runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from pytest_tms import calls, wire
from pytest_tms.errors import Problem
from pytest_tms.server.api import auth
from pytest_tms.server.api.auth import Caller
from pytest_tms.server.api.bodies import count_problems, decode, happened, plain, time_problems
from pytest_tms.server.api.limits import Limits
from pytest_tms.server.api.once import Once
from pytest_tms.server.api.results import test_rows
from pytest_tms.server.api.routes import route
from pytest_tms.server.model import counts, states
from pytest_tms.server.model.addresses import Addresses
from pytest_tms.server.model.execution import Execution, Shard
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, deadlines, executions, results
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.outbox import announce
from pytest_tms.server.webhooks.worker import Worker

OF_SHARDS = ("execution.started", "execution.progress", "shard.started", "shard.completed")
"""Events by which a shard that they name is running, or has ended."""


@route(calls.SEND_EVENT)
def send_event(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    addresses: Addresses,
    worker: Worker,
    once: Once,
    limits: Limits,
    caller: Caller,
    execution_id: str,
) -> wire.EventAccepted:
    """Take an event; repeats and late ones are kept and change nothing that has ended."""
    event, document = decode(body, wire.Event, partial(_problems, execution_id))
    data = event.data or wire.EventData()
    now = auth.now()
    then = happened(event.happened_at, now)
    # Tests are kept as rows, so that the log of a long run stays small.
    sent = (document.get("data") or {}).pop("tests", None) or []
    rows = test_rows(data.tests or [], [msgspec.json.encode(test).decode() for test in sent])
    kept = msgspec.json.encode(document).decode()
    with database.write() as connection:
        if earlier := once.recall(connection, body, wire.EventAccepted):
            state = executions.get(connection, execution_id).status
            return msgspec.structs.replace(earlier, execution_status=state)
        found = execution = executions.lock(connection, execution_id)
        executions.add_event(connection, execution_id, event.event, kept, now)
        execution = _apply(execution, event, data, then).timed(now)
        changed: list[tuple[Shard | None, Shard]] = []
        if data.shard_id is not None and (event.event in OF_SHARDS or rows):
            before = executions.get_shard(connection, execution_id, plain(data.shard_id))
            shard = before or Shard(shard_id=plain(data.shard_id))
            change = results.put_tests(connection, execution_id, shard.shard_id, rows)
            shard = replace(shard, derived=counts.add([shard.derived, change]))
            after = _applied(shard, event, data, then)
            execution = executions.change_shard(connection, execution, before, after, then)
            changed.append((before, after))
        asked = limits.interval(execution.expected_shards)
        if event.event == "execution.progress" and event.happened_at is None and settings.shard_silence:
            named = {plain(each) for each in (*(data.shards or ()), data.shard_id) if each is not None}
            until = now + states.patience(settings.shard_silence * 1000, data.interval or asked)
            for lost in executions.lost(connection, execution_id, named):
                back = lost.reported("running", then)
                execution = executions.change_shard(connection, execution, lost, back, then)
                changed.append((lost, back))
            deadlines.heard(connection, execution_id, named, until)
        executions.save(connection, execution)
        if execution.status == "cancelled" != found.status:
            audit.add(connection, caller, "execution.cancelled", execution_id, now)
        told = announce(connection, addresses, found, execution, changed)
        answer = wire.EventAccepted(
            event=event.event,
            execution_id=execution_id,
            execution_status=execution.status,
            progress_interval=asked,
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


def _apply(execution: Execution, event: wire.Event, data: wire.EventData, now: int) -> Execution:
    state = states.execution_after(execution.status, event.event)
    if state in ("cancelled", "failed") and execution.status != state:
        why = "The runner cancelled it" if state == "cancelled" else "The runner said that it failed"
        execution = replace(execution, reason=plain(data.reason or why)[:1000])
    if event.event == "execution.completed":
        given = counts.complete(data.results, execution.summed)
        execution = replace(execution, given=given or execution.given)
    return execution.became(state, now)


def _applied(shard: Shard, event: wire.Event, data: wire.EventData, now: int) -> Shard:
    if event.event not in OF_SHARDS:
        return shard
    if event.event != "shard.completed":
        return shard.reported("running", now)
    shard = replace(
        shard,
        given=counts.complete(data.results, shard.derived) or shard.given,
        duration=shard.duration if data.duration is None else round(data.duration),
        metadata={**shard.metadata, **(data.metadata or {})},
    )
    return shard.reported(states.reported_end(data.status, shard.results), now)
