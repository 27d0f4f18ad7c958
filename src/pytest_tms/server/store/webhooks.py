"""Webhooks and their deliveries: the outbox, who sends it, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from pytest_tms import wire
from pytest_tms.errors import NotFound
from pytest_tms.server.domain.delivery_policy import DAY, Webhook
from pytest_tms.server.store import tables
from pytest_tms.server.store.results import has_status

KEPT = {"delivered": 3 * DAY, "failed": 30 * DAY}
"""Milliseconds for which deliveries are kept after their end."""
MAX_NAME = 1000
"""Characters of a test's name that are read for an event."""
PENDING = tables.constant("pending")

_HOOK = tables.webhooks.c
_ROW = tables.deliveries.c
_LISTED = tuple(column for column in _ROW if column.name != "body")


class NewDelivery(NamedTuple):
    """A delivery as it is written; the columns of the table."""

    id: str
    webhook_id: str
    execution_id: str
    event: str
    body: str
    status: str
    created_at: int
    due_at: int


class Due(NamedTuple):
    """A delivery as it is sent."""

    number: int
    id: str
    execution_id: str
    event: str
    body: str
    attempts: int
    created_at: int


class Outcome(NamedTuple):
    """How an attempt ended, and what becomes of the delivery and of its webhook."""

    webhook_id: str
    execution_id: str
    number: int
    status: str
    attempts: int
    due_at: int
    response_code: int
    reason: str | None
    disable: str | None
    rest_until: int


# Subscriptions ------------------------------------------------------------------------------


def add(connection: Connection, webhook: Webhook) -> None:
    """Keep a new webhook."""
    connection.execute(insert(tables.webhooks).values(id=webhook.id, **_columns(webhook)))


def get(connection: Connection, webhook_id: str) -> Webhook:
    """The webhook with this id. Raises NotFound."""
    return _one(connection, select(tables.webhooks), webhook_id)


def lock(connection: Connection, webhook_id: str) -> Webhook:
    """The webhook with this id, which nobody else changes until the transaction ends. Raises NotFound."""
    return _one(connection, select(tables.webhooks).with_for_update(key_share=True), webhook_id)


def save(connection: Connection, webhook: Webhook) -> None:
    """Write back a webhook that ``lock`` gave."""
    connection.execute(update(tables.webhooks).where(_HOOK.id == webhook.id).values(**_columns(webhook)))


def remove(connection: Connection, webhook_id: str) -> None:
    """Delete a webhook with its deliveries. Raises NotFound."""
    get(connection, webhook_id)
    connection.execute(delete(tables.webhooks).where(_HOOK.id == webhook_id))


def every(connection: Connection, *, after: str = "", limit: int | None = None) -> list[Webhook]:
    """The webhooks whose id follows ``after``, the oldest first."""
    query = select(tables.webhooks).where(_HOOK.id > after).order_by(_HOOK.id).limit(limit)
    return [_webhook(row) for row in connection.execute(query)]


def listening(connection: Connection) -> list[Webhook]:
    """All but the disabled: for them events are written. None is deleted until the transaction ends."""
    query = select(tables.webhooks).where(_HOOK.status != "disabled").order_by(_HOOK.id)
    return [_webhook(row) for row in connection.execute(query.with_for_update(read=True, key_share=True))]


def is_wanted(connection: Connection, event: str) -> bool:
    """Return whether any webhook that is not disabled subscribes to ``event``. Takes no lock."""
    query = exists().where(_HOOK.status != "disabled", _HOOK.events.contains(f'"{event}"'))
    return bool(connection.scalar(select(query)))


def next_sequence(connection: Connection, execution_id: str, events: int) -> int:
    """Number the next ``events`` events of a locked execution, and return the first number."""
    table = tables.executions
    query = update(table).where(table.c.id == execution_id).values(sequence=table.c.sequence + events)
    latest = connection.execute(query.returning(table.c.sequence)).scalar_one()
    return int(latest) - events + 1


# The outbox ---------------------------------------------------------------------------------


