"""The pages of webhooks: the list, and one webhook with its deliveries and actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect

from pytest_tms import wire
from pytest_tms.server.domain.delivery_policy import Subscription
from pytest_tms.server.domain.egress import masked
from pytest_tms.server.pages.page_session import WEBHOOKS, PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services.webhooks import replay_deliveries, set_status
from pytest_tms.server.store import deliveries, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker

LISTED = 50
"""Webhooks on one page."""
DELIVERIES = 100
"""Deliveries on one page."""
MAX_PAYLOAD = 50_000
"""Characters of a payload that a page shows."""
STATUSES = ("pending", "delivered", "failed")


@dataclass(frozen=True)
class Shown:
    """A webhook as a page shows it, without the secrets in its URL and headers."""

    hook: Subscription

    @property
    def address(self) -> str:
        """The URL without its scheme and secrets."""
        return masked(self.hook.url).partition("://")[2]

    @property
    def state(self) -> str:
        """The status; ``failing`` for an active webhook whose latest delivery failed."""
        failing = self.hook.status == "active" and self.hook.failing_since is not None
        return "failing" if failing else self.hook.status


@get("/webhooks", opt={"scope": WEBHOOKS}, sync_to_thread=True)
def list_webhooks(database: Database, page_session: PageSession, after: str = "") -> Response[str]:
    """Return the list of the webhooks that the user may see, the oldest first."""
    start = after if after.isascii() and after.isprintable() else ""
    with database.read() as connection:
        found = webhooks.every(connection, after=start, limit=LISTED + 1)
    return page(
        page_session,
        "webhooks.html",
        webhooks=[
            Shown(webhook)
            for webhook in found[:LISTED]
            if page_session.caller.has_access_to(webhook.filters.environments)
        ],
        following=found[LISTED - 1].id if len(found) > LISTED else None,
        first_page=not start,
    )


@get("/webhooks/{webhook_id:str}", opt={"scope": WEBHOOKS}, sync_to_thread=True)
def show_webhook(
    database: Database, page_session: PageSession, webhook_id: str, status: str = "", before: str = ""
) -> Response[str]:
    """Return the page of a webhook, its newest deliveries first."""
    chosen = status if status in STATUSES else None
    start = int(before) if before.isdecimal() and len(before) < 19 else None
    with database.read() as connection:
        webhook = webhooks.get(connection, webhook_id)
        rows, following = deliveries.page(
            connection, webhook_id, status=chosen, before=start, limit=DELIVERIES
        )
        failed, _ = deliveries.page(connection, webhook_id, status="failed", before=None, limit=1)
    return page(
        page_session,
        "webhook.html",
        webhook=Shown(webhook),
        deliveries=rows,
        statuses=STATUSES,
        chosen=chosen,
        has_failed=bool(failed),
        following=following,
        first_page=start is None,
    )


@get("/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}", opt={"scope": WEBHOOKS}, sync_to_thread=True)
def show_delivery(
    database: Database, page_session: PageSession, webhook_id: str, delivery_id: str
) -> Response[str]:
    """Return the page of a delivery: its payload, the latest response, and when it is sent next."""
    with database.read() as connection:
        webhook = webhooks.get(connection, webhook_id)
        delivery, body = deliveries.get(connection, webhook_id, delivery_id.replace("\x00", ""))
    payload = msgspec.json.format(body, indent=2)
    return page(
        page_session,
        "delivery.html",
        webhook=Shown(webhook),
        delivery=delivery,
        payload=payload[:MAX_PAYLOAD],
        left_out=max(0, len(payload) - MAX_PAYLOAD),
    )


@post(
    "/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}/replay",
    opt={"scope": WEBHOOKS},
    sync_to_thread=True,
)
def replay_delivery(
    database: Database,
    delivery_worker: DeliveryWorker,
    page_session: PageSession,
    webhook_id: str,
    delivery_id: str,
) -> Response[Any]:
    """Send one delivery again."""
    chosen = delivery_id.replace("\x00", "")
    replay_deliveries(database, delivery_worker, webhook_id, chosen, caller=page_session.caller)
    path = f"/webhooks/{quote(webhook_id, safe='')}/deliveries/{quote(delivery_id, safe='')}"
    return Redirect(path, status_code=303)


@post("/webhooks/{webhook_id:str}/replay", opt={"scope": WEBHOOKS}, sync_to_thread=True)
def replay_failed(
    database: Database, delivery_worker: DeliveryWorker, page_session: PageSession, webhook_id: str
) -> Response[Any]:
    """Send failed deliveries again."""
    replay_deliveries(database, delivery_worker, webhook_id, caller=page_session.caller)
    return _redirect(webhook_id)


@post("/webhooks/{webhook_id:str}/pause", opt={"scope": WEBHOOKS}, sync_to_thread=True)
def pause(
    database: Database, delivery_worker: DeliveryWorker, page_session: PageSession, webhook_id: str
) -> Response[Any]:
    """Suspend the deliveries until the webhook is activated."""
    return _set_status(database, delivery_worker, page_session, webhook_id, "paused")


@post("/webhooks/{webhook_id:str}/activate", opt={"scope": WEBHOOKS}, sync_to_thread=True)
def activate(
    database: Database, delivery_worker: DeliveryWorker, page_session: PageSession, webhook_id: str
) -> Response[Any]:
    """Resume the deliveries of a paused or disabled webhook."""
    return _set_status(database, delivery_worker, page_session, webhook_id, "active")


def _set_status(
    database: Database,
    delivery_worker: DeliveryWorker,
    page_session: PageSession,
    webhook_id: str,
    status: wire.WebhookStatus,
) -> Response[Any]:
    set_status(database, delivery_worker, webhook_id, status, page_session.caller)
    return _redirect(webhook_id)


def _redirect(webhook_id: str) -> Response[Any]:
    return Redirect(f"/webhooks/{quote(webhook_id, safe='')}", status_code=303)


HANDLERS = (
    list_webhooks,
    show_webhook,
    show_delivery,
    replay_delivery,
    replay_failed,
    pause,
    activate,
)
