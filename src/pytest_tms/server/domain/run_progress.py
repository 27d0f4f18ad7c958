"""The progress of a running execution, and what each of its workers does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from pytest_tms import wire
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.forecast import Forecast

MAX_SHOWN = 60
"""Tests in progress, and workers, that are listed."""

Activity = Literal["running", "idle", "lost"]


class Progress(NamedTuple):
    """How far an execution is; times are milliseconds.

    ``percent`` is below 100 until the end, and None if the number of tests is not known. ``left`` is
    estimated, None if nothing is known.
    """

    finished: int
    expected: int | None
    percent: int | None
    elapsed: int | None
    left: int | None


class WorkerActivity(NamedTuple):
    """What a worker does: the test that it runs, or ran when its shard was lost; ``age`` is milliseconds.

    ``node_id`` is empty if it is idle. ``age`` is since the start of the test, of a lost shard since its last
    report, or None if that is not known.
    """

    activity: Activity
    shard_id: str
    worker: str
    node_id: str
    age: int | None


class Activities(NamedTuple):
    """What the workers of an execution do, the lost ones first, then the longest tests; some are left out."""

    listed: list[WorkerActivity]
    running: int
    idle: int
    lost: int

    @property
    def left_out(self) -> int:
        """How many workers are not listed."""
        return self.running + self.idle + self.lost - len(self.listed)


def progress(execution: Execution, forecast: Forecast, now: int, previous: int | None = None) -> Progress:
    """Return the progress of an execution; ``previous`` is the duration of the previous run in milliseconds.

    The previous run tells the time left until this run has taken longer; then its own pace does.
    """
    finished = execution.results.total
    elapsed = None if execution.started_at is None else max(0, now - execution.started_at)
    percent = min(99, 100 * finished // forecast.expected) if forecast.expected else None
    left = None if forecast.ends_at is None else max(0, forecast.ends_at - now)
    if previous is not None and elapsed is not None and previous > elapsed:
        left = previous - elapsed
    return Progress(finished, forecast.expected, percent, elapsed, left)


def activities(shards: Iterable[Shard], now: int) -> Activities:
    """Return what the workers of an execution do.

    A shard that has started and has no test in progress is idle: each pytest-xdist worker is a shard.
    """
    found: list[WorkerActivity] = []
    for shard in shards:
        if shard.status == "lost":
            silent = None if shard.last_reported_at is None else max(0, now - shard.last_reported_at)
            tests = [(test.worker or "", test.node_id) for test in shard.in_flight] or [("", "")]
            found += [WorkerActivity("lost", shard.shard_id, worker, test, silent) for worker, test in tests]
        elif shard.status == "running" and shard.in_flight:
            found += [
                WorkerActivity("running", shard.shard_id, test.worker or "", test.node_id, _age(test, now))
                for test in shard.in_flight
            ]
        elif shard.status == "running":
            found.append(WorkerActivity("idle", shard.shard_id, "", "", None))
    order = {"lost": 0, "running": 1, "idle": 2}
    found.sort(key=lambda each: (order[each.activity], -(each.age or 0)))
    counted = {name: sum(each.activity == name for each in found) for name in order}
    return Activities(found[:MAX_SHOWN], **counted)


def _age(test: wire.RunningTest, now: int) -> int | None:
    try:
        started = None if test.started_at is None else wire.parse_time(test.started_at).timestamp() * 1000
    except (ValueError, OverflowError):
        return None
    return None if started is None else max(0, now - round(started))
