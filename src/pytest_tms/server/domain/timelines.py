"""The timeline of an execution: one lane for each worker of each shard, and bars of what ran when.

What is stored is first grouped into stretches by the database: results of one lane that began in the same
slot of time. ``layout`` turns these into a bounded number of bars.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

WIDTH = 1000
"""Units of the width of a timeline; bars have positions from 0 to this."""
MAX_BARS = 1200
"""Bars of a timeline."""
MAX_LANES = 60
"""Lanes of a timeline."""
TICKS = 6
"""Marks of the time axis, about."""
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000)
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)

Kind = Literal["passed", "failed", "flaky", "skipped"]
_SEVERITY: dict[Kind, int] = {"failed": 3, "flaky": 2, "passed": 1, "skipped": 0}


class Stretch(NamedTuple):
    """Results of one lane and kind that began in the same slot of time.

    ``start`` and ``end`` are milliseconds since 1970, ``busy`` adds up the durations. ``sequence`` is that of
    one of the results.
    """

    shard_id: str
    worker: str
    kind: Kind
    tests: int
    start: int
    end: int
    busy: int
    sequence: int


class Bar(NamedTuple):
    """Results that are drawn as one bar; ``x`` and ``width`` are in units of ``WIDTH``.

    ``sequence`` is that of the result if there is one, else None.
    """

    x: float
    width: float
    kind: Kind
    tests: int
    failed: int
    start: int
    end: int
    sequence: int | None


class Lane(NamedTuple):
    """A lane with its bars in order; ``busy`` and ``idle`` are milliseconds of the shown part."""

    shard_id: str
    worker: str
    bars: list[Bar]
    tests: int
    failed: int
    start: int
    end: int
    busy: int

    @property
    def idle(self) -> int:
        """Milliseconds between the first start and the last end in which no test ran."""
        return max(0, self.end - self.start - self.busy)


class Tick(NamedTuple):
    """A mark of the time axis: its position, and the milliseconds since the origin."""

    x: float
    at: int


class Timeline(NamedTuple):
    """Lanes between two times in milliseconds since 1970; ``left_out`` counts the lanes not shown."""

    start: int
    end: int
    lanes: list[Lane]
    ticks: list[Tick]
    left_out: int


def layout(
    stretches: Iterable[Stretch],
    *,
    origin: int,
    start: int | None = None,
    end: int | None = None,
    max_bars: int = MAX_BARS,
) -> Timeline | None:
    """Return the timeline from ``start`` to ``end``, by default of all stretches; None without any.

    The ticks count from ``origin``. Neighbours that would be narrower than a unit, or that touch, become one
    bar; if there are still more than ``max_bars``, wider ones are merged too.
    """
    found = sorted(stretches, key=lambda each: each.start)
    if start is None:
        start = min((each.start for each in found), default=None)
    if end is None:
        end = max((each.end for each in found), default=None)
    if start is None or end is None:
        return None
    end = max(end, start + 1)
    by_lane: dict[tuple[str, str], list[Stretch]] = {}
    for each in found:
        if each.end >= start and each.start <= end:
            by_lane.setdefault((each.shard_id, each.worker), []).append(each)
    names = sorted(by_lane, key=lambda name: (natural(name[0]), natural(name[1])))
    shown = names[:MAX_LANES]
    smallest = (end - start) / WIDTH
    while True:
        merged = {name: _merge(by_lane[name], smallest) for name in shown}
        if sum(map(len, merged.values())) <= max(max_bars, len(shown)) or smallest > end - start:
            break
        smallest *= 2
    lanes = [_lane(name, by_lane[name], merged[name], start, end) for name in shown]
    return Timeline(start, end, lanes, ticks(start, end, origin), len(names) - len(shown))


def ticks(start: int, end: int, origin: int) -> list[Tick]:
    """Return marks at round times since ``origin`` between two times in milliseconds since 1970."""
    steps = [*_STEPS, *(60_000 * each for each in _MINUTES)]
    span = end - start
    step = (
        next((each for each in steps if span <= each * TICKS), None)
        or -(-span // (TICKS * 86_400_000)) * 86_400_000
    )
    first = -((origin - start) // step) * step
    marks = range(first, end - origin + 1, step)
    return [Tick(round((origin + at - start) * WIDTH / span, 2), at) for at in marks if origin + at >= start]


def natural(text: str) -> tuple[str, int, str]:
    """Return the key by which names with a number at their end are sorted: gw2 before gw10."""
    head = text.rstrip("0123456789")
    digits = text[len(head) :][:18]
    return (head, int(digits) if digits.isascii() and digits else -1, text)


class _Merged(NamedTuple):
    kind: Kind
    tests: int
    failed: int
    start: int
    end: int
    sequence: int | None


def _merge(stretches: Sequence[Stretch], smallest: float) -> list[_Merged]:
    """Join neighbours that are too narrow to be told apart, in order of their starts."""
    bars: list[_Merged] = []
    for each in stretches:
        failed = each.tests if each.kind == "failed" else 0
        new = _Merged(
            each.kind, each.tests, failed, each.start, each.end, each.sequence if each.tests == 1 else None
        )
        if bars and _are_one(bars[-1], new, smallest):
            bars[-1] = _merge_two(bars[-1], new)
        else:
            bars.append(new)
    return bars


def _are_one(before: _Merged, after: _Merged, smallest: float) -> bool:
    if after.start - before.end >= smallest:
        return False
    if before.kind == after.kind:
        return (
            not _is_wide(before, smallest) or not _is_wide(after, smallest) or before.tests + after.tests > 2
        )
    return before.end - before.start < smallest and after.end - after.start < smallest


def _is_wide(bar: _Merged, smallest: float) -> bool:
    """Return whether a bar of one test is wide enough to be drawn alone."""
    return bar.tests == 1 and bar.end - bar.start >= 3 * smallest


def _merge_two(one: _Merged, other: _Merged) -> _Merged:
    return _Merged(
        max(one.kind, other.kind, key=_SEVERITY.__getitem__),
        one.tests + other.tests,
        one.failed + other.failed,
        one.start,
        max(one.end, other.end),
        None,
    )


def _lane(
    name: tuple[str, str], stretches: Sequence[Stretch], merged: Sequence[_Merged], start: int, end: int
) -> Lane:
    scale = WIDTH / (end - start)
    bars = []
    for each in merged:
        left = max(0.0, (each.start - start) * scale)
        right = min(float(WIDTH), (each.end - start) * scale)
        width = max(0.5, right - left)
        bars.append(
            Bar(
                round(min(left, WIDTH - width), 2),
                round(width, 2),
                each.kind,
                each.tests,
                each.failed,
                each.start,
                each.end,
                each.sequence,
            )
        )
    return Lane(
        *name,
        bars,
        sum(each.tests for each in stretches),
        sum(each.tests for each in stretches if each.kind == "failed"),
        min(each.start for each in stretches),
        max(each.end for each in stretches),
        sum(each.busy for each in stretches),
    )
