"""Partitions of the documents of results on PostgreSQL, by the numbers of executions, which grow with time.

Retention drops a partition of which no execution is left, instead of deleting its rows. SQLite has no
partitions: there, nothing here is called.

An existing table becomes the first partition without being rewritten. The check constraint that proves that
its rows belong there is validated while others read and write.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from pytest_tms.server.store import tables

TABLE = "result_documents"
FIRST, DEFAULT = f"{TABLE}_first", f"{TABLE}_default"
CHECK = "ck_result_documents_first"
MARGIN = 1_000
"""Executions that the first partition can still receive."""
SMALLEST, LARGEST = 1_000, 1_000_000
"""Executions of a partition."""
DAYS = 7
"""Days whose executions a partition has, about."""
LOCK_TIMEOUT = "2s"
"""How long a change of partitions waits for queries, and lets later ones wait; it is tried again later."""
MAX_PARTITIONS = 500
"""Partitions that are looked at."""


class Partition(NamedTuple):
    """A partition with the executions from ``first`` to before ``end``; ``first`` is 0 for the first one."""

    name: str
    first: int
    end: int


def is_pending(connection: Connection) -> bool:
    """Return whether the table is still to be partitioned."""
    return connection.dialect.name == "postgresql" and kind(connection, TABLE) == "r"


def move(connection: Connection) -> None:
    """Do the next step of partitioning the table, each in a transaction of its own."""
    is_valid = is_validated(connection, CHECK)
    if is_valid is None:
        numbers = tables.executions.c.number
        end = int(connection.scalar(select(func.coalesce(func.max(numbers), 0))) or 0) + MARGIN
        connection.execute(
            text(f"ALTER TABLE {TABLE} ADD CONSTRAINT {CHECK} CHECK (execution < {end}) NOT VALID")
        )
    elif not is_valid:
        connection.execute(text(f"ALTER TABLE {TABLE} VALIDATE CONSTRAINT {CHECK}"))
    else:
        _attach(connection)


def partitions(connection: Connection) -> list[Partition]:
    """Return the partitions in their order, without that of all other executions."""
    found = [Partition(name, int(first or 0), int(end)) for name, first, end in bounds(connection, TABLE)]
    return sorted(found, key=lambda each: each.first)


def bounds(connection: Connection, table: str) -> list[tuple[str, str, str]]:
    """Return the name, the first value and the value after the last of each partition of a table.

    The first value is empty if the partition has none. The partition of all other values is left out.
    """
    rows = connection.execute(
        text(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits AS i "
            "JOIN pg_class AS c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = to_regclass(:name) LIMIT :most"
        ),
        {"name": table, "most": MAX_PARTITIONS},
    )
    found = []
    for name, bound in rows:
        if bound != "DEFAULT":
            first, _, end = bound.removeprefix("FOR VALUES FROM (").removesuffix(")").partition(") TO (")
            found.append((name, "" if first == "MINVALUE" else first.strip("'"), end.strip("'")))
    return found


def kind(connection: Connection, table: str) -> str:
    """Return the kind of a relation, as PostgreSQL names it; empty if there is none."""
    query = text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:name)")
    return str(connection.scalar(query, {"name": table}) or "")


def is_validated(connection: Connection, constraint: str) -> bool | None:
    """Return whether existing rows satisfy a check constraint; None if it does not exist."""
    query = text("SELECT convalidated FROM pg_constraint WHERE conname = :name")
    found: bool | None = connection.scalar(query, {"name": constraint})
    return found


def add_next(connection: Connection, now: int) -> str | None:
    """Add the next partition if the last one will soon be full, and return its name.

    ``now`` is in milliseconds since 1970. Executions that have no partition are in that of all others.
    """
    known = partitions(connection)
    if not known:
        return None
    numbers, created = tables.executions.c.number, tables.executions.c.created_at
    latest = int(connection.scalar(select(func.coalesce(func.max(numbers), 0))) or 0)
    # An index has the numbers and not the times, so the time of one execution is looked up.
    sample = max(1, latest - SMALLEST)
    earlier = select(numbers, created).where(numbers >= sample).order_by(numbers).limit(1)
    row = connection.execute(earlier).one_or_none()
    span = max(1, now - row.created_at) if row is not None else 1
    in_period = (latest - row.number) * DAYS * 86_400_000 // span if row is not None else 0
    width = min(max(in_period, SMALLEST), LARGEST)
    if known[-1].end - latest > width:
        return None
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"LOCK TABLE {DEFAULT} IN ACCESS EXCLUSIVE MODE"))
    others = int(connection.scalar(text(f"SELECT coalesce(max(execution), 0) FROM {DEFAULT}")) or 0)  # noqa: S608  # a constant name
    first = max(known[-1].end, others + 1)
    return _create(connection, first, first + width)


def cover(connection: Connection, number: int) -> None:
    """Create the partition that is missing for executions up to ``number``. The table must be empty."""
    end = partitions(connection)[-1].end
    if number >= end:
        _create(connection, end, number + MARGIN)


def deleted(connection: Connection) -> list[Partition]:
    """Return the partitions of which every execution is deleted or marked so, and none will follow."""
    numbers, deleted_at = tables.executions.c.number, tables.executions.c.deleted_at
    latest = int(connection.scalar(select(func.coalesce(func.max(numbers), 0))) or 0)
    found = []
    for each in partitions(connection):
        if each.end > latest:
            break
        is_left = (
            select(numbers)
            .where(numbers >= each.first, numbers < each.end, deleted_at.is_(None))
            .order_by(numbers)
            .limit(1)
        )
        if connection.scalar(is_left) is None:
            found.append(each)
    return found


def drop(connection: Connection, partition: Partition) -> bool:
    """Delete a partition with its rows, unless another process has; return True."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"DROP TABLE IF EXISTS {partition.name}"))
    return True


def _create(connection: Connection, first: int, end: int) -> str:
    name = f"{TABLE}_{first}"
    connection.execute(text(f"CREATE TABLE {name} PARTITION OF {TABLE} FOR VALUES FROM ({first}) TO ({end})"))
    return name


def _attach(connection: Connection) -> None:
    """Make the table the first partition of a new one of its name."""
    bound = connection.scalar(
        text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name"), {"name": CHECK}
    )
    end = int("".join(character for character in str(bound) if character.isdigit()))
    key = "PRIMARY KEY (execution, first)"
    for statement in (
        f"ALTER TABLE {TABLE} RENAME TO {FIRST}",
        f"ALTER TABLE {FIRST} RENAME CONSTRAINT pk_{TABLE} TO pk_{FIRST}",
        f"CREATE TABLE {TABLE} (LIKE {FIRST} INCLUDING DEFAULTS INCLUDING STORAGE, "
        f"CONSTRAINT pk_{TABLE} {key}) PARTITION BY RANGE (execution)",
        f"ALTER TABLE {TABLE} ATTACH PARTITION {FIRST} FOR VALUES FROM (MINVALUE) TO ({end})",
        f"ALTER TABLE {FIRST} DROP CONSTRAINT {CHECK}",
        f"CREATE TABLE {DEFAULT} PARTITION OF {TABLE} DEFAULT",
    ):
        connection.execute(text(statement))
