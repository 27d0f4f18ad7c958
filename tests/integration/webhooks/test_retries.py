"""Retries of failed deliveries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.server.domain.delivery_policy import (
    DAY,
    DISABLE_AFTER,
    OVERLOADED,
    SubscriberResponse,
    Subscription,
    decide,
    delay,
)

NOW = 1_000_000_000_000


def webhook(policy: wire.RetryPolicy, failing_since: int | None = None) -> Subscription:
    return Subscription(
        id="wh_1", url="", events=(), secret="", retry=policy, created_at=0, failing_since=failing_since
    )


@given(st.integers(0, 3_600_000), st.booleans(), st.integers(1, 21), st.none() | st.integers(0, 10**12))
def test_a_delay_follows_the_policy_with_jitter_and_retry_after(
    first: int, exponential: bool, attempts: int, asked: int | None
) -> None:
    policy = wire.RetryPolicy(retry_delay=first, exponential_backoff=exponential)
    grown = first * 2 ** (attempts - 1) if exponential else first
    waits = delay(policy, attempts, asked)
    assert min(grown, DAY) <= waits or waits == DAY
    assert waits >= min(asked or 0, DAY)
    assert waits <= max(min(round(grown * 1.2) + 1, DAY), min(asked or 0, DAY))


def test_delays_of_different_deliveries_differ() -> None:
    assert len({delay(wire.RetryPolicy(), 1) for _ in range(100)}) > 50


@pytest.mark.parametrize("code", [0, 100, 301, 400, 404, 429, 500, 502, 503, 504])
def test_a_failed_delivery_is_retried_as_often_as_the_policy_allows(code: int) -> None:
    hook = webhook(wire.RetryPolicy(max_retries=2))
    response = SubscriberResponse(code=code, milliseconds=1)
    verdicts = [decide(hook, attempt, response, NOW) for attempt in (1, 2, 3)]
    assert [each.status for each in verdicts] == ["pending", "pending", "failed"]
    assert all(bool(each.suspended_until) == (code in OVERLOADED) for each in verdicts)
    assert not any(each.disable for each in verdicts)


@pytest.mark.parametrize("code", [200, 201, 204, 299])
def test_only_2xx_is_a_success(code: int) -> None:
    decision = decide(
        webhook(wire.RetryPolicy(), NOW - DISABLE_AFTER),
        1,
        SubscriberResponse(code=code, milliseconds=1),
        NOW,
    )
    assert (decision.status, decision.disable) == ("delivered", None)


@pytest.mark.parametrize(
    ("code", "since", "disabled"),
    [
        (410, None, True),
        (500, NOW - DISABLE_AFTER, True),
        (500, NOW - DISABLE_AFTER + 1, False),
        (500, None, False),
    ],
)
def test_an_endpoint_that_is_gone_or_fails_for_five_days_is_disabled(
    code: int, since: int | None, disabled: bool
) -> None:
    decision = decide(
        webhook(wire.RetryPolicy(), since), 1, SubscriberResponse(code=code, milliseconds=1), NOW
    )
    assert bool(decision.disable) == disabled
    assert (decision.status == "failed") == disabled
