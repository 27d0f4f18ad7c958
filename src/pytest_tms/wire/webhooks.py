"""Messages about webhooks and their deliveries: /webhooks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pytest_tms.wire.base import Answer, EventName, Identifier, Request, Url


class RetryPolicy(Request, frozen=True, kw_only=True):
    """What follows a failed delivery: after ``retry_delay`` milliseconds, doubled where exponential."""

    max_retries: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = 3
    retry_delay: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] | None = 5000
    exponential_backoff: bool | None = True


class WebhookFilters(Request, frozen=True, kw_only=True):
    """Which executions a webhook hears of; a list that is missing or empty lets all through."""

    test_suites: list[Identifier] | None = None
    environments: list[Identifier] | None = None


Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Headers = dict[str, str]


class WebhookRequest(Request, frozen=True, kw_only=True):
    """POST /webhooks. Without a ``secret`` the server makes one. ``headers`` are sent with each delivery."""

    url: Url
    events: Annotated[list[EventName], msgspec.Meta(min_length=1)]
    secret: Secret | None = None
    headers: Headers | None = None
    retry_policy: RetryPolicy | None = None
    filters: WebhookFilters | None = None


class WebhookChange(Request, frozen=True, kw_only=True):
    """PATCH /webhooks/{id}: what is given replaces what was; ``status`` pauses, or makes active again.

    Of ``headers``, a value ``***`` keeps the value that the header of this name has.
    """

    url: Url | None = None
    events: Annotated[list[EventName], msgspec.Meta(min_length=1)] | None = None
    headers: Headers | None = None
    retry_policy: RetryPolicy | None = None
    filters: WebhookFilters | None = None
    status: Literal["active", "paused"] | None = None


class SecretRotation(Request, frozen=True, kw_only=True):
    """POST /webhooks/{id}/rotate. Without a ``secret`` the server makes one."""

    secret: Secret | None = None


class Webhook(Answer, frozen=True, kw_only=True):
    """A webhook: the documented fields, then what it was registered with and how it fares.

    ``secret`` is there once, and only where the server made it. ``reason`` says why it is disabled.
    ``created_by`` is the id of the token that registered it.
    Until ``previous_secret_until`` deliveries are signed with the secret before the last one, too. Values of
    ``headers`` are ``***``, and so are secrets in ``url``, except in the answer to POST /webhooks.
    """

    webhook_id: str
    url: str = ""
    events: list[str] = []
    status: str = "active"
    created_at: str = ""
    headers: dict[str, str] = {}
    retry_policy: dict[str, Any] = {}
    filters: dict[str, Any] = {}
    created_by: str | None = None
    reason: str | None = None
    failing_since: str | None = None
    last_validated_at: str | None = None
    previous_secret_until: str | None = None
    secret: str | None = None


class WebhookList(Answer, frozen=True, kw_only=True):
    """The answer to GET /webhooks: the oldest first."""

    webhooks: list[Webhook] = []


class WebhookDeleted(Answer, frozen=True, kw_only=True):
    """The answer to DELETE /webhooks/{id}."""

    webhook_id: str
    status: str = "deleted"


class WebhookValidation(Answer, frozen=True, kw_only=True):
    """The answer to POST /webhooks/{id}/validate; ``response_time`` is in milliseconds.

    ``response_code`` is 0 where no answer came, and ``reason`` says what made it invalid.
    """

    webhook_id: str
    status: str = "valid"
    response_code: int = 0
    response_time: int = 0
    last_validated_at: str = ""
    reason: str | None = None


class Delivery(Answer, frozen=True, kw_only=True):
    """One event on its way to one webhook; ``delivery_id`` is its ``webhook-id`` header."""

    delivery_id: str
    event: str = ""
    execution_id: str = ""
    status: str = "pending"
    attempts: int = 0
    created_at: str = ""
    due_at: str = ""
    response_code: int | None = None
    reason: str | None = None


class DeliveryPage(Answer, frozen=True, kw_only=True):
    """The answer to GET /webhooks/{id}/deliveries: the newest first; ``cursor`` fetches the next page."""

    webhook_id: str
    deliveries: list[Delivery] = []
    cursor: str | None = None


class ReplayRequest(Request, frozen=True, kw_only=True):
    """POST /webhooks/{id}/replay: send one delivery again, or all that failed where none is named."""

    delivery_id: Identifier | None = None


class Replayed(Answer, frozen=True, kw_only=True):
    """How many deliveries are sent again."""

    webhook_id: str
    deliveries: int = 0
