"""Partitions on PostgreSQL: made ahead, and dropped when none of their executions is left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.domain import clock
from pytest_tms.server.store import event_partitions, partitions
from pytest_tms.server.store.database import Database

LOG = logging.getLogger("pytest_tms.server")
TRIES = 3
"""Partitions of a table that one call adds at most."""


def add_partitions(database: Database) -> list[str]:
    """Add the partitions that will be needed soon, and return their names.

    Raises:
        ServiceUnavailable: Other queries hold the table for too long; the next call tries again.
    """
    if database.is_sqlite:
        return []
    return [*_add(database, partitions.add_next), *_add(database, event_partitions.add_next)]


def drop_deleted(database: Database) -> int:
    """Drop the partitions of which every execution is marked as deleted, and return their number.

    A partition that other queries hold for too long is left; its rows are then deleted one by one.
    """
    if database.is_sqlite:
        return 0
    with database.read() as connection:
        documents = partitions.deleted(connection)
        events = event_partitions.deleted(connection)
    dropped = [
        *(_drop(database, each.name, partial(partitions.drop, partition=each)) for each in documents),
        *(_drop(database, each.name, partial(event_partitions.drop, partition=each)) for each in events),
    ]
    return sum(dropped)


def drop_expired_events(database: Database, before: int) -> int:
    """Drop the partitions of which every event was received before a time; return the number of events."""
    if database.is_sqlite:
        return 0
    with database.read() as connection:
        found = event_partitions.expired(connection, before)
    events = 0
    for each, count in found:
        if _drop(database, each.name, partial(event_partitions.drop_expired, partition=each, before=before)):
            events += count
    return events


def _add(database: Database, add_next: Callable[[Connection, int], str | None]) -> list[str]:
    added: list[str] = []
    while len(added) < TRIES:
        with database.write() as connection:
            name = add_next(connection, clock.now())
        if name is None:
            break
        added.append(name)
    return added


def _drop(database: Database, name: str, drop: Callable[[Connection], bool]) -> bool:
    """Drop a partition, and return whether that was done: not if it is in use."""
    try:
        with database.write() as connection:
            return drop(connection)
    except ServiceUnavailable:
        LOG.info("the partition %s is in use, so its rows are deleted one by one", name)
        return False
