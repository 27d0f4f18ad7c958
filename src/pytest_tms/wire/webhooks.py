"""Messages about webhooks and their deliveries: /webhooks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pytest_tms.wire.base import ClientMessage, EventName, Identifier, ServerMessage, Url, WebhookFormat


class RetryPolicy(ClientMessage, frozen=True, kw_only=True):
    """When a failed delivery is retried.

    Up to ``max_retries`` times, first after ``retry_delay`` milliseconds, which are doubled for each retry if
    ``exponential_backoff`` is set.
    """

    max_retries: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = 3
    retry_delay: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] | None = 5000
    exponential_backoff: bool | None = True


class WebhookFilters(ClientMessage, frozen=True, kw_only=True):
    """The executions whose events a webhook receives; a missing or empty list selects all."""

    test_suites: list[Identifier] | None = None
    environments: list[Identifier] | None = None


Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
CustomHeaders = dict[str, str]
ENDED_EVENTS: tuple[EventName, ...] = ("execution.completed", "execution.failed", "execution.cancelled")
"""The events for which chats have a message."""


class WebhookRequest(ClientMessage, frozen=True, kw_only=True):
    """POST /webhooks. Without ``secret`` the server creates one. ``headers`` are sent with each delivery.

    ``format`` is ``json`` unless given, the documented payloads. The others are messages for a chat: one for
    each of the events in ``ENDED_EVENTS``, and no other event can be chosen.
    """

    url: Url
    events: Annotated[list[EventName], msgspec.Meta(min_length=1)]
    secret: Secret | None = None
    headers: CustomHeaders | None = None
    retry_policy: RetryPolicy | None = None
    filters: WebhookFilters | None = None
    format: WebhookFormat | None = None


class WebhookChange(ClientMessage, frozen=True, kw_only=True):
    """PATCH /webhooks/{id}: given fields replace the stored ones; ``status`` pauses or activates the webhook.

    The value ``***`` in ``headers`` keeps the stored value of that header.
    """

    url: Url | None = None
    events: Annotated[list[EventName], msgspec.Meta(min_length=1)] | None = None
    headers: CustomHeaders | None = None
    retry_policy: RetryPolicy | None = None
    filters: WebhookFilters | None = None
    status: Literal["active", "paused"] | None = None


class SecretRotation(ClientMessage, frozen=True, kw_only=True):
    """POST /webhooks/{id}/rotate. Without ``secret`` the server creates one."""

    secret: Secret | None = None


class Webhook(ServerMessage, frozen=True, kw_only=True):
    """A webhook: the documented fields, then its other settings and its state.

    ``secret`` is only in the response to the request that created it, if the server created it. ``reason``
    is why the webhook is disabled or suspended.
    ``created_by`` is the id of the token that registered it.
    Until ``previous_secret_until`` deliveries are also signed with the previous secret. Values of
    ``headers`` are ``***``, and so are secrets in ``url``, except in the response to POST /webhooks.
    """

    webhook_id: str
    url: str = ""
    events: list[str] = []
    status: str = "active"
    created_at: str = ""
    headers: dict[str, str] = {}
    retry_policy: dict[str, Any] = {}
    filters: dict[str, Any] = {}
    format: str = "json"
    created_by: str | None = None
    reason: str | None = None
    failing_since: str | None = None
    last_validated_at: str | None = None
    previous_secret_until: str | None = None
    secret: str | None = None


class WebhookList(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /webhooks: the oldest webhook first."""

    webhooks: list[Webhook] = []


class WebhookDeleted(ServerMessage, frozen=True, kw_only=True):
    """The response to DELETE /webhooks/{id}."""

    webhook_id: str
    status: str = "deleted"


class WebhookValidation(ServerMessage, frozen=True, kw_only=True):
    """The response to POST /webhooks/{id}/validate; ``response_time`` is in milliseconds.

    ``response_code`` is 0 if there was no response, and ``reason`` is why the endpoint is invalid.
    """

    webhook_id: str
    status: str = "valid"
    response_code: int = 0
    response_time: int = 0
    last_validated_at: str = ""
    reason: str | None = None


class Delivery(ServerMessage, frozen=True, kw_only=True):
    """The delivery of one event to one webhook; ``delivery_id`` is its ``webhook-id`` header."""

    delivery_id: str
    event: str = ""
    execution_id: str = ""
    status: str = "pending"
    attempts: int = 0
    created_at: str = ""
    due_at: str = ""
    response_code: int | None = None
    reason: str | None = None


class DeliveryPage(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /webhooks/{id}/deliveries: the newest first; ``cursor`` fetches the next page."""

    webhook_id: str
    deliveries: list[Delivery] = []
    cursor: str | None = None


class ReplayRequest(ClientMessage, frozen=True, kw_only=True):
    """POST /webhooks/{id}/replay: send one delivery again, or all failed ones if none is named."""

    delivery_id: Identifier | None = None


class Replayed(ServerMessage, frozen=True, kw_only=True):
    """The response to POST /webhooks/{id}/replay: the number of deliveries that are sent again."""

    webhook_id: str
    deliveries: int = 0
