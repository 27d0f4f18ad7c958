"""Calls about webhooks and their deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import msgspec
from sqlalchemy import Row

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import Problem
from pytest_tms.server.api.paging import requested_page
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode, unknown_fields
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.domain.metadata_limits import unknown_field_problems
from pytest_tms.server.domain.subscriptions import (
    MASK,
    event_problems,
    header_problems,
    secret_problem,
    unknown_filters,
    unused_fields,
)
from pytest_tms.server.services import webhooks
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.webhooks import webhook_document
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.encryption import SecretEncryption
from pytest_tms.server.webhooks.test_payloads import TestPayloads


@route(calls.CREATE_WEBHOOK)
def create_webhook(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    encryption: SecretEncryption,
    egress_policy: EgressPolicy,
    idempotency: IdempotentRequest,
    caller: Caller,
) -> dict[str, Any]:
    """Register a webhook for the events from now on."""
    kind = wire.WebhookRequest
    request, document = decode(body, kind, _rules(egress_policy, settings, kind))
    extra = unknown_fields(document, kind)
    return webhooks.register_webhook(
        database, encryption, request, extra, idempotency=idempotency, caller=caller
    )


@route(calls.LIST_WEBHOOKS)
def list_webhooks(database: Database, caller: Caller) -> dict[str, Any]:
    """Return all webhooks that the caller has access to."""
    return {"webhooks": [webhook_document(each) for each in webhooks.list_webhooks(database, caller)]}


@route(calls.GET_WEBHOOK)
def get_webhook(database: Database, webhook_id: str) -> dict[str, Any]:
    """Return one webhook."""
    return webhook_document(webhooks.get_webhook(database, webhook_id))


@route(calls.UPDATE_WEBHOOK)
def update_webhook(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    encryption: SecretEncryption,
    egress_policy: EgressPolicy,
    delivery_worker: DeliveryWorker,
    caller: Caller,
    webhook_id: str,
) -> dict[str, Any]:
    """Change the given fields of a webhook."""
    kind = wire.WebhookChange
    change, document = decode(body, kind, _rules(egress_policy, settings, kind))
    webhook = webhooks.change_webhook(
        database,
        encryption,
        delivery_worker,
        webhook_id,
        change,
        extra=unknown_fields(document, kind),
        fields=[name for name in change.__struct_encode_fields__ if name in document],
        caller=caller,
    )
    return webhook_document(webhook)


@route(calls.DELETE_WEBHOOK)
def delete_webhook(database: Database, caller: Caller, webhook_id: str) -> wire.WebhookDeleted:
    """Delete a webhook and its deliveries."""
    webhooks.delete_webhook(database, webhook_id, caller)
    return wire.WebhookDeleted(webhook_id=webhook_id)


@route(calls.ROTATE_WEBHOOK_SECRET)
def rotate_webhook_secret(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    encryption: SecretEncryption,
    egress_policy: EgressPolicy,
    idempotency: IdempotentRequest,
    caller: Caller,
    webhook_id: str,
) -> dict[str, Any]:
    """Give a webhook a new secret; for 24 hours deliveries carry a signature by each of the two."""
    request, _ = decode(body, wire.SecretRotation, _rules(egress_policy, settings, wire.SecretRotation))
    webhook, secret = webhooks.rotate_secret(
        database, encryption, webhook_id, request.secret, idempotency=idempotency, caller=caller
    )
    return webhook_document(webhook, None if request.secret else secret)


@route(calls.VALIDATE_WEBHOOK)
async def validate_webhook(
    database: Database,
    encryption: SecretEncryption,
    test_payloads: TestPayloads,
    idempotency: IdempotentRequest,
    webhook_id: str,
) -> wire.WebhookValidation:
    """Send a test payload, for every status of the webhook, and return the result."""
    return await webhooks.validate_webhook(
        database, encryption, test_payloads, webhook_id, idempotency=idempotency
    )


@route(calls.LIST_DELIVERIES)
def list_deliveries(
    database: Database,
    webhook_id: str,
    cursor: str | None = None,
    limit: str = "100",
    status: str | None = None,
) -> wire.DeliveryPage:
    """Return one page of a webhook's deliveries, the newest first."""
    page = requested_page(cursor, limit, status, get_args(wire.DeliveryStatus))
    rows, following = webhooks.list_deliveries(
        database, webhook_id, status=status, before=page.cursor, limit=page.limit
    )
    return wire.DeliveryPage(
        webhook_id=webhook_id,
        deliveries=[_delivery(row) for row in rows],
        cursor=None if following is None else str(following),
    )


@route(calls.REPLAY_DELIVERIES)
def replay_deliveries(
    body: bytes,
    database: Database,
    delivery_worker: DeliveryWorker,
    idempotency: IdempotentRequest,
    caller: Caller,
    webhook_id: str,
) -> wire.Replayed:
    """Send one delivery again, or all that failed; a delivery keeps its id, so receivers recognise it."""
    request, _ = decode(body, wire.ReplayRequest, lambda _: ())
    delivery_id = request.delivery_id and without_nul(request.delivery_id)
    return webhooks.replay_deliveries(
        database, delivery_worker, webhook_id, delivery_id, idempotency=idempotency, caller=caller
    )


HANDLERS = (
    create_webhook,
    list_webhooks,
    get_webhook,
    update_webhook,
    delete_webhook,
    rotate_webhook_secret,
    validate_webhook,
    list_deliveries,
    replay_deliveries,
)


def _rules(
    egress_policy: EgressPolicy, settings: ServerSettings, kind: type[msgspec.Struct]
) -> Callable[[Mapping[str, Any]], Iterator[Problem]]:
    """Return a function that yields the problems that a schema cannot find.

    They are a URL that the egress policy refuses, a weak secret, and fields that would not be used.
    """

    def problems(document: Mapping[str, Any]) -> Iterator[Problem]:
        url = document.get("url")
        if isinstance(url, str) and url:
            try:
                egress_policy.parse(url)
            except ValueError as error:
                yield Problem("url", str(error))
            else:
                if MASK in url:
                    yield Problem("url", f"Must be the whole URL: {MASK} stands for what is not shown")
        secret = document.get("secret")
        if isinstance(secret, str) and secret and (problem := secret_problem(secret)):
            yield Problem("secret", problem)
        if kind is wire.WebhookRequest:
            yield from header_problems(document.get("headers"), {})
            yield from event_problems(document.get("format"), document.get("events"))
        yield from unknown_filters(document, settings.suites, settings.environments)
        yield from unused_fields(document, kind.__struct_encode_fields__)
        yield from unknown_field_problems(unknown_fields(document, kind))

    return problems


def _delivery(row: Row[Any]) -> wire.Delivery:
    return wire.Delivery(
        delivery_id=row.id,
        event=row.event,
        execution_id=row.execution_id,
        status=row.status,
        attempts=row.attempts,
        created_at=clock.timestamp(row.created_at),
        due_at=clock.timestamp(row.due_at),
        response_code=row.response_code,
        reason=row.reason,
    )
