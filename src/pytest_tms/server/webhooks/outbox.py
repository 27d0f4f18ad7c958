"""What a change of an execution tells its webhooks, written in the transaction of the change.

So an event exists if and only if its change was committed. Each has the next number of its execution, whether
or not a webhook subscribes to it; the execution is locked, so that no two events have the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import states
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.forecast import forecast
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.store import deadlines, executions, webhooks
from pytest_tms.server.store.webhooks import NewDelivery

FAILED_TESTS = 100
"""How many failed tests an event lists at most."""
LINES = 9_000
"""Bytes of the failed tests of an event, as JSON. All limits together keep a payload under 20 kB."""
SHARDS = 4_000
"""Bytes of its shards."""
METADATA = 6_000
"""Bytes of an execution's metadata, and of its configuration."""
TEXT = 600
"""Bytes of one text."""

Events = Iterator[tuple[str, Callable[[], Any]]]
"""Names of events, with what makes the ``data`` of each where somebody listens."""


def announce(
    connection: Connection,
    addresses: Urls,
    before: Execution,
    after: Execution,
    shards: Sequence[tuple[Shard | None, Shard]] = (),
) -> int:
    """Write what the change of a locked execution and of its shards tells; answers the number of deliveries.

    Call it in the transaction of the change, after the change, and wake the worker after the commit. A shard
    that began another attempt is given as it was at the beginning of that attempt.
    """
    return _write(connection, after, list(_changes(connection, addresses, before, after, shards)))


def announce_progress(connection: Connection, now: int, interval: int) -> int:
    """Write ``execution.progress`` for each running execution whose last one is ``interval`` ms ago."""
    found = deadlines.lock_progress_due(connection, now - interval)
    written = 0
    for execution_id in found:
        execution = executions.get(connection, execution_id)
        written += _write(connection, execution, [("execution.progress", partial(_progressing, execution))])
    deadlines.progressed(connection, found, now)
    return written


def _changes(
    connection: Connection,
    addresses: Urls,
    before: Execution,
    after: Execution,
    shards: Sequence[tuple[Shard | None, Shard]],
) -> Events:
    is_started = after.started_at is not None and after.status not in ("created", "cancelled")
    if before.status == "created" and (shards or is_started):
        yield "execution.started", partial(_started, after)
    for old, new in shards:
        if (old is None or old.started_at is None) and new.started_at is not None:
            yield "shard.started", partial(_shard_started, new)
        if new.is_finished and not (old is not None and (old.has_known_end or old.status == new.status)):
            yield "shard.completed", partial(_shard, addresses, after, new)
    if after.status in states.ENDED and (after.status, after.ended_at) != (before.status, before.ended_at):
        yield f"execution.{after.status}", partial(_ended, connection, addresses, after)


def _write(connection: Connection, execution: Execution, events: list[tuple[str, Callable[[], Any]]]) -> int:
    if not events:
        return 0
    sequence = webhooks.next_sequence(connection, execution.id, len(events))
    listeners = webhooks.listening(connection)
    moment = wire.timestamp()
    now = round(wire.parse_time(moment).timestamp() * 1000)
    rows = []
    for number, (event, data) in enumerate(events, start=sequence):
        hearing = [
            each for each in listeners if each.hears(event, execution.test_suite, execution.environment)
        ]
        if hearing:
            told = wire.OutboundEvent(
                event=event, timestamp=moment, execution_id=execution.id, sequence=number, data=data()
            )
            body = msgspec.json.encode(told).decode()
            rows += [
                NewDelivery(new_id("msg"), each.id, execution.id, event, body, "pending", now, now)
                for each in hearing
            ]
    webhooks.enqueue(connection, rows)
    return len(rows)


def _started(execution: Execution) -> wire.StartedData:
    return wire.StartedData(
        test_suite=_cut(execution.test_suite),
        environment=_cut(execution.environment),
        provider=_cut(execution.provider),
        configuration=_fitting(execution.configuration),
        metadata=_fitting(execution.metadata),
    )


def _shard_started(shard: Shard) -> wire.ShardStartedData:
    return wire.ShardStartedData(shard_id=_cut(shard.shard_id))


def _shard(addresses: Urls, execution: Execution, shard: Shard) -> wire.ShardCompletedData:
    return wire.ShardCompletedData(
        shard_id=_cut(shard.shard_id),
        status=shard.status,
        results=shard.results,
        duration=shard.runtime,
        artifacts=wire.ShardLink(report_url=addresses.shard(execution.id, _cut(shard.shard_id))),
    )


def _progressing(execution: Execution) -> wire.ProgressData:
    progress = wire.Progress(
        started_at=None
        if execution.started_at is None
        else wire.timestamp(wire.moment(execution.started_at)),
        shards_completed=execution.shards_finished,
        total_shards=execution.expected_shards,
    )
    return wire.ProgressData(status=execution.status, progress=progress, results=execution.results)


def _ended(connection: Connection, addresses: Urls, execution: Execution) -> wire.EndedData:
    found = executions.shards(connection, execution.id)
    expected = forecast(found, execution.results, 0)
    shards = [
        wire.ShardSummary(shard_id=_cut(shard.shard_id), status=shard.status, results=shard.results)
        for shard in found
    ]
    failed = [
        wire.FailedTest(
            title=_cut(test.title),
            file=_cut(test.file),
            error=None if test.error is None else _cut(test.error),
            shard=_cut(test.shard),
        )
        for test in webhooks.failed_tests(connection, execution.id, FAILED_TESTS)
    ]
    return wire.EndedData(
        status=execution.status,
        reason=None if execution.reason is None else _cut(execution.reason),
        results=execution.results,
        duration=execution.runtime,
        shard_results=_first(shards, SHARDS),
        shard_results_total=len(shards),
        artifacts=addresses.links(execution.id),
        failed_tests=_first(failed, LINES),
        failed_tests_total=max(execution.results.failed, len(failed)),
        not_run=expected.not_run or 0,
        not_run_reason=None if expected.reason is None else _cut(expected.reason),
    )


def _cut(text: str) -> str:
    """Text that takes at most ``TEXT`` bytes as JSON, which may need six for a character."""
    if len(text) * 6 <= TEXT or len(msgspec.json.encode(text)) <= TEXT:
        return text
    while len(msgspec.json.encode(text)) > TEXT - 5:
        text = text[: min(TEXT, len(text) * 9 // 10)]
    return f"{text}…"


def _first(values: list[Any], most: int) -> list[Any]:
    """As many of the first values as fit into ``most`` bytes of JSON."""
    kept = []
    for value in values:
        most -= len(msgspec.json.encode(value)) + 1
        if most < 0:
            break
        kept.append(value)
    return kept


def _fitting(document: dict[str, Any]) -> dict[str, Any]:
    """The fields of a document that fit into a payload, the small ones first, in the order given."""
    left = METADATA
    kept = set()
    sizes = {name: len(msgspec.json.encode({name: value})) for name, value in document.items()}
    for name in sorted(sizes, key=sizes.__getitem__):
        left -= sizes[name]
        if left < 0:
            break
        kept.add(name)
    return {name: value for name, value in document.items() if name in kept}
