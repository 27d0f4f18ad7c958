"""A small chart of the shards of an execution: when each ran, and when its tests failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pytest_tms.server.domain.executions import Shard

WIDTH = 300
"""Units of the width of a chart."""
LABEL = 28
"""Units at its left for the names of shards."""
ROW = 14
"""Units of the height of one lane."""
MAX_LANES = 24
"""Shards of a chart."""
MIN_WIDTH = 2.0
"""Units of the narrowest mark."""
EVEN_PERCENT = 15
"""Shards whose ends differ by at most this share of the run are well balanced."""


class ChartLane(NamedTuple):
    """One shard: its bar, and the places (x, width) of failures; ``kind`` is a class of colours."""

    label: str
    kind: str
    x: float
    y: int
    width: float
    failures: list[tuple[float, float]]


class ShardChart(NamedTuple):
    """The lanes of a chart, and a sentence about how evenly the shards ended, which may be empty."""

    lanes: list[ChartLane]
    height: int
    note: str


def shard_chart(
    shards: Sequence[Shard], failures: Mapping[str, Sequence[tuple[int, int]]], now: int
) -> ShardChart | None:
    """Return the chart of shards; None if fewer than two have started.

    ``failures`` are the starts, in milliseconds since 1970, and durations of failed tests by shard.
    """
    started = [(shard, shard.started_at) for shard in shards if shard.started_at is not None]
    if len(started) < 2:
        return None
    begin = {shard.shard_id: first_moment(shard, at) for shard, at in started}
    end = {shard.shard_id: max(begin[shard.shard_id], shard.ended_at or now) for shard, _ in started}
    first, last = min(begin.values()), max(end.values())
    scale = (WIDTH - LABEL) / max(1, last - first)
    lanes = []
    for row, (shard, _) in enumerate(started[:MAX_LANES]):
        left, right = begin[shard.shard_id], end[shard.shard_id]
        marks = set()
        for at, duration in failures.get(shard.shard_id, ()):
            if not left <= at + duration or not at <= right:  # by another clock
                continue
            start = max(at, left)
            width = max(MIN_WIDTH, min(duration, right - start) * scale)
            x = min(LABEL + (start - first) * scale, WIDTH - width)
            marks.add((round(x, 1), round(width, 1)))
        lanes.append(
            ChartLane(
                shard.shard_id[:4],
                _kind(shard),
                round(min(LABEL + (left - first) * scale, WIDTH - MIN_WIDTH), 1),
                row * ROW + 2,
                round(max(MIN_WIDTH, (right - left) * scale), 1),
                sorted(marks),
            )
        )
    return ShardChart(lanes, len(lanes) * ROW + 2, _note([shard for shard, _ in started], end, first, last))


def first_moment(shard: Shard, started_at: int) -> int:
    """Return when a shard began; if its first report was its end, by its duration."""
    if shard.ended_at is not None and shard.runtime is not None:
        return min(started_at, shard.ended_at - shard.runtime)
    return started_at


def _kind(shard: Shard) -> str:
    if shard.status in ("error", "lost"):
        return "lost"
    if shard.status in ("running", "cancelled"):
        return shard.status
    return "passed" if shard.results.passed else "skipped"


def _note(shards: Sequence[Shard], end: Mapping[str, int], first: int, last: int) -> str:
    if any(shard.status not in ("completed", "failed") for shard in shards):
        return ""
    spread = max(end.values()) - min(end.values())
    percent = round(100 * spread / max(1, last - first))
    if percent <= EVEN_PERCENT:
        return f"Finished within {percent} % of each other."
    slowest = max(shards, key=lambda shard: end[shard.shard_id])
    return f"Shard {slowest.shard_id[:20]} finished last: the others waited up to {percent} % of the time."
