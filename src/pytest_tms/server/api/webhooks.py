"""Webhooks: register, read, change, delete, rotate, validate; and their deliveries."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import msgspec
from anyio.to_thread import run_sync
from sqlalchemy import Connection

from pytest_tms import calls, wire
from pytest_tms.errors import Conflict, Problem
from pytest_tms.server.api import authentication
from pytest_tms.server.api.authentication import Caller
from pytest_tms.server.api.idempotency import IdempotencyGuard
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode, refuse, unknown_fields
from pytest_tms.server.domain.column_values import plain
from pytest_tms.server.domain.delivery_policy import OVERLAP, Response, Webhook
from pytest_tms.server.domain.egress import EgressPolicy, masked
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.metadata_limits import unknown_field_problems
from pytest_tms.server.domain.subscriptions import (
    MASK,
    header_problems,
    secret_problem,
    unknown_filters,
    unused_fields,
)
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.encryption import SecretEncryption
from pytest_tms.server.webhooks.test_payloads import TestPayloads

LOG = logging.getLogger("pytest_tms.server")


@route(calls.CREATE_WEBHOOK)
def create_webhook(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    keys: SecretEncryption,
    targets: EgressPolicy,
    once: IdempotencyGuard,
    caller: Caller,
) -> dict[str, Any]:
    """Register a webhook; it is sent the events from now on."""
    request, document = decode(body, wire.WebhookRequest, _problems(targets, settings, wire.WebhookRequest))
    caller.check_reach(request.filters.environments if request.filters else None)
    webhook_id = new_id("wh")
    secret = request.secret or once.webhook_secret(webhook_id)
    webhook = Webhook(
        id=webhook_id,
        url=request.url,
        events=tuple(dict.fromkeys(request.events)),
        secret=keys.encrypt(secret),
        headers=_encrypted(keys, request.headers or {}, {}),
        retry=request.retry_policy or wire.RetryPolicy(),
        filters=request.filters or wire.WebhookFilters(),
        extra=unknown_fields(document, wire.WebhookRequest),
        created_at=authentication.now(),
        created_by=caller.id,
    )
    shown = {**_shown(webhook), "url": webhook.url}  # its caller has just sent it
    with database.write() as connection:
        earlier = once.recall(connection, body, dict[str, Any])
        if earlier is None:
            webhooks.add(connection, webhook)
            audit.add(
                connection,
                caller,
                "webhook.created",
                webhook.id,
                webhook.created_at,
                host=urlsplit(webhook.url).hostname,
            )
            once.keep(connection, shown)
        else:  # the secret is made anew for the same key, so that it is kept nowhere as it is
            shown = earlier
            secret = once.webhook_secret(shown["webhookId"])
    return {**shown, "secret": None if request.secret else secret}


@route(calls.LIST_WEBHOOKS)
def list_webhooks(database: Database, caller: Caller) -> dict[str, Any]:
    """All webhooks that the token reaches."""
    with database.read() as connection:
        found = webhooks.every(connection)
    return {"webhooks": [_shown(each) for each in found if caller.reaches(each.filters.environments)]}


@route(calls.GET_WEBHOOK)
def get_webhook(database: Database, webhook_id: str) -> dict[str, Any]:
    """One webhook."""
    with database.read() as connection:
        return _shown(webhooks.get(connection, webhook_id))


@route(calls.UPDATE_WEBHOOK)
def update_webhook(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    keys: SecretEncryption,
    targets: EgressPolicy,
    worker: DeliveryWorker,
    caller: Caller,
    webhook_id: str,
) -> dict[str, Any]:
    """Change what is given. A paused webhook keeps its events until it is active again."""
    change, document = decode(body, wire.WebhookChange, _problems(targets, settings, wire.WebhookChange))
    with database.write() as connection:
        webhook = webhooks.lock(connection, webhook_id)
        refuse(header_problems(change.headers, webhook.headers))
        extra = {**webhook.extra, **unknown_fields(document, wire.WebhookChange)}
        if extra != webhook.extra:
            refuse(unknown_field_problems(extra))
        webhook = replace(
            webhook,
            url=change.url or webhook.url,
            events=tuple(dict.fromkeys(change.events)) if change.events else webhook.events,
            headers=webhook.headers
            if change.headers is None
            else _encrypted(keys, change.headers, webhook.headers),
            retry=change.retry_policy or webhook.retry,
            filters=change.filters or webhook.filters,
            extra=extra,
        )
        if change.status is not None:
            webhook = webhook.became(change.status, authentication.now())
        caller.check_reach(webhook.filters.environments)
        webhooks.save(connection, webhook)
        fields = [name for name in change.__struct_encode_fields__ if name in document]
        audit.add(connection, caller, "webhook.changed", webhook_id, authentication.now(), fields=fields)
    worker.wake()
    return _shown(webhook)


@route(calls.DELETE_WEBHOOK)
def delete_webhook(database: Database, caller: Caller, webhook_id: str) -> wire.WebhookDeleted:
    """Delete a webhook; what it was not sent yet goes with it."""
    with database.write() as connection:
        webhooks.remove(connection, webhook_id)
        audit.add(connection, caller, "webhook.deleted", webhook_id, authentication.now())
    return wire.WebhookDeleted(webhook_id=webhook_id)


@route(calls.ROTATE_WEBHOOK_SECRET)
def rotate_webhook_secret(
    body: bytes,
    database: Database,
    keys: SecretEncryption,
    settings: ServerSettings,
    targets: EgressPolicy,
    once: IdempotencyGuard,
    caller: Caller,
    webhook_id: str,
) -> dict[str, Any]:
    """Give a webhook a new secret; for 24 hours deliveries carry a signature by each of the two."""
    request, _ = decode(body, wire.SecretRotation, _problems(targets, settings, wire.SecretRotation))
    now = authentication.now()
    with database.write() as connection:
        earlier = once.recall(connection, body, wire.Webhook)
        webhook = webhooks.lock(connection, webhook_id)
        secret = request.secret or once.webhook_secret(webhook_id)
        if earlier is None:
            webhook = replace(
                webhook,
                secret=keys.encrypt(secret),
                previous_secret=webhook.secret,
                previous_until=now + OVERLAP,
            )
            webhooks.save(connection, webhook)
            audit.add(connection, caller, "webhook.rotated", webhook_id, now)
            once.keep(connection, wire.Webhook(webhook_id=webhook_id))
    return _shown(webhook, "" if request.secret else secret)


@route(calls.VALIDATE_WEBHOOK)
async def validate_webhook(
    body: bytes,
    database: Database,
    keys: SecretEncryption,
    validations: TestPayloads,
    once: IdempotencyGuard,
    webhook_id: str,
) -> wire.WebhookValidation:
    """Send a test payload, whatever the webhook's state, and say how that went.

    The key is taken in a transaction before, since neither a transaction nor a thread is held while an
    endpoint takes its time.
    """
    webhook = await run_sync(_begin_validation, body, database, once, webhook_id)
    if isinstance(webhook, wire.WebhookValidation):
        return webhook
    try:
        credentials = await run_sync(keys.credentials, webhook, authentication.now())
        response = await validations.send(webhook, credentials)
    except ValueError as error:
        LOG.warning("webhook %s cannot be validated: %s", webhook.id, error)
        reason = "its secret cannot be decrypted, see the server's log"
        response = Response(code=0, milliseconds=0, reason=reason)
    except Exception:
        await run_sync(_free, database, once)
        raise
    return await run_sync(_end_validation, database, once, webhook_id, response)


def _begin_validation(
    body: bytes, database: Database, once: IdempotencyGuard, webhook_id: str
) -> wire.WebhookValidation | Webhook:
    with database.write() as connection:
        earlier = once.recall(connection, body, wire.WebhookValidation)
        return earlier or webhooks.get(connection, webhook_id)


def _end_validation(
    database: Database, once: IdempotencyGuard, webhook_id: str, response: Response
) -> wire.WebhookValidation:
    now = authentication.now()
    with database.write() as connection:
        webhooks.save(connection, replace(webhooks.lock(connection, webhook_id), validated_at=now))
        answer = wire.WebhookValidation(
            webhook_id=webhook_id,
            status="valid" if response.is_good else "invalid",
            response_code=response.code,
            response_time=response.milliseconds,
            last_validated_at=_time(now),
            reason=response.reason,
        )
        return once.keep(connection, answer)


def _free(database: Database, once: IdempotencyGuard) -> None:
    with database.write() as connection:
        once.free(connection)


@route(calls.LIST_DELIVERIES)
def list_deliveries(
    database: Database,
    webhook_id: str,
    cursor: str | None = None,
    limit: str = "100",
    status: str | None = None,
) -> wire.DeliveryPage:
    """One page of a webhook's deliveries, the newest first."""
    problems = []
    if cursor is not None and not (cursor.isdecimal() and len(cursor) < 19):
        problems.append(Problem("cursor", "Must be the cursor of an earlier page"))
    if not (limit.isdecimal() and len(limit) < 4 and 1 <= int(limit) <= 200):
        problems.append(Problem("limit", "Must be a whole number from 1 to 200"))
    if status not in (None, "pending", "delivered", "failed"):
        problems.append(Problem("status", "Must be one of: pending, delivered, failed"))
    refuse(problems)
    with database.read() as connection:
        webhooks.get(connection, webhook_id)
        rows, following = webhooks.page(
            connection, webhook_id, status=status, before=int(cursor) if cursor else None, limit=int(limit)
        )
    return wire.DeliveryPage(
        webhook_id=webhook_id,
        deliveries=[
            wire.Delivery(
                delivery_id=row.id,
                event=row.event,
                execution_id=row.execution_id,
                status=row.status,
                attempts=row.attempts,
                created_at=_time(row.created_at),
                due_at=_time(row.due_at),
                response_code=row.response_code,
                reason=row.reason,
            )
            for row in rows
        ],
        cursor=None if following is None else str(following),
    )


