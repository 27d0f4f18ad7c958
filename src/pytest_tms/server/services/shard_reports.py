"""Shard reports: what a message says of a shard, stored with its tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import counts, states
from pytest_tms.server.domain.column_values import plain
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.forecast import forecast
from pytest_tms.server.domain.metadata_limits import merged
from pytest_tms.server.domain.result_rows import ResultRow
from pytest_tms.server.services.claims import Claim, Origin, claim
from pytest_tms.server.store import executions, results

LONGEST_REASON = 1000
"""Characters that are kept of a reason."""
LONGEST_NAME = 500
"""Characters that are kept of the name of a test that did not run."""
LONGEST_NAMES = 100_000
"""Characters that are kept of all these names of a shard."""


Told = wire.EventData | wire.ResultsSubmission[msgspec.Raw]
"""What a message says of a shard, in the fields that both have."""


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What one message says of one shard.

    ``is_end`` says that the shard has ended, ``is_start`` that it runs; a message may say neither. ``status``
    is how it ended, if its runner said that. ``running`` are the tests in flight, None if not sent.
    """

    origin: Origin
    told: Told
    rows: Sequence[ResultRow] = ()
    is_start: bool = False
    is_end: bool = False
    status: str | None = None
    duration: int | None = None
    reason: str | None = None
    running: Sequence[wire.RunningTest] | None = None


class Stored(NamedTuple):
    """The execution after a report, and its shard before and after; a new attempt begins as pending."""

    execution: Execution
    before: Shard | None
    after: Shard


def store(
    connection: Connection, execution: Execution, report: ShardReport, now: int, then: int, silence: int
) -> Stored:
    """Store a report of a shard for a locked execution, which the caller saves.

    ``now`` is when it came, ``then`` when it happened. ``silence`` is the milliseconds after which a runner
    that reports nothing is not alive. A report of an attempt that is not the current one changes only tests.
    """
    claimed = claim(connection, execution, report.origin, now, silence)
    shard = _with_tests(connection, claimed, report.rows, now)
    if claimed.is_current:
        shard = replace(_told(shard, report), heard_at=now)
        if report.is_end:
            shard = _timed(connection, claimed, shard.reported(_end(shard, report), then), report.rows)
        elif report.is_start:
            shard = shard.reported("running", then)
    shard = replace(shard, status=states.settled(shard.status, shard.derived))
    changed = executions.change_shard(connection, claimed.execution, claimed.before, shard, then)
    return Stored(changed, claimed.shard if claimed.is_next else claimed.before, shard)


def in_flight(
    running: Sequence[str | wire.RunningTest], shard_ids: Sequence[str]
) -> dict[str, list[wire.RunningTest]]:
    """Return the tests in flight by shard, of the shards that a message names.

    A test that names none of them is of the first.
    """
    found: dict[str, list[wire.RunningTest]] = {name: [] for name in shard_ids}
    for test in running if shard_ids else ():
        each = wire.RunningTest(node_id=test) if isinstance(test, str) else test
        name = plain(each.shard_id or "")
        found[name if name in found else shard_ids[0]].append(
            wire.RunningTest(
                node_id=plain(each.node_id[:LONGEST_NAME]),
                worker=_text(each.worker, LONGEST_NAME),
                started_at=_time(each.started_at),
            )
        )
    return found


def close(connection: Connection, execution: Execution, now: int) -> Execution:
    """Return an execution with the tests that did not run, once it has ended."""
    if execution.status not in states.ENDED or not executions.has_expectations(connection, execution.id):
        return execution
    found = forecast(executions.shards(connection, execution.id), execution.results, now)
    return replace(execution, tests_expected=found.expected, not_run=found.not_run or 0)


def _with_tests(connection: Connection, claimed: Claim, rows: Sequence[ResultRow], now: int) -> Shard:
    shard = claimed.shard
    is_first = shard.derived.total == 0
    change = results.put(
        connection, claimed.execution, shard.shard_id, rows, claimed.attempt, now, is_first=is_first
    )
    if shard.attempt == 1:
        derived = counts.add([shard.derived, change.counts])
        return replace(shard, derived=derived, done=derived.total)
    return replace(
        shard,
        derived=counts.add([shard.derived, change.counts]),
        done=shard.done + (change.new if claimed.is_current else 0),
        given=None if rows and is_first else shard.given,  # those of an attempt that named no test
    )


def _told(shard: Shard, report: ShardReport) -> Shard:
    told = report.told
    if report.running is None:
        finished = {row.test_key for row in report.rows}
        in_flight = tuple(each for each in shard.in_flight if each.node_id not in finished)
    else:
        in_flight = tuple(report.running)
    if report.is_end:
        given = counts.complete(told.results, shard.derived) or shard.given
        duration = shard.duration if report.duration is None else report.duration
        metadata = merged(shard.metadata, told.metadata)
        shard = replace(shard, given=given, duration=duration, metadata=metadata)
        shard = replace(shard, reason=_text(report.reason, LONGEST_REASON) or shard.reason)
    return replace(
        shard,
        in_flight=in_flight,
        collected=_newer(told.collected, shard.collected),
        not_run=_newer(told.not_run, shard.not_run),
        not_run_reason=_text(told.not_run_reason, LONGEST_REASON) or shard.not_run_reason,
        not_run_tests=shard.not_run_tests if told.not_run_tests is None else _names(told.not_run_tests),
        exit_status=_newer(told.exit_status, shard.exit_status),
    )


def _end(shard: Shard, report: ShardReport) -> wire.ShardState:
    return states.reported_end(report.status, shard.results)


def _timed(connection: Connection, claimed: Claim, shard: Shard, rows: Sequence[ResultRow]) -> Shard:
    """A shard with the time that its tests took, if its end was the first that came of it."""
    if shard.duration is not None or shard.started_at != shard.ended_at:
        return shard
    if claimed.shard.derived.total == 0:
        spent = sum(row.duration for row in rows)
    else:
        spent = results.time_spent(connection, claimed.execution, shard.shard_id)
    return replace(shard, spent=min(spent, wire.MAX_COUNT))


def _names(names: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    room = LONGEST_NAMES
    for name in names:
        short = plain(name[:LONGEST_NAME])
        room -= len(short)
        if room < 0:
            break
        kept.append(short)
    return tuple(kept)


def _time(text: str | None) -> str | None:
    """A time as the API writes it, or None if it is not one."""
    try:
        return None if text is None else wire.timestamp(wire.parse_time(text))
    except (ValueError, OverflowError):
        return None


def _newer(value: int | None, old: int | None) -> int | None:
    return old if value is None else value


def _text(text: str | None, longest: int) -> str | None:
    return None if text is None else plain(text[:longest])
