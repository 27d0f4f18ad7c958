"""Webhooks: register, read, change, delete, rotate the secret, validate, and replay deliveries."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import msgspec
from anyio.to_thread import run_sync
from sqlalchemy import Row

from pytest_tms import wire
from pytest_tms.errors import Conflict
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.delivery_policy import OVERLAP, SubscriberResponse, Subscription
from pytest_tms.server.domain.egress import masked
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.metadata_limits import unknown_field_problems
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.domain.subscriptions import MASK, event_problems, header_problems
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.store import audit, deliveries, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.encryption import SecretEncryption
from pytest_tms.server.webhooks.test_payloads import TestPayloads

LOG = logging.getLogger("pytest_tms.server")


def register_webhook(
    database: Database,
    encryption: SecretEncryption,
    request: wire.WebhookRequest,
    extra: dict[str, Any],
    *,
    idempotency: IdempotentRequest,
    caller: Caller,
) -> dict[str, Any]:
    """Register a webhook, and return its document with the secret if the server generated it.

    ``extra`` are the unknown fields of the request.

    Raises:
        Forbidden: The caller has no access to the environments of the filters.
    """
    caller.require_access(request.filters.environments if request.filters else None)
    webhook_id = new_id("wh")
    secret = request.secret or idempotency.webhook_secret(webhook_id)
    now = clock.now()
    webhook = Subscription(
        id=webhook_id,
        url=request.url,
        events=tuple(dict.fromkeys(request.events)),
        secret=encryption.encrypt(secret),
        headers=_encrypted(encryption, request.headers or {}, {}),
        retry=request.retry_policy or wire.RetryPolicy(),
        filters=request.filters or wire.WebhookFilters(),
        extra=extra,
        created_at=now,
        created_by=caller.id,
        format=request.format or "json",
    )
    document = {**webhook_document(webhook), "url": webhook.url}  # the caller has just sent the whole URL
    with database.write() as connection:
        earlier = idempotency.recall(connection, dict[str, Any])
        if earlier is None:
            webhooks.add(connection, webhook)
            host = urlsplit(webhook.url).hostname
            audit.add(connection, caller, "webhook.created", webhook.id, now, host=host)
            idempotency.keep(connection, document)
        else:  # the secret is derived again, so that it is stored only encrypted
            document = earlier
            secret = idempotency.webhook_secret(document["webhookId"])
    return {**document, "secret": None if request.secret else secret}


def list_webhooks(database: Database, caller: Caller) -> list[Subscription]:
    """Return all webhooks that the caller has access to."""
    with database.read() as connection:
        found = webhooks.every(connection)
    return [webhook for webhook in found if caller.has_access_to(webhook.filters.environments)]


def get_webhook(database: Database, webhook_id: str) -> Subscription:
    """Return a webhook.

    Raises:
        NotFound: The webhook does not exist.
    """
    with database.read() as connection:
        return webhooks.get(connection, webhook_id)


def change_webhook(
    database: Database,
    encryption: SecretEncryption,
    delivery_worker: DeliveryWorker,
    webhook_id: str,
    change: wire.WebhookChange,
    *,
    extra: dict[str, Any],
    fields: Sequence[str],
    caller: Caller,
) -> Subscription:
    """Change the given fields of a webhook, and return it. A paused webhook keeps its events.

    ``extra`` are the unknown fields of the request, ``fields`` the names of the known ones.

    Raises:
        NotFound: The webhook does not exist.
        Forbidden: The caller has no access to the environments of its new filters.
        Unprocessable: Headers that keep their values are unknown, or the format has no message for an event.
    """
    now = clock.now()
    with database.write() as connection:
        webhook = webhooks.lock(connection, webhook_id)
        refuse(header_problems(change.headers, webhook.headers))
        refuse(event_problems(webhook.format, change.events))
        extra = {**webhook.extra, **extra}
        if extra != webhook.extra:
            refuse(unknown_field_problems(extra))
        headers = webhook.headers
        if change.headers is not None:
            headers = _encrypted(encryption, change.headers, webhook.headers)
        webhook = replace(
            webhook,
            url=change.url or webhook.url,
            events=tuple(dict.fromkeys(change.events)) if change.events else webhook.events,
            headers=headers,
            retry=change.retry_policy or webhook.retry,
            filters=change.filters or webhook.filters,
            extra={**webhook.extra, **extra},
        )
        if change.status is not None:
            webhook = webhook.with_status(change.status, now)
        caller.require_access(webhook.filters.environments)
        webhooks.save(connection, webhook)
        audit.add(connection, caller, "webhook.changed", webhook_id, now, fields=list(fields))
    delivery_worker.wake()
    return webhook


def set_status(
    database: Database,
    delivery_worker: DeliveryWorker,
    webhook_id: str,
    status: wire.WebhookStatus,
    caller: Caller,
) -> None:
    """Pause or activate a webhook.

    Raises:
        NotFound: The webhook does not exist.
    """
    now = clock.now()
    with database.write() as connection:
        webhooks.save(connection, webhooks.lock(connection, webhook_id).with_status(status, now))
        audit.add(connection, caller, "webhook.changed", webhook_id, now, fields=["status"])
    delivery_worker.wake()


def delete_webhook(database: Database, webhook_id: str, caller: Caller) -> None:
    """Delete a webhook and its deliveries.

    Raises:
        NotFound: The webhook does not exist.
    """
    with database.write() as connection:
        webhooks.remove(connection, webhook_id)
        audit.add(connection, caller, "webhook.deleted", webhook_id, clock.now())


def rotate_secret(
    database: Database,
    encryption: SecretEncryption,
    webhook_id: str,
    new_secret: str | None,
    *,
    idempotency: IdempotentRequest,
    caller: Caller,
) -> tuple[Subscription, str]:
    """Give a webhook a new secret, and return both; without ``new_secret`` the server generates one.

    For 24 hours deliveries are signed with the new and the previous secret.

    Raises:
        NotFound: The webhook does not exist.
    """
    now = clock.now()
    with database.write() as connection:
        earlier = idempotency.recall(connection, wire.Webhook)
        webhook = webhooks.lock(connection, webhook_id)
        secret = new_secret or idempotency.webhook_secret(webhook_id)
        if earlier is None:
            webhook = replace(
                webhook,
                secret=encryption.encrypt(secret),
                previous_secret=webhook.secret,
                previous_until=now + OVERLAP,
            )
            webhooks.save(connection, webhook)
            audit.add(connection, caller, "webhook.rotated", webhook_id, now)
            idempotency.keep(connection, wire.Webhook(webhook_id=webhook_id))
    return webhook, secret


async def validate_webhook(
    database: Database,
    encryption: SecretEncryption,
    test_payloads: TestPayloads,
    webhook_id: str,
    *,
    idempotency: IdempotentRequest,
) -> wire.WebhookValidation:
    """Send a test payload to a webhook of any status, and return the result.

    The idempotency key is reserved in a transaction of its own, so that neither a transaction nor a thread
    waits for the endpoint.

    Raises:
        NotFound: The webhook does not exist.
    """

    def begin() -> wire.WebhookValidation | Subscription:
        with database.write() as connection:
            earlier = idempotency.recall(connection, wire.WebhookValidation)
            return earlier or webhooks.get(connection, webhook_id)

    def abort() -> None:
        with database.write() as connection:
            idempotency.release(connection)

    webhook = await run_sync(begin)
    if isinstance(webhook, wire.WebhookValidation):
        return webhook
    try:
        credentials = await run_sync(encryption.credentials, webhook, clock.now())
        response = await test_payloads.send(webhook, credentials)
    except ValueError as error:
        LOG.warning("webhook %s cannot be validated: %s", webhook.id, error)
        reason = "its secret cannot be decrypted, see the server's log"
        response = SubscriberResponse(code=0, milliseconds=0, reason=reason)
    except Exception:
        await run_sync(abort)
        raise
    return await run_sync(_save_validation, database, webhook_id, response, idempotency)


def list_deliveries(
    database: Database, webhook_id: str, *, status: str | None, before: int | None, limit: int
) -> tuple[list[Row[Any]], int | None]:
    """Return one page of a webhook's deliveries, the newest first, and the cursor of the next page, if any.

    Raises:
        NotFound: The webhook does not exist.
    """
    with database.read() as connection:
        webhooks.get(connection, webhook_id)
        return deliveries.page(connection, webhook_id, status=status, before=before, limit=limit)


def replay_deliveries(
    database: Database,
    delivery_worker: DeliveryWorker,
    webhook_id: str,
    delivery_id: str | None = None,
    *,
    idempotency: IdempotentRequest | None = None,
    caller: Caller,
) -> wire.Replayed:
    """Send one delivery again, or all that failed. A delivery keeps its id.

    Raises:
        NotFound: The webhook or delivery does not exist.
        Conflict: The webhook is disabled.
    """
    now = clock.now()
    with database.write() as connection:
        if idempotency is not None and (earlier := idempotency.recall(connection, wire.Replayed)):
            return earlier
        if webhooks.lock(connection, webhook_id).status == "disabled":
            raise Conflict("The webhook is disabled: activate it first.")
        number = deliveries.replay(connection, webhook_id, delivery_id, now)
        audit.add(connection, caller, "webhook.replayed", webhook_id, now, deliveries=number)
        response = wire.Replayed(webhook_id=webhook_id, deliveries=number)
        if idempotency is not None:
            idempotency.keep(connection, response)
    delivery_worker.wake()
    return response


def webhook_document(webhook: Subscription, secret: str | None = None) -> dict[str, Any]:
    """Return a webhook as the API writes it: secrets masked, except a ``secret`` that is shown once."""
    message = wire.Webhook(
        webhook_id=webhook.id,
        url=masked(webhook.url),
        events=list(webhook.events),
        headers=dict.fromkeys(webhook.headers, MASK),
        status=webhook.status,
        created_at=clock.timestamp(webhook.created_at),
        created_by=webhook.created_by,
        retry_policy=_all_fields(webhook.retry),
        filters=_all_fields(webhook.filters),
        format=webhook.format,
        reason=webhook.reason,
        failing_since=clock.optional_timestamp(webhook.failing_since),
        last_validated_at=clock.optional_timestamp(webhook.validated_at),
        previous_secret_until=clock.optional_timestamp(webhook.previous_until),
        secret=secret,
    )
    document: dict[str, Any] = msgspec.to_builtins(message)
    return {**webhook.extra, **document}


def _save_validation(
    database: Database, webhook_id: str, response: SubscriberResponse, idempotency: IdempotentRequest
) -> wire.WebhookValidation:
    now = clock.now()
    with database.write() as connection:
        webhooks.save(connection, replace(webhooks.lock(connection, webhook_id), validated_at=now))
        result = wire.WebhookValidation(
            webhook_id=webhook_id,
            status="valid" if response.is_success else "invalid",
            response_code=response.code,
            response_time=response.milliseconds,
            last_validated_at=clock.timestamp(now),
            reason=response.reason,
        )
        return idempotency.keep(connection, result)


def _encrypted(
    encryption: SecretEncryption, headers: Mapping[str, str], known: Mapping[str, str]
) -> dict[str, str]:
    """Return headers with encrypted values; a masked value stands for the ``known`` one."""
    return {
        name: known[name] if value == MASK and name in known else encryption.encrypt(value)
        for name, value in headers.items()
    }


def _all_fields(value: msgspec.Struct) -> dict[str, Any]:
    """Return all fields by their names in the API, including those with default values."""
    names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    return {name: getattr(value, field) for name, field in names}
