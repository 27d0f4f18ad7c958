"""Copies of a whole database into an empty one, of the same or of the other kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Table, delete, func, select, text
from sqlalchemy.exc import DataError, IntegrityError

from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.store import bulk, partitions, tables
from pytest_tms.server.store.database import Database, lock_exclusively

BATCH = 500
"""Rows that are in memory at a time."""
SEEDED = frozenset({"blob_usage", "leases", "schema_compatibility"})
"""Tables in which an empty database has rows."""
NUMBERS = "execution_numbers"
"""PostgreSQL's sequence of the numbers of executions; SQLite takes the next number after the largest one."""

Progress = Callable[[str, int], None]
"""Is called with the name of a table and its number of rows when it has been copied."""


def copy(source: Database, target: Database, progress: Progress) -> None:
    """Copy all tables in one transaction of the target, and compare the numbers of rows.

    The source is read as it is at one moment. If anything fails, the target remains empty. Both databases
    have the schema of this version.

    Raises:
        ValueError: The target is not empty, or has another number of rows afterwards, or the source has
            changed meanwhile. The message is one sentence.
        ServiceUnavailable: A database does not respond.
    """
    with target.write() as writing:
        lock_exclusively(writing)
        _check_empty(target, writing)
        with source.snapshot() as reading:
            if writing.dialect.name == "postgresql":
                partitions.cover(writing, reading.scalar(select(func.max(tables.executions.c.number))) or 0)
            before = _latest(reading)
            for table in tables.metadata.sorted_tables:
                try:
                    progress(table.name, _copy_table(reading, writing, table))
                except (DataError, IntegrityError) as error:
                    reason = str(error.orig).strip().partition("\n")[0]
                    raise ValueError(
                        f"the table {table.name} cannot be copied ({reason}): nothing was copied"
                    ) from error
        with source.read() as reading:
            if _latest(reading) != before:
                raise ValueError(
                    f"the database {source.describe()} has changed during the copy: nothing was copied; stop "
                    "the servers that use it, and copy again"
                )
        if writing.dialect.name == "postgresql":
            _set_sequences(writing)


def _latest(connection: Connection) -> list[int | None]:
    """Return numbers that grow with what servers store."""
    executions = tables.executions.c
    columns = [
        func.sum(executions.version),
        func.max(executions.number),
        func.max(tables.events.c.id),
        func.max(tables.deliveries.c.number),
        func.max(tables.audit.c.number),
    ]
    return [connection.scalar(select(column)) for column in columns]


def _check_empty(database: Database, connection: Connection) -> None:
    for table in tables.metadata.sorted_tables:
        if _has_rows(connection, table):
            raise ValueError(
                f"the database {database.describe()} is not empty (it has rows in {table.name}): copy into a "
                "new one"
            )


def _has_rows(connection: Connection, table: Table) -> bool:
    return table.name not in SEEDED and connection.execute(select(table).limit(1)).first() is not None


def _copy_table(reading: Connection, writing: Connection, table: Table) -> int:
    """Copy a table in batches, and return its number of rows."""
    columns = [f'"{column.name}"' for column in table.columns]
    is_postgresql = writing.dialect.name == "postgresql"
    writing.execute(delete(table))
    copied = 0
    found = reading.execution_options(stream_results=True, max_row_buffer=BATCH).execute(select(table))
    for some in found.partitions(BATCH):
        rows = [_without_nul(row) if is_postgresql else tuple(row) for row in some]
        bulk.insert(writing, table.name, columns, rows)
        copied += len(rows)
    stored = writing.execute(select(func.count()).select_from(table)).scalar_one()
    expected = reading.execute(select(func.count()).select_from(table)).scalar_one()
    if not copied == stored == expected:
        raise ValueError(
            f"the table {table.name} has {expected} rows, but {stored} were stored: nothing was copied, so "
            "try again"
        )
    return copied


def _without_nul(row: Sequence[Any]) -> tuple[Any, ...]:
    """Return a row without NUL characters, which PostgreSQL does not store in texts."""
    return tuple(without_nul(value) if isinstance(value, str) else value for value in row)


def _set_sequences(connection: Connection) -> None:
    """Set the sequences of PostgreSQL so that the next numbers follow the largest one of each table."""
    for table in tables.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None or not isinstance(column.type.dialect_impl(connection.dialect), Integer):
            continue
        sequence = connection.scalar(
            text("SELECT pg_get_serial_sequence(:table, :column)"),
            {"table": table.name, "column": column.name},
        )
        if sequence is not None:
            _set(connection, sequence, connection.scalar(select(func.max(column))))
    _set(connection, NUMBERS, connection.scalar(select(func.max(tables.executions.c.number))))


def _set(connection: Connection, sequence: str, largest: int | None) -> None:
    connection.execute(
        text("SELECT setval(cast(:sequence AS regclass), :value, :is_used)"),
        {"sequence": sequence, "value": largest or 1, "is_used": bool(largest)},
    )
