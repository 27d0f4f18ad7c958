"""Test payloads, sent while the caller of the API waits, and independent of deliveries."""

from __future__ import annotations

import msgspec

from pytest_tms import wire
from pytest_tms.server.domain.chat import write_message
from pytest_tms.server.domain.chat.message import test_message
from pytest_tms.server.domain.delivery_policy import SubscriberResponse, Subscription
from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.webhooks.encryption import Credentials
from pytest_tms.server.webhooks.http_sender import HttpSender, NameResolver

RESOLVER_THREADS = 16
"""Threads that resolve names for test payloads."""


class TestPayloads:
    """Sends the test payloads of one process. No thread waits for an endpoint."""

    def __init__(self, egress_policy: EgressPolicy) -> None:
        self._egress_policy = egress_policy
        self._resolver = NameResolver(RESOLVER_THREADS, "tms-test-payload-resolver")

    async def send(self, webhook: Subscription, credentials: Credentials) -> SubscriberResponse:
        """Send a test payload and return the response of the endpoint."""
        sender = HttpSender(self._egress_policy, self._resolver)
        try:
            return await sender.send(
                webhook.url,
                credentials.secrets,
                new_id("msg"),
                _payload(webhook).encode(),
                credentials.headers,
            )
        finally:
            await sender.close()


def _payload(webhook: Subscription) -> str:
    """Return a test payload in the format of a webhook."""
    if webhook.format != "json":
        return write_message(webhook.format, test_message())
    payload = {
        "event": "webhook.test",
        "timestamp": wire.timestamp(),
        "sequence": 0,
        "data": {"webhookId": webhook.id},
    }
    return msgspec.json.encode(payload).decode()