def enqueue(connection: Connection, rows: Sequence[NewDelivery]) -> None:
    """Write an execution's deliveries in the transaction of what they tell, due after those before them."""
    if not rows:
        return
    # One look-up in the index for each webhook: a paused one may have any number of events.
    latest = _latest_due(_HOOK.id, rows[0].execution_id)
    due = select(_HOOK.id, latest).where(_HOOK.id.in_({row.webhook_id for row in rows}))
    waiting = {row[0]: row[1] or 0 for row in connection.execute(due)}
    values = [{**row._asdict(), "due_at": max(row.due_at, waiting.get(row.webhook_id, 0))} for row in rows]
    connection.execute(insert(tables.deliveries), values)


def page(
    connection: Connection, webhook_id: str, *, status: str | None, before: int | None, limit: int
) -> tuple[list[Row[Any]], int | None]:
    """A webhook's deliveries without their bodies, the newest first, and the cursor of the next page."""
    query = (
        select(*_LISTED).where(_ROW.webhook_id == webhook_id).order_by(_ROW.number.desc()).limit(limit + 1)
    )
    if status is not None:
        query = query.where(_is(status))
    if before is not None:
        query = query.where(_ROW.number < before)
    rows = list(connection.execute(query))
    return rows[:limit], rows[limit - 1].number if len(rows) > limit else None


def replay(connection: Connection, webhook_id: str, delivery_id: str | None, now: int) -> int:
    """Make deliveries pending again: one whatever its end, or all that failed. Answers how many.

    Raises NotFound where the webhook has no such delivery.
    """
    mine = _ROW.webhook_id == webhook_id
    which = _is("failed") if delivery_id is None else _ROW.id == delivery_id
    if delivery_id is not None and not connection.scalar(select(exists().where(mine, which))):
        raise NotFound(f"The webhook has no delivery {delivery_id[:100]}.")
    values = {"status": "pending", "attempts": 0, "due_at": now}
    found = connection.execute(update(tables.deliveries).where(mine, which).values(**values))
    return found.rowcount


# Sending ------------------------------------------------------------------------------------


def claimable(connection: Connection, now: int) -> list[str]:
    """Webhooks that have something due and that nobody holds; looks without a lock."""
    return list(connection.scalars(select(_HOOK.id).where(_is_free(now), _has_due(now)).limit(100)))


def claim(connection: Connection, owner: str, now: int, until: int) -> None:
    """Take the lease of webhooks that have something due and that nobody holds; passes over locked ones."""
    free = select(_HOOK.id).where(_is_free(now), _has_due(now)).limit(100)
    unlocked = free.with_for_update(skip_locked=True, key_share=True, of=tables.webhooks)
    found = list(connection.scalars(unlocked))
    connection.execute(
        update(tables.webhooks).where(_HOOK.id.in_(found)).values(leased_by=owner, leased_until=until)
    )


def hold(connection: Connection, owner: str, outcomes: Sequence[Outcome]) -> None:
    """Lock the owner's webhooks and those of outcomes, to be called before any of their rows is written.

    Who deletes a webhook locks it first and its deliveries after it: in another order, each would wait for
    the other.
    """
    wanted = or_(_HOOK.leased_by == owner, _HOOK.id.in_({each.webhook_id for each in outcomes}))
    query = select(_HOOK.id).where(wanted).order_by(_HOOK.id)
    connection.execute(query.with_for_update(key_share=True))


def renew(connection: Connection, owner: str, now: int, until: int) -> None:
    """Extend the owner's leases, those that have not run out."""
    mine = and_(_HOOK.leased_by == owner, _HOOK.leased_until > now)
    connection.execute(update(tables.webhooks).where(mine).values(leased_until=until))


def secrets(connection: Connection) -> list[str]:
    """Return the secrets of all webhooks, encrypted."""
    return list(connection.scalars(select(_HOOK.secret).order_by(_HOOK.id)))


def lock_all(connection: Connection) -> list[Webhook]:
    """Return all webhooks, locked until the transaction ends."""
    query = select(tables.webhooks).order_by(_HOOK.id).with_for_update(key_share=True)
    return [_webhook(row) for row in connection.execute(query)]


