"""Expiry: delete idempotency keys and deliveries that are no longer needed, in small transactions."""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.store import audit, deliveries, idempotency_keys, tokens
from pytest_tms.server.store.database import Database

BATCH = 500
"""Rows that one transaction deletes at most."""
JOB_TOKEN_RETENTION = 7 * 86_400_000
"""Milliseconds for which expired tokens of CI jobs are stored, so that late requests learn why they fail."""


def delete_expired_keys(database: Database) -> bool:
    """Delete a batch of expired idempotency keys, and return whether there may be more."""
    now = clock.now()
    with database.read() as connection:  # so that a server with nothing to delete writes nothing
        expired = idempotency_keys.expired(connection, now, BATCH)
    if expired:
        with database.write() as connection:
            idempotency_keys.delete_expired(connection, expired, now)
    return len(expired) == BATCH


def delete_ended_deliveries(database: Database) -> bool:
    """Delete a batch of deliveries that ended long ago, and return whether there may be more."""
    with database.read() as connection:
        ended = deliveries.expired(connection, clock.now(), BATCH)
    if ended:
        with database.write() as connection:
            deliveries.delete_expired(connection, ended)
    return len(ended) == BATCH


def delete_expired_job_tokens(database: Database) -> bool:
    """Delete a batch of expired tokens of CI jobs, and return whether there may be more."""
    now = clock.now()
    with database.read() as connection:
        expired = tokens.expired_of_jobs(connection, now - JOB_TOKEN_RETENTION, BATCH)
    if expired:
        with database.write() as connection:
            tokens.delete_tokens(connection, expired)
            audit.delete_expired(connection, now)
    return len(expired) == BATCH
