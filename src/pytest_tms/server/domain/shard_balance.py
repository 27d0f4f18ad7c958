"""How evenly the shards of a run shared its work: their times, compared with the plan and the ideal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pytest_tms.server.domain.executions import Shard
from pytest_tms.server.domain.shard_charts import first_moment
from pytest_tms.server.domain.timelines import WIDTH, Tick, ticks
from pytest_tms.shard_advice import ReadyShard, Work, ideal_end, least_time, useful_shards

MAX_LANES = 60
"""Shards that have a lane."""
MAX_SHARDS = 256
"""The largest number of shards that is advised."""
LITTLE = 0.05
"""Part of the time of a run from which on a saving is worth a change."""


class RanTests(NamedTuple):
    """The tests of a shard: number, first start (milliseconds since 1970), and longest duration (ms)."""

    tests: int = 0
    start: int | None = None
    longest: int = 0


class ShardLane(NamedTuple):
    """A shard with its times in milliseconds since the start of the run.

    It begins at ``start``, its first test at ``ready``, and it ends at ``end``; ``idle`` is from then to the
    end of the last shard. ``planned`` is how long its tests were planned to take, None without a plan.
    """

    shard_id: str
    status: str
    tests: int
    start: int
    ready: int
    end: int
    idle: int
    planned: int | None

    @property
    def actual(self) -> int:
        """Milliseconds from the first test to the end."""
        return self.end - self.ready


class Option(NamedTuple):
    """A number of shards, how long the run would take with it, and how much less that is (ms)."""

    shards: int
    time: int
    saved: int


class Balance(NamedTuple):
    """The shards of a run: how long it took and would ideally have, and the sum of idle times (ms).

    ``scale`` converts milliseconds to units of ``timelines.WIDTH``. ``left_out`` counts those without a lane.
    """

    origin: int
    took: int
    ideal: int
    idle: int
    lanes: list[ShardLane]
    left_out: int
    ticks: list[Tick]
    scale: float
    options: list[Option]
    advice: int

    @property
    def over_ideal(self) -> float:
        """How many times as long as the ideal the run took."""
        return self.took / max(1, self.ideal)

    @property
    def advised(self) -> Option | None:
        """The number of shards that is better than the present one; None if a change is not worth it."""
        found = next(each for each in self.options if each.shards == self.advice)
        if found.shards > len(self.lanes) + self.left_out:
            return found if found.saved >= LITTLE * self.took else None
        return found if found.shards < len(self.lanes) + self.left_out and found.saved >= 0 else None

    def x(self, milliseconds: int) -> float:
        """Return a place in the chart, in percent of its width."""
        return round(min(max(0.0, milliseconds * self.scale), WIDTH) * 100 / WIDTH, 3)


def balance(
    shards: Sequence[Shard], tests: Mapping[str, RanTests], planned: Mapping[str, int], now: int
) -> Balance | None:
    """Return the balance of shards, None if none has started.

    ``tests`` and ``planned``, the planned milliseconds, are by shard id. Shards that run end ``now``.
    """
    started = [
        (shard, first_moment(shard, shard.started_at)) for shard in shards if shard.started_at is not None
    ]
    if not started:
        return None
    origin = min(start for _, start in started)
    times = []
    for shard, start in started:
        end = max(start, shard.ended_at or now)
        own = tests.get(shard.shard_id, RanTests(shard.results.total))
        ready = start if own.start is None else min(max(start, own.start), end)
        times.append((shard, own, start - origin, ready - origin, end - origin))
    took = max(1, *(end for *_, end in times))
    lanes = [
        ShardLane(
            shard.shard_id,
            shard.status,
            own.tests,
            start,
            ready,
            end,
            took - end,
            planned.get(shard.shard_id),
        )
        for shard, own, start, ready, end in times
    ]
    work = Work(
        sum(lane.actual for lane in lanes),
        max(own.longest for _, own, *_ in times),
        sum(lane.ready for lane in lanes) / len(lanes),
    )
    work = work._replace(longest=min(work.longest, max(lane.actual for lane in lanes)))
    advice = min(useful_shards(work), MAX_SHARDS)
    present = len(lanes)
    numbers = {max(1, present // 2), present, math.ceil(1.5 * present), 2 * present, advice}
    shown = lanes[:MAX_LANES]
    return Balance(
        origin=origin,
        took=took,
        ideal=round(ideal_end((ReadyShard(lane.ready) for lane in lanes), work.total, work.longest)),
        idle=sum(lane.idle for lane in lanes),
        lanes=shown,
        left_out=present - len(shown),
        ticks=ticks(0, took, 0),
        scale=WIDTH / took,
        options=[_option(work, number, took) for number in sorted(numbers)],
        advice=advice,
    )


def _option(work: Work, shards: int, took: int) -> Option:
    time = round(least_time(work, shards))
    return Option(shards, time, took - time)
