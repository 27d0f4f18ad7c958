"""The stacked bar of an execution: the share of each status among the tests that were collected."""

from __future__ import annotations

from typing import NamedTuple

from pytest_tms import wire

SMALLEST = 0.8
"""The width of a part that would be narrower, so that one failure among 100,000 tests is seen."""


class BarPart(NamedTuple):
    """A part of a bar of the width 100; ``kind`` is the CSS class that gives its colour."""

    kind: str
    start: float
    width: float


def bar_of(counts: wire.Counts, not_run: int = 0, collected: int | None = None) -> list[BarPart]:
    """Return the parts of a bar: failed, flaky, passed, skipped. What they leave did not run, or not yet.

    ``collected`` is the number of tests that will run, None if it is not known.
    """
    numbers = {
        "failed": counts.failed,
        "flaky": counts.flaky,
        "passed": counts.passed - counts.flaky,
        "skipped": counts.skipped,
    }
    total = max(counts.total + not_run, collected or 0)
    positive = {kind: number for kind, number in numbers.items() if number > 0}
    if not total or not positive:
        return []
    widths = {kind: max(SMALLEST, 100 * number / total) for kind, number in positive.items()}
    room = 100 - (SMALLEST if total > counts.total else 0)
    excess = sum(widths.values()) - min(room, 100 * counts.total / total)
    largest = max(widths, key=lambda kind: widths[kind])
    widths[largest] -= max(0.0, excess)
    parts, start = [], 0.0
    for kind, width in widths.items():
        parts.append(BarPart(kind, round(start, 3), round(width, 3)))
        start += width
    return parts
