"""Partitions on PostgreSQL: made ahead, and dropped when none of their executions is left."""

from __future__ import annotations

import logging

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.domain import clock
from pytest_tms.server.store import partitions
from pytest_tms.server.store.database import Database

LOG = logging.getLogger("pytest_tms.server")
TRIES = 3
"""Partitions that one call adds at most."""


def add_partitions(database: Database) -> list[str]:
    """Add the partitions that will be needed soon, and return their names.

    Raises:
        ServiceUnavailable: Other queries hold the table for too long; the next call tries again.
    """
    added: list[str] = []
    while not database.is_sqlite and len(added) < TRIES:
        with database.write() as connection:
            name = partitions.add_next(connection, clock.now())
        if name is None:
            break
        added.append(name)
    return added


def drop_deleted(database: Database) -> int:
    """Drop the partitions of which every execution is marked as deleted, and return their number.

    A partition that other queries hold for too long is left; its rows are then deleted one by one.
    """
    if database.is_sqlite:
        return 0
    with database.read() as connection:
        found = partitions.deleted(connection)
    dropped = 0
    for each in found:
        try:
            with database.write() as connection:
                partitions.drop(connection, each)
        except ServiceUnavailable:
            LOG.info("the partition %s is in use, so its rows are deleted one by one", each.name)
            continue
        dropped += 1
    return dropped
