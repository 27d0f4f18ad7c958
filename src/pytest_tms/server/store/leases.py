"""Leases: which process runs a job that only one process at a time may run, and when it last finished."""

from __future__ import annotations

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tms.server.store import tables

_LEASE = tables.leases.c


def last_run(connection: Connection, name: str) -> int:
    """Return when a job last finished, in milliseconds since 1970; 0 for never."""
    return connection.scalar(select(_LEASE.done_at).where(_LEASE.name == name)) or 0


def take(connection: Connection, name: str, owner: str, now: int, until: int) -> bool:
    """Take or renew a lease until a time; return whether the caller has it."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = insert(tables.leases).values(name=name, owner="", leased_until=0).on_conflict_do_nothing()
    connection.execute(new)
    is_free = or_(_LEASE.owner == owner, _LEASE.leased_until < now)
    query = update(tables.leases).where(_LEASE.name == name, is_free)
    return connection.execute(query.values(owner=owner, leased_until=until)).rowcount == 1


def finish(connection: Connection, name: str, owner: str, done_at: int | None) -> None:
    """Return a lease; ``done_at`` is when the job finished, None if it did not."""
    values = {"leased_until": 0} if done_at is None else {"leased_until": 0, "done_at": done_at}
    connection.execute(
        update(tables.leases).where(_LEASE.name == name, _LEASE.owner == owner).values(**values)
    )
