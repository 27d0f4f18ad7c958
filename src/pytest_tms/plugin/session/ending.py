"""The last lines of a journal: how the session's shards and its execution ended. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import msgspec
import pytest

from pytest_tms.journal.lines import Closed, ShardEnded
from pytest_tms.plugin.results.shard_counts import ShardCounts
from pytest_tms.plugin.session.shards import SessionShards
from pytest_tms.wire.base import MAX_NOT_RUN_TESTS, EventName, SubmittedStatus, timestamp
from pytest_tms.wire.executions import ReportedCounts
from pytest_tms.wire.results import ArtifactNames

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class NotRun(NamedTuple):
    """The collected tests that have no result: how many, why, and the node ids of those that are known.

    ``running`` were in flight when the session ended, ``not_started`` never began.
    """

    tests: int
    reason: str
    running: Sequence[str]
    not_started: Sequence[str]


def not_started(
    names: Iterable[str], shards: SessionShards, running: Sequence[str], clean: Callable[[str], str]
) -> list[str]:
    """Return those of the collected ``names`` that never began, in order.

    ``clean`` returns a node id as the shards know it.
    """
    started = {str(name) for shard in shards for name in shard.results}
    started |= {name.rpartition(" ")[0] for name in started}  # without " @gw0" and " #2"
    begun = set(running)
    return [clean(name) for name in names if name not in begun and clean(name) not in started]


def shard_ends(
    shards: SessionShards,
    not_run: NotRun,
    *,
    now: float,
    exit_status: int,
    cancel_reason: str,
    metadata: dict[str, Any],
    files: Sequence[str] = (),
    division: str = "",
) -> list[ShardEnded]:
    """Return the ends of the shards at ``now``; what did not run over xdist belongs to the first one.

    So do ``files``, the paths of files that belong to no test. ``division`` is how the tests were selected.
    """
    ends = []
    for shard in shards:
        missing = not_run if shard is shards.first and not_run.tests else None
        status = _status(shard, exit_status, cancel_reason)
        ends.append(
            ShardEnded(
                at=_iso(now),
                shard=shard.id,
                status=status,
                results=shard.totals(),
                artifacts=ArtifactNames(**shard.files) if shard.files else None,
                duration=max(0, round((now - shard.started) * 1000)),
                metadata={**metadata, "startTime": _iso(shard.started), "endTime": _iso(now)},
                reason=cancel_reason if status == "cancelled" else "",
                collected=sum(shard.counts.values()) + (missing.tests if missing else 0),
                not_run=missing.tests if missing else 0,
                not_run_reason=missing.reason if missing else "",
                not_run_tests=[*missing.running, *missing.not_started][:MAX_NOT_RUN_TESTS] if missing else [],
                exit_status=exit_status,
                division=division,
                files=list(files) if shard is shards.first else [],
            )
        )
    return ends


def closing_line(ends: Sequence[ShardEnded], *, now: float, wait: float, ends_execution: bool) -> Closed:
    """Return the last line, which ends the execution if ``ends_execution``; ``wait`` is as in ``Closed``."""
    at = _iso(now)
    if not ends_execution:
        return Closed(at=at, wait=wait)
    statuses = {end.status for end in ends}
    event: EventName = "execution.completed"
    if "cancelled" in statuses:
        event = "execution.cancelled"
    elif "error" in statuses:
        event = "execution.failed"
    totals = [msgspec.structs.asdict(end.results) for end in ends]
    return Closed(
        at=at,
        event=event,
        status=event.partition(".")[2],
        results=ReportedCounts(**{name: sum(each[name] for each in totals) for name in totals[0]}),
        duration=max(end.duration for end in ends),
        reason=next((end.reason for end in ends if end.reason), ""),
        wait=wait,
    )


def _status(shard: ShardCounts, exit_status: int, cancel_reason: str) -> SubmittedStatus:
    if cancel_reason:
        return "cancelled"
    if shard.has_broken_files or exit_status in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        return "error"
    return "failed" if shard.counts["failed"] else "completed"


def _iso(seconds: float) -> str:
    return timestamp(EPOCH + timedelta(seconds=seconds))
