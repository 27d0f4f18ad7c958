"""Shard reports: the content of a message about one shard, stored with its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import counts, states
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.metadata_limits import merged
from pytest_tms.server.domain.result_rows import ResultRow
from pytest_tms.server.services.execution_changes import save_shard
from pytest_tms.server.services.queue_ends import change_counts
from pytest_tms.server.services.shard_assignment import ReportSource, ShardAssignment, assign_shard
from pytest_tms.server.store import results
from pytest_tms.server.store.results import Change

MAX_REASON = 1000
"""Characters that are stored of a reason."""
MAX_NAME = 500
"""Characters that are stored of the name of a test that did not run."""
MAX_NAMES = 100_000
"""Characters that are stored of all these names of a shard."""

ShardMessage = wire.EventData | wire.ResultsSubmission[msgspec.Raw]
"""A message about a shard; both types have the fields that are used here."""


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """The content of one message about one shard.

    ``is_end`` means that the shard has ended, ``is_start`` that it runs; both may be false. ``status`` is how
    it ended, if its runner reported that. ``duration`` is in milliseconds. ``running`` are the running tests,
    None if the message does not list them.
    """

    source: ReportSource
    message: ShardMessage
    rows: Sequence[ResultRow] = ()
    is_start: bool = False
    is_end: bool = False
    status: str | None = None
    duration: int | None = None
    reason: str | None = None
    running: Sequence[wire.RunningTest] | None = None


class StoredReport(NamedTuple):
    """The execution after a report, and its shard before and after; a new attempt begins as pending."""

    execution: Execution
    before: Shard | None
    after: Shard


def store(
    connection: Connection, execution: Execution, report: ShardReport, now: int, then: int, silence: int
) -> StoredReport:
    """Store a report of a shard of a locked execution; the caller stores the execution.

    ``now`` is when it was received and ``then`` when it happened, in milliseconds since 1970. ``silence`` is
    the number of milliseconds without a report after which a runner counts as dead. A report of an attempt
    that is not the current one changes only tests.
    """
    assigned = assign_shard(connection, execution, report.source, now, silence)
    execution, shard = _with_tests(connection, assigned, report.rows, now)
    if assigned.is_current:
        shard = replace(_updated(shard, report), last_reported_at=now)
        if report.is_end:
            shard = _timed(connection, assigned, shard.reported(_end(shard, report), then), report.rows)
        elif report.is_start:
            shard = shard.reported("running", then)
    shard = replace(shard, status=states.settled(shard.status, shard.derived))
    if execution.queue_state is not None:
        shard = _of_queue(shard)
    changed, shard = save_shard(connection, execution, assigned.before, shard, then)
    return StoredReport(changed, assigned.shard if assigned.is_next else assigned.before, shard)


def progressed(shard: Shard, report: ShardReport, change: Change, now: int, then: int, until: int) -> Shard:
    """Return a shard that runs after a report of its current attempt, which does not end it.

    ``change`` is that of the report's results, ``until`` when the next report is due, 0 if nobody waits for
    it. The shard is new or runs, and its execution has no queue. The other times are as for ``store``.
    """
    shard = _counted(shard, change, is_first=bool(report.rows) and shard.derived.total == 0)
    shard = _updated(shard, report)
    if shard.status != "running":
        shard = shard.reported("running", then)
    return replace(
        shard,
        status=states.settled(shard.status, shard.derived),
        reason=None,
        last_reported_at=now,
        silence_deadline_at=until or shard.silence_deadline_at,
    )


def in_flight(
    running: Sequence[str | wire.RunningTest], shard_ids: Sequence[str]
) -> dict[str, list[wire.RunningTest]]:
    """Return the running tests by shard, for the shards that a message names.

    A test that names none of these shards belongs to the first.
    """
    found: dict[str, list[wire.RunningTest]] = {name: [] for name in shard_ids}
    for test in running if shard_ids else ():
        each = wire.RunningTest(node_id=test) if isinstance(test, str) else test
        name = without_nul(each.shard_id or "")
        found[name if name in found else shard_ids[0]].append(
            wire.RunningTest(
                node_id=without_nul(each.node_id[:MAX_NAME]),
                worker=_text(each.worker, MAX_NAME),
                started_at=_time(each.started_at),
            )
        )
    return found


def _with_tests(
    connection: Connection, assigned: ShardAssignment, rows: Sequence[ResultRow], now: int
) -> tuple[Execution, Shard]:
    """Store the tests of a message; return the execution and the shard with their counts."""
    shard = assigned.shard
    is_first = shard.derived.total == 0
    change = results.put(
        connection, assigned.execution, shard.shard_id, rows, assigned.attempt, now, is_first=is_first
    )
    execution = change_counts(connection, assigned.execution, change.others)
    new = change.new if assigned.is_current else 0
    return execution, _counted(shard, change._replace(new=new), is_first=bool(rows) and is_first)


def _counted(shard: Shard, change: Change, *, is_first: bool) -> Shard:
    """Return a shard with the counts of results; ``is_first`` says that they are the first that it has."""
    derived = counts.add([shard.derived, change.counts])
    if shard.attempt == 1:
        return replace(shard, derived=derived, tests_received=derived.total)
    return replace(
        shard,
        derived=derived,
        tests_received=shard.tests_received + change.new,
        # Counts that were reported of an attempt without tests.
        reported_counts=None if is_first else shard.reported_counts,
    )


def _of_queue(shard: Shard) -> Shard:
    """Return a shard that takes tests from a queue, without what its runner counts.

    Tests that it did not run are given to others, and these may repeat what it ran. One that was killed names
    the tests that it ran then.
    """
    in_flight = {test.node_id: test for test in shard.in_flight}
    if shard.status == "error" and shard.exit_status is None:
        in_flight = {name: wire.RunningTest(node_id=name) for name in shard.not_run_tests} | in_flight
    return replace(
        shard,
        in_flight=tuple(in_flight.values()),
        reported_counts=None if shard.derived.total else shard.reported_counts,
        not_run=None,
        not_run_reason=None,
        not_run_tests=(),
    )


def _updated(shard: Shard, report: ShardReport) -> Shard:
    message = report.message
    if report.running is None:
        finished = {row.test_key for row in report.rows}
        in_flight = tuple(each for each in shard.in_flight if each.node_id not in finished)
    else:
        in_flight = tuple(report.running)
    if report.is_end:
        reported_counts = counts.complete(message.results, shard.derived) or shard.reported_counts
        duration = shard.duration if report.duration is None else report.duration
        metadata = merged(shard.metadata, message.metadata)
        shard = replace(shard, reported_counts=reported_counts, duration=duration, metadata=metadata)
        shard = replace(shard, reason=_text(report.reason, MAX_REASON) or shard.reason)
    return replace(
        shard,
        in_flight=in_flight,
        collected=_newer(message.collected, shard.collected),
        not_run=_newer(message.not_run, shard.not_run),
        not_run_reason=_text(message.not_run_reason, MAX_REASON) or shard.not_run_reason,
        not_run_tests=shard.not_run_tests if message.not_run_tests is None else _names(message.not_run_tests),
        exit_status=_newer(message.exit_status, shard.exit_status),
        division=_text(message.division, MAX_REASON) or shard.division,
    )


def _end(shard: Shard, report: ShardReport) -> wire.ShardState:
    return states.reported_end(report.status, shard.results)


def _timed(
    connection: Connection, assigned: ShardAssignment, shard: Shard, rows: Sequence[ResultRow]
) -> Shard:
    """Return a shard with the sum of its tests' durations, if its end was its first report."""
    if shard.duration is not None or shard.started_at != shard.ended_at:
        return shard
    if assigned.shard.derived.total == 0:
        tests_duration = sum(row.duration for row in rows)
    else:
        tests_duration = results.tests_duration(connection, assigned.execution, shard.shard_id)
    return replace(shard, tests_duration=min(tests_duration, wire.MAX_COUNT))


def _names(names: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    remaining = MAX_NAMES
    for name in names:
        short = without_nul(name[:MAX_NAME])
        remaining -= len(short)
        if remaining < 0:
            break
        kept.append(short)
    return tuple(kept)


def _time(text: str | None) -> str | None:
    """Return a time as the API writes it, None if it is not valid."""
    try:
        return None if text is None else wire.timestamp(wire.parse_time(text))
    except (ValueError, OverflowError):
        return None


def _newer(value: int | None, old: int | None) -> int | None:
    return old if value is None else value


def _text(text: str | None, limit: int) -> str | None:
    return None if text is None else without_nul(text[:limit])
