"""Waits between the attempts of a delivery."""

from __future__ import annotations

import random

import pytest

from pytest_tms.errors import RateLimited, ServiceUnavailable, Unreachable
from pytest_tms.sender.pacing import MAX_BACKOFF, MAX_CLOSING_BACKOFF, Pacing


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)


def failed(times: int, error: Unreachable | RateLimited | ServiceUnavailable | None = None) -> Pacing:
    pacing = Pacing()
    for _ in range(times):
        pacing.record_failure(error or Unreachable("gone"))
    return pacing


@pytest.mark.parametrize(
    ("times", "seconds"), [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (100, MAX_BACKOFF)]
)
def test_the_wait_doubles_up_to_a_limit(times: int, seconds: float) -> None:
    assert failed(times).backoff(is_closing=False) == seconds


def test_the_end_of_a_session_waits_less() -> None:
    assert failed(10).backoff(is_closing=True) == MAX_CLOSING_BACKOFF


def test_the_server_may_request_a_longer_wait() -> None:
    assert failed(1, RateLimited(retry_after=90)).backoff(is_closing=True) == 90


def test_a_success_ends_the_row_of_failures() -> None:
    pacing = failed(5, RateLimited(retry_after=90))
    pacing.record_success()
    assert not pacing.is_failing
    pacing.record_failure(Unreachable("gone"))
    assert pacing.backoff(is_closing=False) == 0.5


def test_an_error_of_the_documented_shape_is_a_response() -> None:
    assert failed(1, ServiceUnavailable()).has_responded
    assert not failed(1).has_responded


@pytest.mark.parametrize(
    ("pacing", "now", "is_hopeless"),
    [
        (Pacing(), 100, False),
        (failed(1), 0.5, False),
        (failed(1), 1.5, True),
        (failed(1, ServiceUnavailable()), 1.5, False),
        (failed(1, ServiceUnavailable()), 10.5, True),
        (failed(1, RateLimited(retry_after=30)), 0.5, True),
    ],
)
def test_the_end_gives_up_if_no_attempt_can_succeed(pacing: Pacing, now: float, is_hopeless: bool) -> None:
    """The session ended at 0 and waits until 10."""
    assert pacing.is_hopeless(now, 0, 10) == is_hopeless