@route(calls.REPLAY_DELIVERIES)
def replay_deliveries(
    body: bytes,
    database: Database,
    worker: DeliveryWorker,
    once: IdempotencyGuard,
    caller: Caller,
    webhook_id: str,
) -> wire.Replayed:
    """Send again; each delivery keeps its id, so that a receiver knows what it has had."""
    request, _ = decode(body, wire.ReplayRequest, lambda _: ())
    with database.write() as connection:
        if earlier := once.recall(connection, body, wire.Replayed):
            return earlier
        number = replay(connection, caller, webhook_id, request.delivery_id and plain(request.delivery_id))
        answer = once.keep(connection, wire.Replayed(webhook_id=webhook_id, deliveries=number))
    worker.wake()
    return answer


def replay(connection: Connection, caller: Caller, webhook_id: str, delivery_id: str | None = None) -> int:
    """Make one delivery pending again, or all that failed, and answer how many; then wake the worker.

    Raises NotFound, and Conflict where the webhook is disabled.
    """
    if webhooks.lock(connection, webhook_id).status == "disabled":
        raise Conflict("The webhook is disabled: make it active first.")
    now = authentication.now()
    number = webhooks.replay(connection, webhook_id, delivery_id, now)
    audit.add(connection, caller, "webhook.replayed", webhook_id, now, deliveries=number)
    return number


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


