"""Webhook deliveries: the outbox that transactions write to, the due deliveries, and their outcomes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    select,
    tuple_,
    update,
)

from pytest_tms.errors import NotFound
from pytest_tms.server.domain.delivery_policy import RETENTION, Decision, Subscription, after_attempts
from pytest_tms.server.store import sealed, tables, webhooks

PENDING = tables.constant("pending")

_HOOK = tables.webhooks.c
_ROW = tables.deliveries.c
_LISTED = tuple(column for column in _ROW if column.name not in ("body", "sealed"))


class NewDelivery(NamedTuple):
    """A delivery as it is inserted; the columns of the table. Times are milliseconds since 1970."""

    id: str
    webhook_id: str
    execution_id: str
    event: str
    body: str
    status: str
    created_at: int
    due_at: int


class DueDelivery(NamedTuple):
    """A delivery as it is sent. ``attempts`` is the number of attempts so far."""

    number: int
    id: str
    execution_id: str
    event: str
    body: str
    attempts: int
    created_at: int


class Outcome(NamedTuple):
    """The outcome of one attempt: the response of the endpoint, and the decision that follows."""

    webhook_id: str
    execution_id: str
    number: int
    attempts: int
    decision: Decision
    response_code: int
    reason: str | None


# The outbox ---------------------------------------------------------------------------------


def next_sequence(connection: Connection, execution_id: str, events: int) -> int:
    """Number the next ``events`` events of a locked execution, and return the first number."""
    table = tables.executions
    query = update(table).where(table.c.id == execution_id).values(sequence=table.c.sequence + events)
    latest = connection.execute(query.returning(table.c.sequence)).scalar_one()
    return int(latest) - events + 1


def enqueue(connection: Connection, rows: Sequence[NewDelivery]) -> None:
    """Insert the deliveries of one execution in the transaction of the change that they report.

    A delivery is not due before the pending ones of the same execution and webhook, which keeps their order.
    """
    if not rows:
        return
    # One look-up in the index for each webhook: a paused one may have any number of events.
    latest = _latest_due(connection, rows[0].execution_id)
    query = select(_HOOK.id, latest).where(_HOOK.id.in_({row.webhook_id for row in rows}))
    pending = {row[0]: row[1] or 0 for row in connection.execute(query)}
    values = []
    for row in rows:
        (body,), encrypted = sealed.seal(connection, sealed.DELIVERIES, (row.id,), (row.body,))
        due_at = max(row.due_at, pending.get(row.webhook_id, 0))
        values.append({**row._asdict(), "due_at": due_at, "body": body, "sealed": encrypted})
    connection.execute(insert(tables.deliveries), values)


def page(
    connection: Connection, webhook_id: str, *, status: str | None, before: int | None, limit: int
) -> tuple[list[Row[Any]], int | None]:
    """Return a webhook's deliveries without their bodies, the newest first, and the cursor of the next page.

    The cursor is None on the last page.
    """
    query = (
        select(*_LISTED).where(_ROW.webhook_id == webhook_id).order_by(_ROW.number.desc()).limit(limit + 1)
    )
    if status is not None:
        query = query.where(_has_status(status))
    if before is not None:
        query = query.where(_ROW.number < before)
    rows = list(connection.execute(query))
    return rows[:limit], rows[limit - 1].number if len(rows) > limit else None


def get(connection: Connection, webhook_id: str, delivery_id: str) -> tuple[Row[Any], str]:
    """Return a delivery of a webhook, and its body.

    Raises:
        NotFound: The webhook has no such delivery.
    """
    query = select(tables.deliveries).where(_ROW.id == delivery_id, _ROW.webhook_id == webhook_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"The webhook has no delivery {delivery_id[:100]}.")
    return row, _body(connection, row)


def replay(connection: Connection, webhook_id: str, delivery_id: str | None, now: int) -> int:
    """Make one delivery pending again, or all failed ones if ``delivery_id`` is None; return how many.

    Raises:
        NotFound: The webhook has no such delivery.
    """
    is_own = _ROW.webhook_id == webhook_id
    is_selected = _has_status("failed") if delivery_id is None else _ROW.id == delivery_id
    if delivery_id is not None and not connection.scalar(select(exists().where(is_own, is_selected))):
        raise NotFound(f"The webhook has no delivery {delivery_id[:100]}.")
    values = {"status": "pending", "attempts": 0, "due_at": now}
    return connection.execute(update(tables.deliveries).where(is_own, is_selected).values(**values)).rowcount


# Sending ------------------------------------------------------------------------------------


def due(
    connection: Connection,
    webhook_id: str,
    busy: Collection[str],
    now: int,
    limit: int,
    *,
    after: int = 0,
) -> list[DueDelivery]:
    """Return the deliveries to send now, in order, of those with a number larger than ``after``.

    None belongs to an execution in ``busy``, or to one with an earlier delivery that waits for a retry.
    """
    # An expression, not the column: so the index by number is followed, in which ``due_at`` is, too.
    is_due = _ROW.due_at + 0 <= now
    query = (
        select(*(_ROW[name] for name in DueDelivery._fields), _ROW.sealed)
        .where(_ROW.webhook_id == webhook_id, _ROW.status == PENDING, is_due)
        .where(_later_due(connection, webhook_id, now).is_(None))
        .order_by(_ROW.number)
        .limit(limit)
    )
    if after:
        query = query.where(_ROW.number > after)
    if busy:
        query = query.where(_ROW.execution_id.not_in(busy))
    return [
        DueDelivery(*row[:-1])._replace(body=_body(connection, row))
        for row in connection.execute(query).all()
    ]


def record(connection: Connection, owner: str, outcomes: Sequence[Outcome], now: int) -> None:
    """Store the outcomes of attempts, and the state of their webhooks that follows from them.

    ``owner`` is the lease holder, all of whose webhooks are locked first. A delivery that waits for a retry
    delays the later ones of its execution.
    """
    locked = webhooks.lock_leased(connection, owner, {each.webhook_id for each in outcomes})
    if not outcomes:
        return
    if connection.dialect.name == "postgresql":
        columns: Any = zip(*(_values(each) for each in outcomes), strict=True)
        connection.exec_driver_sql(_RECORD, tuple(map(list, columns)))
    else:
        _record_each(connection, outcomes)
    for each in outcomes:
        if each.decision.status == "pending":
            _postpone(connection, each)
    _save_webhooks(connection, locked, outcomes, now)


# One statement for all rows: a statement for each takes three times as long.
_RECORD = (
    "UPDATE deliveries SET status = v.status, due_at = v.due_at, attempts = v.attempts, "
    "response_code = v.response_code, reason = v.reason "
    "FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::integer[], %s::integer[], %s::text[]) "
    "AS v(number, status, due_at, attempts, response_code, reason) "
    "WHERE deliveries.number = v.number AND deliveries.status = 'pending'"
)


def _values(outcome: Outcome) -> tuple[Any, ...]:
    decision = outcome.decision
    return (
        outcome.number,
        decision.status,
        decision.due_at,
        outcome.attempts,
        outcome.response_code,
        outcome.reason,
    )


def _record_each(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    connection.execute(
        update(tables.deliveries)
        .where(_ROW.number == bindparam("its_number"), _ROW.status == "pending")
        .values(
            status=bindparam("new_status"),
            due_at=bindparam("new_due_at"),
            **{name: bindparam(f"new_{name}") for name in ("attempts", "response_code", "reason")},
        ),
        [
            {
                "its_number": each.number,
                "new_status": each.decision.status,
                "new_due_at": each.decision.due_at,
                "new_attempts": each.attempts,
                "new_response_code": each.response_code,
                "new_reason": each.reason,
            }
            for each in outcomes
        ],
    )


def _postpone(connection: Connection, retried: Outcome) -> None:
    """Let the pending deliveries of an execution wait for the retry of one of them."""
    is_same = and_(_ROW.webhook_id == retried.webhook_id, _ROW.execution_id == retried.execution_id)
    due_at = retried.decision.due_at
    query = update(tables.deliveries).where(is_same, _ROW.status == PENDING, _ROW.due_at < due_at)
    connection.execute(query.values(due_at=due_at))


def _save_webhooks(
    connection: Connection, locked: Mapping[str, Subscription], outcomes: Sequence[Outcome], now: int
) -> None:
    """Update the webhooks of these outcomes; fail the pending deliveries of a disabled webhook."""
    for webhook_id, webhook in locked.items():
        decisions = [each.decision for each in outcomes if each.webhook_id == webhook_id]
        changed = after_attempts(webhook, decisions, now)
        if changed != webhook:
            webhooks.save(connection, changed)
        if any(decision.disable for decision in decisions):
            connection.execute(
                update(tables.deliveries)
                .where(_ROW.webhook_id == webhook_id, _ROW.status == PENDING)
                .values(status="failed", due_at=now, reason="the webhook was disabled")
            )


# Retention ----------------------------------------------------------------------------------


def expired(connection: Connection, now: int, limit: int) -> list[int]:
    """Return the numbers of at most ``limit`` deliveries whose retention has ended."""
    found: list[int] = []
    for status, retention in RETENTION.items():
        old = select(_ROW.number).where(_ROW.status == tables.constant(status), _ROW.due_at < now - retention)
        found += connection.scalars(old.order_by(_ROW.due_at).limit(limit - len(found)))
    return found


def delete_expired(connection: Connection, numbers: Sequence[int]) -> None:
    """Delete these deliveries, except those that have become pending again."""
    connection.execute(delete(tables.deliveries).where(_ROW.number.in_(numbers), _ROW.status != "pending"))


def _body(connection: Connection, row: Any) -> str:
    """Return the body of a row with the columns id, body and sealed."""
    return sealed.opened(connection, sealed.DELIVERIES, (row.id,), (row.body,), row.sealed)[0] or ""


def _has_status(status: str) -> Any:
    """Return a condition that follows the partial index of pending deliveries, or that of all others."""
    return (
        _ROW.status == PENDING if status == "pending" else and_(_ROW.status == status, _ROW.status != PENDING)
    )


_WAITING = tables.deliveries.alias("waiting")
_WAITING_ORDER = (_WAITING.c.execution_id, _WAITING.c.webhook_id, _WAITING.c.due_at)
"""The columns of ``ix_deliveries_waiting``."""


def _latest_due(connection: Connection, execution_id: str) -> Any:
    """Return a subquery for the latest ``due_at`` of the pending deliveries of an execution to a webhook.

    It is NULL if there are none.
    """
    waiting = _waiting(connection, bindparam(None, execution_id), _HOOK.id, -1)
    query = waiting.order_by(*(column.desc() for column in _WAITING_ORDER)).limit(1)
    return query.correlate(tables.webhooks).scalar_subquery()


def _later_due(connection: Connection, webhook_id: str, now: int) -> Any:
    """Return a subquery for a pending delivery of the same execution that is due later; NULL if none is."""
    waiting = _waiting(connection, _ROW.execution_id, bindparam(None, webhook_id), now)
    return waiting.order_by(*_WAITING_ORDER).limit(1).correlate(tables.deliveries).scalar_subquery()


def _waiting(connection: Connection, execution_id: Any, webhook_id: Any, after: int) -> Select[Any]:
    """Return a query for the pending deliveries of an execution to a webhook that are due after a time."""
    query = select(_WAITING.c.due_at).where(_WAITING.c.status == PENDING)
    execution, webhook, due_at = _WAITING_ORDER
    if connection.dialect.name == "sqlite":
        return query.where(execution == execution_id, webhook == webhook_id, due_at > after)
    # PostgreSQL compares rows by no index but that of these columns. For equal columns it may choose the one
    # by time, and read all pending deliveries of the webhook for each of them.
    return query.where(
        tuple_(execution, webhook, due_at) > tuple_(execution_id, webhook_id, bindparam(None, after)),
        tuple_(execution, webhook) <= tuple_(execution_id, webhook_id),
    )
