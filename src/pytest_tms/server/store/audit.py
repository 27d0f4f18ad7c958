"""The audit log, written in the transaction of the change that it records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, delete, insert, select

from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.store import tables

AUTHENTICATION_FAILED = "authentication.failed"
TOKEN_EXCHANGED = "token.exchanged"  # noqa: S105  # the name of an action
FREQUENT = (AUTHENTICATION_FAILED, TOKEN_EXCHANGED)
"""Actions that machines cause."""
FREQUENT_RETENTION = 30 * 86_400_000
"""Milliseconds for which entries about them are stored. All other entries are stored permanently."""

_ROW = tables.audit.c


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One entry of the log. ``at`` is milliseconds since 1970; ``details`` depend on the action."""

    number: int
    at: int
    actor: Actor
    action: str
    target: str
    details: dict[str, Any]


def add(connection: Connection, actor: Actor, action: str, target: str, now: int, **details: object) -> None:
    """Record an action of ``actor``, such as ``webhook.deleted``, on the object with the id ``target``.

    ``now`` is milliseconds since 1970.
    """
    connection.execute(
        insert(tables.audit).values(
            at=now,
            actor=actor.id,
            name=actor.name,
            action=action,
            target=target,
            request_id=actor.request_id,
            address=actor.address,
            details=msgspec.json.encode(details).decode(),
        )
    )


def page(
    connection: Connection, *, since: int = 0, before: int | None = None, limit: int
) -> tuple[list[AuditEntry], int | None]:
    """Return entries, the newest first, and the cursor of the next page, None on the last page.

    ``since`` is the earliest time in milliseconds since 1970, ``before`` the cursor.
    """
    query = select(tables.audit).order_by(_ROW.number.desc()).limit(limit + 1)
    if since:
        query = query.where(_ROW.at >= since)
    if before is not None:
        query = query.where(_ROW.number < before)
    found = [
        AuditEntry(
            number=row.number,
            at=row.at,
            actor=Actor(id=row.actor, name=row.name, request_id=row.request_id, address=row.address),
            action=row.action,
            target=row.target,
            details=msgspec.json.decode(row.details),
        )
        for row in connection.execute(query)
    ]
    return found[:limit], found[limit - 1].number if len(found) > limit else None


def actor_of(connection: Connection, action: str, target: str, at: int) -> Actor | None:
    """Return who did something at a time in milliseconds since 1970; None if it is not in the log."""
    row = connection.execute(
        select(_ROW.actor, _ROW.name)
        .where(_ROW.action == action, _ROW.at == at, _ROW.target == target)
        .limit(1)
    ).one_or_none()
    return None if row is None else Actor(id=row.actor, name=row.name)


def delete_expired(connection: Connection, now: int) -> None:
    """Delete entries about ``FREQUENT`` actions that are older than ``FREQUENT_RETENTION``."""
    for action in FREQUENT:
        old = and_(_ROW.action == action, _ROW.at < now - FREQUENT_RETENTION)
        connection.execute(delete(tables.audit).where(old))
