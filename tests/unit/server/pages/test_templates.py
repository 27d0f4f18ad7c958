from __future__ import annotations

import pytest

from pytest_tms.server.pages.templates import relative, size

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_400, "1 day ago"),
        (2 * 86_400 + 5, "2 days ago"),
        (31 * 86_400, "2026-12-15"),
        (-5, "in less than a minute"),
        (-7300, "in 2 h"),
    ],
)
def test_a_time_is_described_by_its_distance_until_a_month_has_passed(seconds: int, expected: str) -> None:
    assert relative(NOW - 1000 * seconds, NOW) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (50_000_000, "50.0 MB"),
        (2_100_000_000, "2.1 GB"),
        (1_234_567_000_000, "1,234.6 GB"),
    ],
)
def test_a_size_has_the_unit_that_fits(number: int, expected: str) -> None:
    assert size(number) == expected
