"""The outbox: webhook events of a change, written in the transaction of the change.

An event exists if and only if its change was committed. Each event has the next sequence number of its
execution, whether or not a webhook subscribes to it. The execution is locked, so numbers are unique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import states
from pytest_tms.server.domain.chat import write_message
from pytest_tms.server.domain.chat.message import LINES, RunMessage, run_message
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.forecast import forecast
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.store import deadlines, deliveries, execution_lists, executions, run_changes, webhooks
from pytest_tms.server.store.deliveries import NewDelivery
from pytest_tms.server.store.run_changes import ChangedTests, RunChanges

MAX_FAILED_TESTS = 100
"""Failed tests in one event."""
MAX_FAILED_TESTS_SIZE = 9_000
"""Bytes of the failed tests of an event, as JSON. All limits together keep a payload under 20 kB."""
MAX_SHARDS_SIZE = 4_000
"""Bytes of the shards of an event, as JSON."""
MAX_CHANGED = 10
"""Tests in each list of changes of one event."""
MAX_CHANGED_SIZE = 700
"""Bytes of each list of changes of an event, as JSON."""
MAX_CHANGED_NAME = 300
"""Bytes of the name of a test in these lists, as JSON."""
MAX_METADATA_SIZE = 6_000
"""Bytes of an execution's metadata as JSON, and of its configuration."""
MAX_TEXT_SIZE = 600
"""Bytes of one text as JSON."""


class Event(NamedTuple):
    """An event to announce: functions that return its ``data`` and its chat message, called if needed.

    Only events that end an execution have a message.
    """

    name: str
    data: Callable[[], Any]
    message: Callable[[], RunMessage] | None = None


def announce(
    connection: Connection,
    urls: Urls,
    before: Execution,
    after: Execution,
    shards: Sequence[tuple[Shard | None, Shard]] = (),
) -> int:
    """Insert the deliveries for the change of a locked execution and of its shards; return their number.

    Call it in the transaction of the change, after the change, and wake the delivery worker after the commit.
    ``shards`` are (before, after). A shard that began another attempt is given as it was at its beginning.
    """
    return _write(connection, after, list(_events(connection, urls, before, after, shards)))


def announce_progress(connection: Connection, now: int, interval: int) -> int:
    """Insert ``execution.progress`` for each running execution whose latest one is ``interval`` ms old.

    Return the number of deliveries. ``now`` is milliseconds since 1970.
    """
    found = deadlines.lock_progress_due(connection, now - interval)
    written = 0
    for execution_id in found:
        execution = executions.get(connection, execution_id)
        event = Event("execution.progress", partial(_progress, execution))
        written += _write(connection, execution, [event])
    deadlines.mark_progress_sent(connection, found, now)
    return written


def _events(
    connection: Connection,
    urls: Urls,
    before: Execution,
    after: Execution,
    shards: Sequence[tuple[Shard | None, Shard]],
) -> Iterator[Event]:
    is_started = after.started_at is not None and after.status not in ("created", "cancelled")
    if before.status == "created" and (shards or is_started):
        yield Event("execution.started", partial(_started, after))
    for old, new in shards:
        if (old is None or old.started_at is None) and new.started_at is not None:
            yield Event("shard.started", partial(_shard_started, new))
        if new.is_finished and not (old is not None and (old.has_known_end or old.status == new.status)):
            yield Event("shard.completed", partial(_shard, urls, after, new))
    if after.status in states.ENDED and (after.status, after.ended_at) != (before.status, before.ended_at):
        yield Event(
            f"execution.{after.status}",
            partial(_ended, connection, urls, after),
            partial(_message, connection, urls, after),
        )


def _write(connection: Connection, execution: Execution, events: Sequence[Event]) -> int:
    if not events:
        return 0
    sequence = deliveries.next_sequence(connection, execution.id, len(events))
    enabled = webhooks.lock_enabled(connection)
    moment = wire.timestamp()
    now = round(wire.parse_time(moment).timestamp() * 1000)
    rows = []
    for number, event in enumerate(events, start=sequence):
        subscribers = [
            each
            for each in enabled
            if each.is_subscribed_to(event.name, execution.test_suite, execution.environment)
            and (each.format == "json" or event.message is not None)
        ]
        bodies = {
            name: _body(name, event, execution, number, moment)
            for name in {each.format for each in subscribers}
        }
        rows += [
            NewDelivery(
                new_id("msg"), each.id, execution.id, event.name, bodies[each.format], "pending", now, now
            )
            for each in subscribers
        ]
    deliveries.enqueue(connection, rows)
    return len(rows)


def _body(format_name: str, event: Event, execution: Execution, sequence: int, moment: str) -> str:
    """Return the body of a delivery in the format of its webhook."""
    if format_name != "json" and event.message is not None:
        return write_message(format_name, event.message())
    payload = wire.OutboundEvent(
        event=event.name,
        timestamp=moment,
        execution_id=execution.id,
        sequence=sequence,
        data=event.data(),
    )
    return msgspec.json.encode(payload).decode()