def _problems(targets: EgressPolicy, settings: ServerSettings, kind: type[msgspec.Struct]) -> Any:
    """What no schema says: where the URL leads, how strong the secret is, what would never be used."""

    def found(document: Mapping[str, Any]) -> Iterator[Problem]:
        url = document.get("url")
        if isinstance(url, str) and url:
            try:
                targets.parse(url)
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
        yield from unknown_filters(document, settings.suites, settings.environments)
        yield from unused_fields(document, kind.__struct_encode_fields__)
        yield from unknown_field_problems(unknown_fields(document, kind))

    return found


def _encrypted(
    keys: SecretEncryption, headers: Mapping[str, str], known: Mapping[str, str]
) -> dict[str, str]:
    """Headers as they are stored; of one whose value is masked, the ``known`` value."""
    return {
        name: known[name] if value == MASK and name in known else keys.encrypt(value)
        for name, value in headers.items()
    }


def _shown(webhook: Webhook, secret: str = "") -> dict[str, Any]:
    shown = wire.Webhook(
        webhook_id=webhook.id,
        url=masked(webhook.url),
        events=list(webhook.events),
        headers=dict.fromkeys(webhook.headers, MASK),
        status=webhook.status,
        created_at=_time(webhook.created_at),
        created_by=webhook.created_by,
        retry_policy=_whole(webhook.retry),
        filters=_whole(webhook.filters),
        reason=webhook.reason,
        failing_since=_maybe_time(webhook.failing_since),
        last_validated_at=_maybe_time(webhook.validated_at),
        previous_secret_until=_maybe_time(webhook.previous_until),
        secret=secret or None,
    )
    document: dict[str, Any] = msgspec.to_builtins(shown)
    return {**webhook.extra, **document}


def _whole(value: msgspec.Struct) -> dict[str, Any]:
    """Every field by its name on the wire, also where it holds its default."""
    names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    return {name: getattr(value, field) for name, field in names}


def _time(milliseconds: int) -> str:
    return wire.timestamp(wire.moment(milliseconds))


def _maybe_time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else _time(milliseconds)
