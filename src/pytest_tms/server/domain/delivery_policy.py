"""Delivery policy: which events a webhook receives, and when a delivery is retried or fails."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pytest_tms import wire

DAY = 86_400_000
"""Milliseconds of a day."""
OVERLAP = DAY
"""Milliseconds for which deliveries are also signed with the previous secret."""
DISABLE_AFTER = 5 * DAY
"""Milliseconds of uninterrupted failures after which a webhook is disabled."""
RETENTION = {"delivered": 3 * DAY, "failed": 30 * DAY}
"""Milliseconds for which deliveries are kept after their end, by status."""
LONGEST_DELAY = DAY
"""Milliseconds to the next attempt at most, also if the endpoint sends a longer Retry-After."""
OVERLOADED = frozenset({429, 502, 504})
"""Status codes of an overloaded endpoint: all its deliveries wait, not only the failed one."""
GONE = 410


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """One subscription. Secrets and values of ``headers`` are encrypted; times are milliseconds since 1970.

    ``created_by`` is the id of the token that registered it.
    """

    id: str
    url: str
    events: tuple[str, ...]
    secret: str
    previous_secret: str | None = None
    previous_until: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    retry: wire.RetryPolicy = field(default_factory=wire.RetryPolicy)
    filters: wire.WebhookFilters = field(default_factory=wire.WebhookFilters)
    extra: dict[str, Any] = field(default_factory=dict)
    status: wire.WebhookStatus = "active"
    status_since: int | None = None
    reason: str | None = None
    created_at: int
    created_by: str | None = None
    format: wire.WebhookFormat = "json"
    failing_since: int | None = None
    validated_at: int | None = None
    suspended_until: int = 0

    def is_subscribed_to(self, event: str, test_suite: str, environment: str) -> bool:
        """Return whether the webhook receives an event of an execution with this suite and environment."""
        suites, environments = self.filters.test_suites, self.filters.environments
        return (
            event in self.events
            and (not suites or test_suite in suites)
            and (not environments or environment in environments)
        )

    def with_status(self, status: wire.WebhookStatus, now: int) -> Subscription:
        """Return the webhook with a status that its owner set; earlier failures are cleared."""
        since = self.status_since if status == self.status else now
        return replace(
            self, status=status, status_since=since, reason=None, failing_since=None, suspended_until=0
        )

    def secrets(self, now: int) -> list[str]:
        """Return the secrets that sign deliveries at ``now``, the newest first."""
        if self.previous_secret is not None and now < (self.previous_until or 0):
            return [self.secret, self.previous_secret]
        return [self.secret]


@dataclass(frozen=True, kw_only=True)
class SubscriberResponse:
    """The result of an attempt: the status code of the response, 0 without one, and the reason of a failure.

    ``retry_after`` is in milliseconds.
    """

    code: int
    milliseconds: int
    reason: str | None = None
    retry_after: int | None = None

    @property
    def is_success(self) -> bool:
        """Whether the status code is 2xx."""
        return 200 <= self.code < 300


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The status of a delivery after an attempt.

    ``disable`` is the reason to disable the webhook. It receives no deliveries before ``suspended_until``.
    """

    status: Literal["pending", "delivered", "failed"]
    due_at: int
    disable: str | None = None
    suspended_until: int = 0


def decide(webhook: Subscription, attempts: int, response: SubscriberResponse, now: int) -> Decision:
    """Decide what follows an attempt; ``attempts`` is its number, from 1."""
    if response.is_success:
        return Decision(status="delivered", due_at=now)
    due_at = now + delay(webhook.retry, attempts, response.retry_after)
    suspended_until = due_at if response.code in OVERLOADED else 0
    if response.code == GONE:
        return Decision(status="failed", due_at=now, disable="The endpoint responded with 410 Gone")
    if webhook.failing_since is not None and now - webhook.failing_since >= DISABLE_AFTER:
        return Decision(status="failed", due_at=now, disable="Every delivery failed for 5 days")
    if attempts > _retries(webhook.retry):
        return Decision(status="failed", due_at=now, suspended_until=suspended_until)
    return Decision(status="pending", due_at=due_at, suspended_until=suspended_until)


def after_attempts(webhook: Subscription, decisions: Sequence[Decision], now: int) -> Subscription:
    """Return the webhook after attempts, given in their order: whether it fails, is suspended or disabled."""
    if any(decision.status == "delivered" for decision in decisions):
        reason = None if webhook.status == "active" else webhook.reason
        webhook = replace(webhook, failing_since=None, reason=reason)
    if decisions and decisions[-1].status != "delivered" and webhook.failing_since is None:
        webhook = replace(webhook, failing_since=now)
    suspended_until = max((decision.suspended_until for decision in decisions), default=0)
    webhook = replace(webhook, suspended_until=max(webhook.suspended_until, suspended_until))
    reasons = [decision.disable for decision in decisions if decision.disable]
    if reasons:
        webhook = replace(webhook, status="disabled", status_since=now, reason=reasons[0])
    return webhook


def delay(policy: wire.RetryPolicy, attempts: int, retry_after: int | None = None) -> int:
    """Return the milliseconds to the next attempt.

    They follow the retry policy with up to 20 % jitter, and are at least ``retry_after``.
    """
    first = 5000 if policy.retry_delay is None else policy.retry_delay
    grown = first if policy.exponential_backoff is False else first * 2 ** (attempts - 1)
    spread = min(grown, LONGEST_DELAY) * random.uniform(1, 1.2)  # noqa: S311  # jitter, not security
    return min(round(max(spread, retry_after or 0)), LONGEST_DELAY)


def _retries(policy: wire.RetryPolicy) -> int:
    return 3 if policy.max_retries is None else policy.max_retries