def _started(execution: Execution) -> wire.StartedData:
    return wire.StartedData(
        test_suite=_shortened(execution.test_suite),
        environment=_shortened(execution.environment),
        provider=_shortened(execution.provider),
        configuration=_fitting(execution.configuration),
        metadata=_fitting(execution.metadata),
    )


def _shard_started(shard: Shard) -> wire.ShardStartedData:
    return wire.ShardStartedData(shard_id=_shortened(shard.shard_id))


def _shard(urls: Urls, execution: Execution, shard: Shard) -> wire.ShardCompletedData:
    return wire.ShardCompletedData(
        shard_id=_shortened(shard.shard_id),
        status=shard.status,
        results=shard.results,
        duration=shard.runtime,
        artifacts=wire.ShardLink(report_url=urls.shard(execution.id, _shortened(shard.shard_id))),
    )


def _progress(execution: Execution) -> wire.ProgressData:
    progress = wire.Progress(
        started_at=None
        if execution.started_at is None
        else wire.timestamp(wire.moment(execution.started_at)),
        shards_completed=execution.shards_finished,
        total_shards=execution.expected_shards,
    )
    return wire.ProgressData(status=execution.status, progress=progress, results=execution.results)


def _ended(connection: Connection, urls: Urls, execution: Execution) -> wire.EndedData:
    found = executions.shards(connection, execution.id)
    expected = forecast(found, execution, 0)
    shards = [
        wire.ShardSummary(shard_id=_shortened(shard.shard_id), status=shard.status, results=shard.results)
        for shard in found
    ]
    failed = [
        wire.FailedTest(
            title=_shortened(test.title),
            file=_shortened(test.file),
            error=None if test.error is None else _shortened(test.error),
            shard=_shortened(test.shard),
        )
        for test in webhooks.failed_tests(connection, execution.id, MAX_FAILED_TESTS)
    ]
    return wire.EndedData(
        status=execution.status,
        reason=None if execution.reason is None else _shortened(execution.reason),
        results=execution.results,
        duration=execution.runtime,
        shard_results=_first(shards, MAX_SHARDS_SIZE),
        shard_results_total=len(shards),
        artifacts=urls.links(execution.id),
        failed_tests=_first(failed, MAX_FAILED_TESTS_SIZE),
        failed_tests_total=max(execution.results.failed, len(failed)),
        not_run=expected.not_run or 0,
        not_run_reason=None if expected.reason is None else _shortened(expected.reason),
        changes=_changed(run_changes.find(connection, execution, limit=MAX_CHANGED)),
    )


def _message(connection: Connection, urls: Urls, execution: Execution) -> RunMessage:
    changes = run_changes.find(connection, execution, limit=LINES)
    failed = [] if changes.previous else webhooks.failed_tests(connection, execution.id, LINES)
    expected = forecast(executions.shards(connection, execution.id), execution, 0)
    build = execution_lists.by_number(connection, [execution.number]).get(execution.number)
    return run_message(
        execution,
        run_changes.as_message(execution.id, changes),
        failed,
        branch=build.branch if build else "",
        commit=build.commit if build else "",
        not_run=expected.not_run or 0,
        url=urls.report(execution.id),
    )


def _changed(changes: RunChanges) -> wire.EndedChanges:
    def named(some: ChangedTests) -> wire.ChangedNames:
        names = [_shortened(each.node_id or each.title, MAX_CHANGED_NAME) for each in some.tests]
        return wire.ChangedNames(count=some.count, tests=_first(names, MAX_CHANGED_SIZE))

    return wire.EndedChanges(
        compared_with=None if changes.previous is None else changes.previous.id,
        new_failures=named(changes.new_failures),
        known_failures=named(changes.known_failures),
        fixed=named(changes.fixed),
        flaky=named(changes.flaky),
        quarantined=named(changes.quarantined),
    )


def _shortened(text: str, size: int = MAX_TEXT_SIZE) -> str:
    """Return a text of at most ``size`` bytes as JSON, where a character may need six bytes."""
    if len(text) * 6 <= size or len(msgspec.json.encode(text)) <= size:
        return text
    while len(msgspec.json.encode(text)) > size - 5:
        text = text[: min(size, len(text) * 9 // 10)]
    return f"{text}…"


def _first(values: list[Any], size: int) -> list[Any]:
    """Return as many of the first values as fit into ``size`` bytes of JSON."""
    fitting = []
    for value in values:
        size -= len(msgspec.json.encode(value)) + 1
        if size < 0:
            break
        fitting.append(value)
    return fitting


def _fitting(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a document that fit into a payload, in their order; small ones have priority."""
    left = MAX_METADATA_SIZE
    kept = set()
    sizes = {name: len(msgspec.json.encode({name: value})) for name, value in document.items()}
    for name in sorted(sizes, key=sizes.__getitem__):
        left -= sizes[name]
        if left < 0:
            break
        kept.add(name)
    return {name: value for name, value in document.items() if name in kept}
