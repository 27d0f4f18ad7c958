"""The last lines of the journal of a run that was killed, crashed or ran out of memory."""

from __future__ import annotations

import msgspec

from pytest_tms.journal.lines import Closed, Line, Opened, ShardEnded, Tested, as_json, encode
from pytest_tms.sender.run_progress import OverdueTest, RunProgress
from pytest_tms.wire.base import EventName, moment, parse_time, timestamp
from pytest_tms.wire.executions import ReportedCounts
from pytest_tms.wire.results import TestResult

TIMED_OUT = "pytest-timeout ended the process"
KILLED = "pytest ended without finishing its session: it was killed, crashed or ran out of memory"
MAX_NAMED = 3
"""Running tests that a reason names."""


def closing_lines(run: RunProgress, opened: Opened, at: str) -> list[bytes]:
    """Return the lines that are missing in the journal of a run that ended at the time ``at``.

    Its open shards ended in ``error`` and name every test in flight; a test that pytest-timeout ended gets a
    result. ``run`` is updated by the lines.
    """
    lines: list[Line] = []
    ended = parse_time(at).timestamp() * 1000
    for shard in run.open_shards:
        for overdue in run.overdue_tests(shard, ended):
            line = _timed_out(overdue, shard)
            lines.append(line)
            run.note(line)
    has_timed_out = bool(lines)
    reason = TIMED_OUT if has_timed_out else KILLED
    lines += [_shard_end(run, shard, at, reason, has_timed_out=has_timed_out) for shard in run.open_shards]
    event: EventName = "execution.cancelled" if has_timed_out else "execution.failed"
    if opened.request is None:
        lines.append(Closed(at=at))
    else:
        lines.append(Closed(at=at, event=event, status=event.partition(".")[2], reason=reason))
    return [encode(line) for line in lines]


def _timed_out(overdue: OverdueTest, shard: str) -> Tested:
    """Return a test that ran longer than its limit as a failed one: no other line reports it."""
    begun, seconds = overdue
    file, _, title = begun.name.partition("::")
    result = TestResult(
        title=title or file,
        file=file,
        status="failed",
        outcome="timeout",
        node_id=begun.name,
        duration=round(seconds * 1000),
        error=f"Timeout (>{seconds:g} s): {TIMED_OUT}",
        started_at=timestamp(moment(begun.t)),
    )
    return Tested(shard=shard, n=begun.n, id=-begun.n, test=msgspec.Raw(as_json(result)))


def _shard_end(run: RunProgress, shard: str, at: str, reason: str, *, has_timed_out: bool) -> ShardEnded:
    """Return the end of a shard, with the tests that have no result and those that were running."""
    running = [test.node_id for test in run.running_tests(shard)]
    collected = run.collected.get(shard)
    not_run = max(len(running), (collected or 0) - run.completed(shard))
    names = f"; running: {', '.join(running[:MAX_NAMED])}" if running else ""
    began = parse_time(run.begun[shard]) if run.begun.get(shard) else None
    took = round((parse_time(at) - began).total_seconds() * 1000) if began else 0
    return ShardEnded(
        at=at,
        shard=shard,
        status="cancelled" if has_timed_out else "error",
        results=ReportedCounts(),
        duration=max(0, took),
        reason=f"{reason}{names}",
        collected=collected,
        not_run=not_run or None,
        not_run_reason=reason if not_run else "",
        not_run_tests=running,
    )
