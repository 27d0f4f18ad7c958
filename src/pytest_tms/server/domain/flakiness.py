"""Flakiness: how often a test both passes and fails without a change, with the uncertainty of few results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pytest_tms import wire

INFRASTRUCTURE_PERCENT = 80
"""Percentage of failed tests from which on a run is an infrastructure failure: it changes no statistics."""
MIN_INFRASTRUCTURE_TESTS = 5
"""Tests that a run has at least to be an infrastructure failure."""
WIDESPREAD_PERCENT = 5
"""Percentage of the tests of a run from which on a cause that so many failed with is widespread."""
MIN_WIDESPREAD_TESTS = 10
"""Failures that a widespread cause has at least."""
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


def widespread(total: int) -> int:
    """Return how many failures of a run of ``total`` tests make their common cause widespread.

    Such a failure, as in an outage of a service, says nothing about the flakiness of a test.
    """
    return max(MIN_WIDESPREAD_TESTS, -(-total * WIDESPREAD_PERCENT // 100))


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
    low = 0.0 if successes == 0 else min(rate, max(0.0, centre - margin))
    high = 1.0 if successes == trials else max(rate, min(1.0, centre + margin))
    return Rate(rate, low, high, trials)


class Observation(NamedTuple):
    """One result of a test in one run, as far as it says something about its flakiness.

    ``series`` identifies suite and environment, ``commit`` is empty if it is not known. ``duration`` is
    milliseconds, ``lost`` those of failed attempts before the result. Results of an infrastructure failure
    say nothing. ``is_widespread`` is whether many tests of the run failed with the same cause.
    """

    status: wire.TestStatus
    is_flaky: bool
    duration: int
    commit: str = ""
    series: tuple[str, str] = ("", "")
    is_infrastructure_failure: bool = False
    lost: int = 0
    is_widespread: bool = False


class Statistics(NamedTuple):
    """How often a test passed, and how often it was flaky, of the runs in which it passed or failed.

    ``typical`` and ``slow`` are the 50th and the 95th percentile of the durations of passed results, in
    milliseconds; None if there are none.
    """

    passed: Rate
    flaky: Rate
    typical: int | None
    slow: int | None


Trend = Literal["rising", "steady", "falling"]


class Flakiness(NamedTuple):
    """How a test's flakiness develops, and what it costs.

    ``earlier`` and ``later`` are the rates of the older and the newer half of its results. ``cost`` is the
    time that failed attempts and failures of flaky results took, in milliseconds.
    """

    earlier: Rate
    later: Rate
    cost: int

    @property
    def trend(self) -> Trend:
        """Whether the later rate differs so much that chance is an unlikely reason."""
        if self.later.low > self.earlier.rate and self.later.rate > self.earlier.high:
            return "rising"
        if self.earlier.low > self.later.rate and self.earlier.rate > self.later.high:
            return "falling"
        return "steady"


def statistics(observations: Sequence[Observation]) -> Statistics:
    """Return the statistics of a test."""
    usable = _usable(observations)
    flaky = sum(are_flaky(usable))
    passed = sum(each.status == "passed" for each in usable)
    durations = sorted(each.duration for each in usable if each.status == "passed")
    return Statistics(
        passed=wilson(passed, len(usable)),
        flaky=wilson(flaky, len(usable)),
        typical=percentile(durations, 50),
        slow=percentile(durations, 95),
    )


def flakiness(observations: Sequence[Observation]) -> Flakiness:
    """Return how the flakiness of a test develops; ``observations`` are its results, the newest first."""
    usable = _usable(observations)
    flaky = are_flaky(usable)
    half = len(usable) // 2
    cost = sum(
        each.lost + (each.duration if is_flaky and each.status == "failed" else 0)
        for each, is_flaky in zip(usable, flaky, strict=True)
    )
    return Flakiness(
        earlier=wilson(sum(flaky[half:]), len(flaky) - half), later=wilson(sum(flaky[:half]), half), cost=cost
    )


def are_flaky(observations: Sequence[Observation]) -> list[bool]:
    """Return whether each result of a test is flaky.

    It is if it passed after a failed attempt, or if it failed and another one of the same commit, suite and
    environment passed, unless the cause of the failure was widespread.
    """
    passed = {(each.series, each.commit) for each in observations if each.commit and each.status == "passed"}
    return [
        each.is_flaky
        or (each.status == "failed" and not each.is_widespread and (each.series, each.commit) in passed)
        for each in observations
    ]


def _usable(observations: Sequence[Observation]) -> list[Observation]:
    return [each for each in observations if each.status != "skipped" and not each.is_infrastructure_failure]


def percentile(values: Sequence[int], percent: int) -> int | None:
    """Return the value that so many percent of sorted ``values`` do not exceed, None if there are none."""
    if not values:
        return None
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]
