"""Partitions of the events of executions on PostgreSQL, by the ids of executions, which begin with a time.

Retention drops a partition of which no execution is left, or of which every event is old, instead of deleting
its rows. SQLite has no partitions: there, nothing here is called.

The id of an event is unique in each partition, and in the table because one sequence gives all of them.
Servers of earlier versions read and write the partitioned table as they do one without partitions.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, text

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.domain.ids import first_id
from pytest_tms.server.store import tables
from pytest_tms.server.store.partitions import LOCK_TIMEOUT, bounds, is_validated, kind

TABLE = "events"
FIRST, DEFAULT = f"{TABLE}_first", f"{TABLE}_default"
CHECK = "ck_events_first"
MARGIN = DAY
"""Milliseconds in which the first partition still receives new executions."""
PERIOD = 7 * DAY
"""Milliseconds whose executions a partition has, about, and in which the latest one must not end."""


class EventPartition(NamedTuple):
    """A partition with executions whose ids are from ``first`` to before ``end``.

    ``first`` is empty for the first one.
    """

    name: str
    first: str
    end: str


def is_pending(connection: Connection) -> bool:
    """Return whether the table is still to be partitioned."""
    return connection.dialect.name == "postgresql" and kind(connection, TABLE) == "r"


def move(connection: Connection) -> None:
    """Do the next step of partitioning the table, each in a transaction of its own."""
    is_valid = is_validated(connection, CHECK)
    if is_valid is None:
        end = connection.scalar(
            text("SELECT greatest(:end, max(id) || '0') FROM executions"),
            {"end": first_id("exec", clock.now() + MARGIN)},
        )
        connection.execute(
            text(f"ALTER TABLE {TABLE} ADD CONSTRAINT {CHECK} CHECK (execution_id < '{end}') NOT VALID")
        )
    elif not is_valid:
        connection.execute(text(f"ALTER TABLE {TABLE} VALIDATE CONSTRAINT {CHECK}"))
    else:
        _attach(connection)


def partitions(connection: Connection) -> list[EventPartition]:
    """Return the partitions in their order, without that of all other executions."""
    return sorted((EventPartition(*row) for row in bounds(connection, TABLE)), key=lambda each: each.first)


def add_next(connection: Connection, now: int) -> str | None:
    """Add the next partition if the last one will soon end, and return its name.

    ``now`` is in milliseconds since 1970. Executions that have no partition are in that of all others.
    """
    known = partitions(connection)
    if not known or known[-1].end > first_id("exec", now + PERIOD):
        return None
    until = (now + 2 * PERIOD) // DAY * DAY
    end = first_id("exec", until)
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    # A new partition checks this one's rows. Executions first, as transactions that store events lock them.
    connection.execute(text("LOCK TABLE executions IN SHARE ROW EXCLUSIVE MODE"))
    connection.execute(text(f"LOCK TABLE {DEFAULT} IN ACCESS EXCLUSIVE MODE"))
    others = connection.scalar(
        text(f"SELECT max(execution_id) FROM {DEFAULT} WHERE execution_id < :end"),  # noqa: S608  # a constant of this module
        {"end": end},
    )
    first = max(known[-1].end, f"{others or ''}0")
    name = f"{TABLE}_before_{datetime.fromtimestamp(until / 1000, timezone.utc):%Y%m%d}"
    _create(connection, name, f"FOR VALUES FROM ('{first}') TO ('{end}')")
    return name


def deleted(connection: Connection) -> list[EventPartition]:
    """Return the partitions of which every execution is deleted or marked so, and none will follow."""
    column = tables.executions.c
    latest = str(connection.scalar(select(func.max(column.id))) or "")
    found = []
    for each in partitions(connection):
        if each.end > latest:
            break
        is_left = (
            select(column.id)
            .where(column.id >= each.first, column.id < each.end, column.deleted_at.is_(None))
            .order_by(column.id)
            .limit(1)
        )
        if connection.scalar(is_left) is None:
            found.append(each)
    return found


def expired(connection: Connection, before: int) -> list[tuple[EventPartition, int]]:
    """Return the partitions of which every event was received before a time, with their numbers of events."""
    limit = first_id("exec", before)
    return [
        (each, int(connection.scalar(text(f"SELECT count(*) FROM {each.name}")) or 0))  # noqa: S608  # from pg_class, not from a request
        for each in partitions(connection)
        if each.end <= limit and _is_older(connection, each, before)
    ]


def drop(connection: Connection, partition: EventPartition) -> bool:
    """Delete a partition with its rows, unless another process has; return True."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"DROP TABLE IF EXISTS {partition.name}"))
    return True


def drop_expired(connection: Connection, partition: EventPartition, before: int) -> bool:
    """Delete a partition of ``expired``; return False if it has a later event by now, or is gone."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"LOCK TABLE ONLY {TABLE} IN ACCESS EXCLUSIVE MODE"))  # no event is stored now
    is_older = kind(connection, partition.name) != "" and _is_older(connection, partition, before)
    if is_older:
        connection.execute(text(f"DROP TABLE {partition.name}"))
    return is_older


def _is_older(connection: Connection, partition: EventPartition, before: int) -> bool:
    """Return whether the latest event of a partition was received before a time; true if it has none."""
    query = text(f"SELECT received_at FROM {partition.name} ORDER BY id DESC LIMIT 1")  # noqa: S608  # from pg_class, not from a request
    latest: Any = connection.scalar(query)
    return latest is None or latest < before


def _create(connection: Connection, name: str, bound: str) -> None:
    key = f"ALTER TABLE {name} ADD CONSTRAINT pk_{name} PRIMARY KEY (id)"
    connection.execute(text(f"CREATE TABLE {name} PARTITION OF {TABLE} {bound}"))
    connection.execute(text(key))


def _attach(connection: Connection) -> None:
    """Make the table the first partition of a new one of its name."""
    bound = connection.scalar(
        text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name"), {"name": CHECK}
    )
    end = str(bound).split("'")[1]
    sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": TABLE})
    foreign_key = (
        "CONSTRAINT fk_events_execution_id FOREIGN KEY (execution_id) REFERENCES executions (id) "
        "ON DELETE CASCADE"
    )
    for statement in (
        f"LOCK TABLE executions, {TABLE} IN ACCESS EXCLUSIVE MODE",  # in the order of other transactions
        f"ALTER TABLE {TABLE} RENAME TO {FIRST}",
        f"ALTER TABLE {FIRST} RENAME CONSTRAINT pk_{TABLE} TO pk_{FIRST}",
        f"ALTER INDEX ix_events_execution_id RENAME TO ix_{FIRST}_execution_id",
        f"CREATE TABLE {TABLE} (LIKE {FIRST} INCLUDING DEFAULTS INCLUDING STORAGE, {foreign_key}) "
        "PARTITION BY RANGE (execution_id)",
        f"CREATE INDEX ix_events_execution_id ON {TABLE} (execution_id, id)",
        f"ALTER SEQUENCE {sequence} OWNED BY {TABLE}.id",  # else it would be dropped with the partition
        f"ALTER TABLE {TABLE} ATTACH PARTITION {FIRST} FOR VALUES FROM (MINVALUE) TO ('{end}')",
        f"ALTER TABLE {FIRST} DROP CONSTRAINT {CHECK}",
    ):
        connection.execute(text(statement))
    _create(connection, DEFAULT, "DEFAULT")
