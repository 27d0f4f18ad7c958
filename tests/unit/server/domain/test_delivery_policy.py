"""What the outcomes of attempts mean for a webhook."""

from __future__ import annotations

from dataclasses import replace

from pytest_tms.server.domain.delivery_policy import Decision, Subscription, after_attempts

WEBHOOK = Subscription(id="wh_1", url="https://example.com/", events=(), secret="s", created_at=1)
DELIVERED = Decision(status="delivered", due_at=5)
RETRY = Decision(status="pending", due_at=50)
FAILED = Decision(status="failed", due_at=5)


def test_a_delivery_ends_a_failure_and_its_reason() -> None:
    failing = replace(WEBHOOK, failing_since=2, reason="a server cannot decrypt the secret")
    assert after_attempts(failing, [FAILED, DELIVERED], 5) == WEBHOOK
    paused = replace(failing, status="paused")
    assert after_attempts(paused, [DELIVERED], 5) == replace(paused, failing_since=None)


def test_a_webhook_fails_since_its_first_failure_after_the_latest_delivery() -> None:
    assert after_attempts(WEBHOOK, [RETRY], 5) == replace(WEBHOOK, failing_since=5)
    failing = replace(WEBHOOK, failing_since=2)
    assert after_attempts(failing, [RETRY, FAILED], 5) == failing
    assert after_attempts(failing, [DELIVERED, RETRY], 5) == replace(WEBHOOK, failing_since=5)


def test_the_latest_time_to_resume_counts() -> None:
    busy = [replace(RETRY, suspended_until=at) for at in (70, 60)]
    assert after_attempts(WEBHOOK, busy, 5).suspended_until == 70
    assert after_attempts(replace(WEBHOOK, suspended_until=90), busy, 5).suspended_until == 90


def test_a_disabled_webhook_has_the_first_reason() -> None:
    gone = replace(FAILED, disable="The endpoint answered 410 Gone")
    disabled = after_attempts(WEBHOOK, [gone, replace(gone, disable="another")], 5)
    assert (disabled.status, disabled.status_since, disabled.reason) == ("disabled", 5, gone.disable)


def test_no_attempt_changes_nothing() -> None:
    assert after_attempts(WEBHOOK, [], 5) == WEBHOOK
