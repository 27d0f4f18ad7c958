"""Webhook subscriptions: create, read, lock, save, and lease to the process that delivers to them.

A process holds a lease on each webhook that it delivers to, so one process alone keeps the order and the pace
of its deliveries. A lease expires by itself if its holder crashes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, and_, delete, exists, func, insert, or_, select, update

from pytest_tms import wire
from pytest_tms.errors import NotFound
from pytest_tms.server.domain.delivery_policy import Subscription
from pytest_tms.server.store import sealed, tables
from pytest_tms.server.store.results import has_status

MAX_NAME = 1000
"""Characters of a test's name that are read for an event."""
MAX_CLAIMED = 100
"""Webhooks that are leased at a time."""

_HOOK = tables.webhooks.c


def add(connection: Connection, webhook: Subscription) -> None:
    """Insert a webhook."""
    connection.execute(insert(tables.webhooks).values(id=webhook.id, **_columns(webhook)))


def get(connection: Connection, webhook_id: str) -> Subscription:
    """Return the webhook with this id.

    Raises:
        NotFound: There is none.
    """
    return _one(connection, select(tables.webhooks), webhook_id)


def lock(connection: Connection, webhook_id: str) -> Subscription:
    """Return the webhook with this id, locked until the transaction ends.

    Raises:
        NotFound: There is none.
    """
    return _one(connection, select(tables.webhooks).with_for_update(key_share=True), webhook_id)


def save(connection: Connection, webhook: Subscription) -> None:
    """Update a locked webhook."""
    connection.execute(update(tables.webhooks).where(_HOOK.id == webhook.id).values(**_columns(webhook)))


def remove(connection: Connection, webhook_id: str) -> None:
    """Delete a webhook with its deliveries.

    Raises:
        NotFound: There is none.
    """
    get(connection, webhook_id)
    connection.execute(delete(tables.webhooks).where(_HOOK.id == webhook_id))


def every(connection: Connection, *, after: str = "", limit: int | None = None) -> list[Subscription]:
    """Return the webhooks whose id is greater than ``after``, the oldest first."""
    query = select(tables.webhooks).where(_HOOK.id > after).order_by(_HOOK.id).limit(limit)
    return _webhooks(connection, query)


def lock_enabled(connection: Connection) -> list[Subscription]:
    """Return all webhooks but the disabled ones. None can be deleted until the transaction ends."""
    query = select(tables.webhooks).where(_HOOK.status != "disabled").order_by(_HOOK.id)
    return _webhooks(connection, query.with_for_update(read=True, key_share=True))


def lock_all(connection: Connection) -> list[Subscription]:
    """Return all webhooks, locked until the transaction ends."""
    query = select(tables.webhooks).order_by(_HOOK.id).with_for_update(key_share=True)
    return _webhooks(connection, query)


def has_subscriber(connection: Connection, event: str) -> bool:
    """Return whether any webhook that is not disabled subscribes to ``event``. Takes no lock."""
    query = exists().where(_HOOK.status != "disabled", _HOOK.events.contains(f'"{event}"'))
    return bool(connection.scalar(select(query)))


def encrypted_secrets(connection: Connection) -> list[str]:
    """Return the secrets of all webhooks, encrypted."""
    return list(connection.scalars(select(_HOOK.secret).order_by(_HOOK.id)))


def pause_until(connection: Connection, webhook_id: str, suspended_until: int, reason: str) -> None:
    """Suspend the deliveries of an active webhook until ``suspended_until``, for a reason that pages show."""
    is_active = and_(_HOOK.id == webhook_id, _HOOK.status == "active")
    values = {"suspended_until": suspended_until, "reason": reason}
    connection.execute(update(tables.webhooks).where(is_active).values(**values))


def failed_tests(connection: Connection, execution_id: str, limit: int) -> list[wire.FailedTest]:
    """Return the first failed tests of an execution, with at most ``MAX_NAME`` characters of their names."""
    tests, failed, details = tables.tests.c, tables.results.c, tables.result_details.c
    rows = connection.execute(
        select(*(func.substr(tests[name], 1, MAX_NAME).label(name) for name in ("title", "file")))
        .add_columns(details.error, details.sealed, failed.execution, failed.sequence, failed.shard_id)
        .join_from(tables.executions, tables.results, tables.executions.c.number == failed.execution)
        .join(tables.tests, tests.id == failed.test_id)
        .join(
            tables.result_details,
            and_(details.execution == failed.execution, details.sequence == failed.sequence),
        )
        .where(tables.executions.c.id == execution_id, *has_status("failed"), failed.is_superseded.is_(False))
        .order_by(failed.sequence)
        .limit(limit)
    ).all()
    return [
        wire.FailedTest(
            title=row.title,
            file=row.file,
            error=sealed.detail(connection, row.execution, row.sequence, row.error, row.sealed),
            shard=row.shard_id,
        )
        for row in rows
    ]


