"""Flakiness: how often a test both passes and fails without a change, with the uncertainty of few results."""

from __future__ import annotations

import math
from typing import NamedTuple

INFRASTRUCTURE_PERCENT = 80
"""Percentage of failed tests from which on a run is an infrastructure failure: it changes no statistics."""
MIN_INFRASTRUCTURE_TESTS = 5
"""Tests that a run has at least to be an infrastructure failure."""
CONFIDENCE = 1.959963984540054
"""Standard deviations of a two-sided confidence of 95 %."""


class Rate(NamedTuple):
    """A rate from 0 to 1 with the bounds of its 95 % confidence interval; ``of`` is the number of trials."""

    rate: float
    low: float
    high: float
    of: int


def is_infrastructure_failure(total: int, failed: int) -> bool:
    """Return whether so many failed tests of a run are an infrastructure failure."""
    return total >= MIN_INFRASTRUCTURE_TESTS and failed * 100 >= total * INFRASTRUCTURE_PERCENT


def wilson(successes: int, trials: int) -> Rate:
    """Return a rate with its Wilson score interval; without trials it is anything from 0 to 1.

    Raises:
        ValueError: There are more successes than trials, or a number is negative.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"Invalid number of successes {successes}: there were {trials} trials.")
    if trials == 0:
        return Rate(0.0, 0.0, 1.0, 0)
    rate = successes / trials
    square = CONFIDENCE**2
    scale = 1 + square / trials
    centre = (rate + square / (2 * trials)) / scale
    margin = CONFIDENCE / scale * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials**2))
    low = 0.0 if successes == 0 else max(0.0, centre - margin)
    high = 1.0 if successes == trials else min(1.0, centre + margin)
    return Rate(rate, low, high, trials)
