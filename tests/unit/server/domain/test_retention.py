"""The text of TMS_SERVER_RETENTION."""

from __future__ import annotations

import pytest

from pytest_tms.server.domain.durations import DAY, HOUR
from pytest_tms.server.domain.retention import Retention, parse_retention
from pytest_tms.server.settings import ServerSettings


def test_every_period_is_read() -> None:
    found = parse_retention("results=90d, artifacts=4w,events=12h, keep-branch=main:365d, keep-branch=v/1")
    assert found == Retention(
        results=90 * DAY, artifacts=28 * DAY, events=12 * HOUR, branches=(("main", 365 * DAY), ("v/1", None))
    )
    assert parse_retention(str(found)) == found


def test_branches_have_periods_of_their_own() -> None:
    retention = parse_retention("results=90d, keep-branch=main:365d, keep-branch=v1")
    now = 1000 * DAY
    for branch, days, is_expired in [
        ("topic", 90, False),
        ("topic", 91, True),
        ("main", 365, False),
        ("main", 366, True),
        ("v1", 999, False),
    ]:
        assert retention.is_expired(branch, now - days * DAY, now) is is_expired, (branch, days)
    assert not Retention(events=1).is_expired("topic", 0, now)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("results=soon", "invalid duration 'soon': use 12h, 90d or 4w (at most 10 years)"),
        ("results=0d", "invalid duration '0d': use 12h, 90d or 4w (at most 10 years)"),
        ("results=11000d", "invalid duration '11000d': use 12h, 90d or 4w (at most 10 years)"),
        ("tests=9d", "'tests=9d' is not known: use results=, artifacts=, events= and keep-branch=, such as "),
        ("results", "'results' is not known: use results=, "),
        ("results=9d, results=8d", "'results=8d' sets a value again: write it once"),
        ("keep-branch=main:9d", "keep-branch has no effect without results=: add, for example, results=90d"),
    ],
)
def test_a_wrong_one_is_described_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="TMS_SERVER_RETENTION is ") as error:
        ServerSettings.read({"TMS_SERVER_RETENTION": text})
    assert str(error.value).startswith(f"TMS_SERVER_RETENTION is {text!r}: {message}")
