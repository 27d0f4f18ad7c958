"""Rates with their confidence, infrastructure failures, and the branches that a run is compared with."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tms.server.domain.flakiness import (
    Observation,
    flakiness,
    is_infrastructure_failure,
    percentile,
    statistics,
    widespread,
    wilson,
)
from pytest_tms.server.domain.series import base_branches


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (3, 20, 0.0524, 0.3604), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0)],
)
def test_the_interval_is_that_of_wilson(successes: int, trials: int, low: float, high: float) -> None:
    found = wilson(successes, trials)
    assert found.low == pytest.approx(low, abs=0.0001)
    assert found.high == pytest.approx(high, abs=0.0001)
    assert found.of == trials


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_rate_is_within_its_interval(one: int, other: int) -> None:
    found = wilson(min(one, other), max(one, other))
    assert 0 <= found.low <= found.rate <= found.high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(2, 1), (-1, 1)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, trials)


@pytest.mark.parametrize(
    ("total", "failed", "expected"),
    [(100, 80, True), (100, 79, False), (5, 4, True), (4, 4, False), (0, 0, False)],
)
def test_a_run_in_which_most_tests_fail_is_an_infrastructure_failure(
    total: int, failed: int, expected: bool
) -> None:
    assert is_infrastructure_failure(total, failed) is expected


def test_a_branch_is_compared_with_the_base_that_its_metadata_names() -> None:
    assert base_branches({"baseBranch": " dev ", "defaultBranch": "main"}, "x") == ["dev", "main", "master"]
    assert base_branches({"baseBranch": 3}, "main") == ["master"]
    assert base_branches({}, "") == []


def test_a_test_is_flaky_after_a_retry_or_with_both_results_of_one_commit() -> None:
    found = statistics(
        [
            Observation("passed", True, 100),
            Observation("failed", False, 200, "c1", ("all", "dev")),
            Observation("passed", False, 300, "c1", ("all", "dev")),
            Observation("failed", False, 400, "c2", ("all", "dev")),
            Observation("passed", False, 500, "c2", ("all", "staging")),
            Observation("failed", False, 600),
            Observation("skipped", False, 0, "c1", ("all", "dev")),
            Observation("failed", False, 700, "c1", ("all", "dev"), is_infrastructure_failure=True),
            Observation("failed", False, 800, "c1", ("all", "dev"), is_widespread=True),
        ]
    )
    assert (found.flaky.rate, found.flaky.of) == (2 / 7, 7)
    assert found.passed.rate == 3 / 7
    assert (found.typical, found.slow) == (300, 500)


@pytest.mark.parametrize(("total", "expected"), [(0, 10), (200, 10), (201, 11), (10_000, 500)])
def test_a_cause_is_widespread_from_a_part_of_the_run_on(total: int, expected: int) -> None:
    assert widespread(total) == expected


def test_without_results_nothing_is_known() -> None:
    found = statistics([])
    assert (found.passed.of, found.flaky.of, found.typical, found.slow) == (0, 0, None, None)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(1, 100))
def test_a_percentile_is_one_of_the_values(values: list[int], percent: int) -> None:
    found = percentile(sorted(values), percent)
    assert found is not None
    assert found in values
    assert sum(each <= found for each in values) * 100 >= len(values) * percent


def observed(*flaky: bool, lost: int = 0) -> list[Observation]:
    """Results, the newest first."""
    return [Observation("passed", each, 10, lost=lost if each else 0) for each in flaky]


@pytest.mark.parametrize(
    ("newer", "older", "trend"),
    [
        ([True] * 8 + [False] * 2, [False] * 10, "rising"),
        ([False] * 10, [True] * 8 + [False] * 2, "falling"),
        ([True, False], [False, False], "steady"),  # too few to say
        ([True] * 5 + [False] * 5, [True] * 4 + [False] * 6, "steady"),
        ([], [True], "steady"),
    ],
)
def test_the_trend_compares_two_halves(newer: list[bool], older: list[bool], trend: str) -> None:
    assert flakiness(observed(*newer, *older)).trend == trend


def test_the_cost_is_the_time_of_failed_attempts_and_of_flaky_failures() -> None:
    results = [
        *observed(True, False, lost=70),
        Observation("failed", False, 500, "c1"),
        Observation("passed", False, 400, "c1"),
        Observation("failed", False, 900, "c2"),  # only failed there
        Observation("failed", False, 800, "c3", is_infrastructure_failure=True),
    ]
    found = flakiness(results)
    assert found.cost == 570
    assert (found.earlier.of, found.later.of) == (3, 2)
