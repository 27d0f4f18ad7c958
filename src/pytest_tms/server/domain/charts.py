"""Coordinates of charts, which pages draw as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 720, 120
"""The size of a chart, in units of its view box."""
MAX_BAR = 24.0
"""The width of the widest bar."""


class Bar(NamedTuple):
    """A bar of a chart, by its upper left corner."""

    x: float
    y: float
    width: float
    height: float


def bars(values: Sequence[float], most: float | None = None) -> list[Bar]:
    """Return a bar for each value from 0 to ``most`` (the largest one unless given), from left to right."""
    highest = max(values, default=0) if most is None else most
    step = min(WIDTH / max(len(values), 1), MAX_BAR / 0.8)
    width = round(step * 0.8, 2)
    found = []
    for number, value in enumerate(values):
        height = max(1.0, HEIGHT - level(value, highest))
        found.append(Bar(round(number * step, 2), round(HEIGHT - height, 2), width, round(height, 2)))
    return found


def level(value: float, highest: float) -> float:
    """Return the vertical position of a value: 0 for ``highest`` and more, ``HEIGHT`` for 0."""
    share = min(1.0, max(0.0, value / highest)) if highest > 0 else 0.0
    return round(HEIGHT * (1 - share), 2)
