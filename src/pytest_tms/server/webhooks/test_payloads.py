"""Test payloads, sent while the caller waits; apart from deliveries, which they never hold up."""

from __future__ import annotations

import msgspec

from pytest_tms import wire
from pytest_tms.server.domain.delivery_policy import Response, Webhook
from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.webhooks.encryption import Credentials
from pytest_tms.server.webhooks.http_sender import HttpSender, NameLookups

LOOKUPS = 16
"""Threads that look up names for validations."""


class TestPayloads:
    """TestPayloads of one process. They take no thread while an endpoint is silent."""

    def __init__(self, targets: EgressPolicy) -> None:
        self._targets = targets
        self._lookups = NameLookups(LOOKUPS, "tms-validation-lookup")

    async def send(self, webhook: Webhook, credentials: Credentials) -> Response:
        """Send a test payload, and return how the endpoint answered."""
        payload = {
            "event": "webhook.test",
            "timestamp": wire.timestamp(),
            "sequence": 0,
            "data": {"webhookId": webhook.id},
        }
        sender = HttpSender(self._targets, self._lookups)
        try:
            return await sender.send(
                webhook.url,
                credentials.secrets,
                new_id("msg"),
                msgspec.json.encode(payload),
                credentials.headers,
            )
        finally:
            await sender.close()