def rest(connection: Connection, webhook_id: str, until: int, reason: str) -> None:
    """Send nothing to a webhook until then, and show why."""
    values = {"resume_at": until, "reason": reason}
    is_active = and_(_HOOK.id == webhook_id, _HOOK.status == "active")
    connection.execute(update(tables.webhooks).where(is_active).values(**values))


def release(connection: Connection, owner: str, webhook_ids: Collection[str]) -> None:
    """Give leases back."""
    mine = and_(_HOOK.leased_by == owner, _HOOK.id.in_(webhook_ids))
    connection.execute(update(tables.webhooks).where(mine).values(leased_until=0))


def held(connection: Connection, owner: str, now: int) -> list[tuple[Webhook, int]]:
    """The webhooks that the owner holds, as they are now, with the end of each lease."""
    query = select(tables.webhooks).where(_HOOK.leased_by == owner, _HOOK.leased_until > now)
    return [(_webhook(row), row.leased_until) for row in connection.execute(query)]


def due(connection: Connection, webhook_id: str, busy: Collection[str], now: int, limit: int) -> list[Due]:
    """Deliveries to send now, in order; none of an execution that is ``busy`` or waits for a retry."""
    # An expression, not the column: so the index by number is followed, in which ``due_at`` is, too.
    is_due = _ROW.due_at + 0 <= now
    query = (
        select(*(_ROW[name] for name in Due._fields))
        .where(_ROW.webhook_id == webhook_id, _ROW.status == PENDING, is_due)
        .where(_latest_due(webhook_id, _ROW.execution_id) <= now)
        .order_by(_ROW.number)
        .limit(limit)
    )
    if busy:
        query = query.where(_ROW.execution_id.not_in(busy))
    return [Due(*row) for row in connection.execute(query)]


def record(connection: Connection, outcomes: Sequence[Outcome], now: int) -> None:
    """Write how attempts ended: what waits makes the rest of its execution wait, too."""
    if not outcomes:
        return
    table = tables.deliveries
    fields = ("status", "attempts", "due_at", "response_code", "reason")
    connection.execute(
        update(table)
        .where(_ROW.number == bindparam("its_number"), _ROW.status == "pending")
        .values(**{name: bindparam(f"new_{name}") for name in fields}),
        [
            {"its_number": each.number, **{f"new_{name}": getattr(each, name) for name in fields}}
            for each in outcomes
        ],
    )
    for each in outcomes:
        if each.status == "pending":
            rest = and_(_ROW.webhook_id == each.webhook_id, _ROW.execution_id == each.execution_id)
            connection.execute(
                update(table)
                .where(rest, _ROW.status == PENDING, _ROW.due_at < each.due_at)
                .values(due_at=each.due_at)
            )
    _record_health(connection, outcomes, now)


def _record_health(connection: Connection, outcomes: Iterable[Outcome], now: int) -> None:
    """Since when a webhook fails, until when it rests, and that it is disabled."""
    by_webhook: dict[str, list[Outcome]] = {}
    for each in outcomes:
        by_webhook.setdefault(each.webhook_id, []).append(each)
    for webhook_id, ends in by_webhook.items():
        this = update(tables.webhooks).where(_HOOK.id == webhook_id)
        if any(each.status == "delivered" for each in ends):
            connection.execute(this.where(_HOOK.failing_since.is_not(None)).values(failing_since=None))
            rested = and_(_HOOK.status == "active", _HOOK.reason.is_not(None))
            connection.execute(this.where(rested).values(reason=None))
        if ends[-1].status != "delivered":
            connection.execute(this.where(_HOOK.failing_since.is_(None)).values(failing_since=now))
        if rest := max(each.rest_until for each in ends):
            connection.execute(this.where(_HOOK.resume_at < rest).values(resume_at=rest))
        reasons = [each.disable for each in ends if each.disable]
        if reasons:
            connection.execute(this.values(status="disabled", status_since=now, reason=reasons[0]))
            connection.execute(
                update(tables.deliveries)
                .where(_ROW.webhook_id == webhook_id, _ROW.status == PENDING)
                .values(status="failed", due_at=now, reason="the webhook was disabled")
            )


