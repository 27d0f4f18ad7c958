"""The change of a test's duration against its past."""

from __future__ import annotations

import pytest

from pytest_tms.server.domain.duration_changes import duration_change


@pytest.mark.parametrize(
    ("duration", "past", "text", "is_slower", "is_faster"),
    [
        (1000, [], "", False, False),
        (1000, [500], "", False, False),
        (1000, [1000, 950, 1040], "±0", False, False),
        (41_200, [23_000, 23_200, 99_000], "+18.0 s", True, False),
        (19_400, [21_400, 21_400], "−2.0 s", False, True),
        (400, [100, 100], "+300 ms", True, False),
        (300_000, [30_000, 30_000], "+4.5 min", True, False),
        (0, [0, 0], "±0", False, False),
    ],
)
def test_a_duration_is_compared_with_the_median_of_the_past(
    duration: int, past: list[int], text: str, is_slower: bool, is_faster: bool
) -> None:
    found = duration_change(duration, past)
    assert (found.text, found.is_slower, found.is_faster) == (text, is_slower, is_faster)
