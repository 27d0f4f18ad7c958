"""Times that clients report."""

from __future__ import annotations

import pytest

from pytest_tms.server.domain import clock

NOW = 1_772_442_904_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, NOW),
        ("2026-03-02T09:15:04Z", NOW),
        ("2026-03-02T09:15:03.250Z", NOW - 750),
        ("2026-03-02T09:15:05Z", NOW),
        ("1960-01-01T00:00:00Z", 0),
    ],
)
def test_a_reported_time_is_never_in_the_future_nor_before_1970(text: str | None, expected: int) -> None:
    assert clock.reported_time(text, NOW) == expected


def test_a_time_is_written_as_the_api_has_it() -> None:
    assert clock.timestamp(NOW) == "2026-03-02T09:15:04.000Z"
    assert clock.optional_timestamp(None) is None