def ended(connection: Connection, now: int, limit: int) -> list[int]:
    """Return the numbers of at most ``limit`` deliveries that ended long enough ago to be deleted."""
    found: list[int] = []
    for status, kept in KEPT.items():
        old = select(_ROW.number).where(_ROW.status == tables.constant(status), _ROW.due_at < now - kept)
        found += connection.scalars(old.order_by(_ROW.due_at).limit(limit - len(found)))
    return found


def forget(connection: Connection, numbers: Sequence[int]) -> None:
    """Delete these deliveries, except those that are sent again."""
    connection.execute(delete(tables.deliveries).where(_ROW.number.in_(numbers), _ROW.status != "pending"))


def failed_tests(connection: Connection, execution_id: str, limit: int) -> list[wire.FailedTest]:
    """The first failed tests of an execution, of their names the first ``MAX_NAME`` characters."""
    tests, failed, details = tables.tests.c, tables.results.c, tables.result_details.c
    rows = connection.execute(
        select(*(func.substr(tests[name], 1, MAX_NAME).label(name) for name in ("title", "file")))
        .add_columns(details.error, failed.shard_id)
        .join_from(tables.executions, tables.results, tables.executions.c.number == failed.execution)
        .join(tables.tests, tests.id == failed.test_id)
        .join(
            tables.result_details,
            and_(details.execution == failed.execution, details.sequence == failed.sequence),
        )
        .where(tables.executions.c.id == execution_id, *has_status("failed"), failed.is_superseded.is_(False))
        .order_by(failed.sequence)
        .limit(limit)
    )
    return [
        wire.FailedTest(title=row.title, file=row.file, error=row.error, shard=row.shard_id) for row in rows
    ]


def _is_free(now: int) -> Any:
    return and_(_HOOK.status == "active", _HOOK.resume_at <= now, _HOOK.leased_until <= now)


def _is(status: str) -> Any:
    """The condition of the index of pending deliveries, or of that of all others."""
    return (
        _ROW.status == PENDING if status == "pending" else and_(_ROW.status == status, _ROW.status != PENDING)
    )


def _has_due(now: int) -> Any:
    # LIMIT keeps a planner without statistics from a join, for which it may read all pending deliveries.
    first = select(_ROW.number).where(_ROW.webhook_id == _HOOK.id, _ROW.status == PENDING, _ROW.due_at <= now)
    return first.limit(1).correlate(tables.webhooks).scalar_subquery().is_not(None)


def _latest_due(webhook_id: Any, execution_id: Any) -> Any:
    """Until when the pending events of an execution wait, as a subquery; NULL if there are none."""
    pending = tables.deliveries.alias("waiting")
    query = select(func.max(pending.c.due_at)).where(
        pending.c.webhook_id == webhook_id,
        pending.c.execution_id == execution_id,
        pending.c.status == PENDING,
    )
    return query.correlate(tables.webhooks, tables.deliveries).scalar_subquery()


def _one(connection: Connection, query: Select[Any], webhook_id: str) -> Webhook:
    known = "\x00" not in webhook_id  # PostgreSQL takes no NUL, not even to look for
    row = connection.execute(query.where(_HOOK.id == webhook_id)).one_or_none() if known else None
    if row is None:
        raise NotFound(f"There is no webhook {webhook_id[:100]}.")
    return _webhook(row)


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
    "failing_since",
    "validated_at",
    "resume_at",
)


def _columns(webhook: Webhook) -> dict[str, Any]:
    return {
        **{name: getattr(webhook, name) for name in _PLAIN},
        **{
            name: msgspec.json.encode(getattr(webhook, name)).decode()
            for name in ("events", "headers", "retry", "filters", "extra")
        },
    }


def _webhook(row: Row[Any]) -> Webhook:
    columns = row._mapping  # SQLAlchemy's public name for it
    return Webhook(
        id=columns["id"],
        **{name: columns[name] for name in _PLAIN},
        events=msgspec.json.decode(columns["events"], type=tuple[str, ...]),
        headers=msgspec.json.decode(columns["headers"] or "{}", type=dict[str, str]),
        retry=msgspec.json.decode(columns["retry"], type=wire.RetryPolicy),
        filters=msgspec.json.decode(columns["filters"], type=wire.WebhookFilters),
        extra=msgspec.json.decode(columns["extra"]),
    )