# Leases -------------------------------------------------------------------------------------


def claimable(connection: Connection, now: int) -> list[str]:
    """Return the ids of webhooks with due deliveries and without a lease. Takes no lock."""
    return list(connection.scalars(_claimable(now)))


def take_leases(connection: Connection, owner: str, now: int, until: int) -> None:
    """Lease the claimable webhooks to ``owner`` until ``until``, except those that are locked."""
    unlocked = _claimable(now).with_for_update(skip_locked=True, key_share=True, of=tables.webhooks)
    found = list(connection.scalars(unlocked))
    connection.execute(
        update(tables.webhooks).where(_HOOK.id.in_(found)).values(leased_by=owner, leased_until=until)
    )


def lock_leased(connection: Connection, owner: str, webhook_ids: Collection[str]) -> dict[str, Subscription]:
    """Lock the webhooks that ``owner`` leases and the given ones, and return the given ones by their id.

    Call it before any of their rows is written. Deleting a webhook locks it first and its deliveries second;
    the opposite order would cause a deadlock.
    """
    wanted = or_(_HOOK.leased_by == owner, _HOOK.id.in_(webhook_ids))
    query = select(tables.webhooks).where(wanted).order_by(_HOOK.id).with_for_update(key_share=True)
    rows = connection.execute(query)
    return {row.id: _webhook(row) for row in rows if row.id in webhook_ids}


def renew(connection: Connection, owner: str, now: int, until: int) -> None:
    """Extend the leases of ``owner`` that have not expired."""
    is_own = and_(_HOOK.leased_by == owner, _HOOK.leased_until > now)
    connection.execute(update(tables.webhooks).where(is_own).values(leased_until=until))


def release(connection: Connection, owner: str, webhook_ids: Collection[str]) -> None:
    """End the leases of ``owner`` on these webhooks."""
    is_own = and_(_HOOK.leased_by == owner, _HOOK.id.in_(webhook_ids))
    connection.execute(update(tables.webhooks).where(is_own).values(leased_until=0))


def leased(connection: Connection, owner: str, now: int) -> list[Subscription]:
    """Return the webhooks that ``owner`` leases."""
    query = select(tables.webhooks).where(_HOOK.leased_by == owner, _HOOK.leased_until > now)
    return _webhooks(connection, query)


def _claimable(now: int) -> Select[tuple[str]]:
    is_free = and_(_HOOK.status == "active", _HOOK.suspended_until <= now, _HOOK.leased_until <= now)
    row = tables.deliveries.c
    # LIMIT keeps a planner without statistics from a join, for which it may read all pending deliveries. The
    # order is that of ``ix_deliveries_due``: the other indexes have more entries that are not due.
    first_due = select(row.number).where(
        row.webhook_id == _HOOK.id, row.status == tables.constant("pending"), row.due_at <= now
    )
    first_due = first_due.order_by(row.due_at).limit(1)
    has_due = first_due.correlate(tables.webhooks).scalar_subquery().is_not(None)
    return select(_HOOK.id).where(is_free, has_due).limit(MAX_CLAIMED)


# Rows ---------------------------------------------------------------------------------------


def _one(connection: Connection, query: Select[Any], webhook_id: str) -> Subscription:
    is_possible = "\x00" not in webhook_id  # PostgreSQL refuses NUL in the value of a condition, too
    row = connection.execute(query.where(_HOOK.id == webhook_id)).one_or_none() if is_possible else None
    if row is None:
        raise NotFound(f"There is no webhook {webhook_id[:100]}.")
    return _webhook(row)


def _webhooks(connection: Connection, query: Select[Any]) -> list[Subscription]:
    return [_webhook(row) for row in connection.execute(query)]


_PLAIN = (
    "url",
    "secret",
    "previous_secret",
    "previous_until",
    "status",
    "status_since",
    "reason",
    "created_at",
    "created_by",
    "format",
    "failing_since",
    "validated_at",
    "suspended_until",
)


def _columns(webhook: Subscription) -> dict[str, Any]:
    return {
        **{name: getattr(webhook, name) for name in _PLAIN},
        **{
            name: msgspec.json.encode(getattr(webhook, name)).decode()
            for name in ("events", "headers", "retry", "filters", "extra")
        },
    }


def _webhook(row: Row[Any]) -> Subscription:
    columns = row._mapping  # SQLAlchemy's public name for it
    return Subscription(
        id=columns["id"],
        **{name: columns[name] for name in _PLAIN},
        events=msgspec.json.decode(columns["events"], type=tuple[str, ...]),
        headers=msgspec.json.decode(columns["headers"] or "{}", type=dict[str, str]),
        retry=msgspec.json.decode(columns["retry"], type=wire.RetryPolicy),
        filters=msgspec.json.decode(columns["filters"], type=wire.WebhookFilters),
        extra=msgspec.json.decode(columns["extra"]),
    )
