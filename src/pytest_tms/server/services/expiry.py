"""Expiry: delete idempotency keys and deliveries that are no longer needed, in small transactions."""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.store import idempotency_keys, webhooks
from pytest_tms.server.store.database import Database

BATCH = 500
"""Rows that one transaction deletes at most."""


def delete_expired_keys(database: Database) -> bool:
    """Delete a batch of expired idempotency keys, and return whether there may be more."""
    now = clock.now()
    with database.read() as connection:  # so that a server with nothing to delete writes nothing
        expired = idempotency_keys.expired(connection, now, BATCH)
    if expired:
        with database.write() as connection:
            idempotency_keys.forget(connection, expired, now)
    return len(expired) == BATCH


def delete_ended_deliveries(database: Database) -> bool:
    """Delete a batch of deliveries that ended long ago, and return whether there may be more."""
    with database.read() as connection:
        ended = webhooks.ended(connection, clock.now(), BATCH)
    if ended:
        with database.write() as connection:
            webhooks.forget(connection, ended)
    return len(ended) == BATCH
