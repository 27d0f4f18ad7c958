"""Many rows at once, in the way that is fastest on each database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, OperationalError

VALUES_PER_QUERY = 5_000
"""Values that one query looks for."""


def insert(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows that violate no constraint, in their order. Names of tables and columns are our own."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        _copy(connection, f"COPY {table} ({', '.join(columns)}) FROM STDIN", rows)
    else:
        places = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608  # names of our own tables
        connection.exec_driver_sql(statement, list(rows))


def insert_new(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows in their order, and leave out those whose unique values exist already."""
    if not rows:
        return
    place = "%s" if connection.dialect.name == "postgresql" else "?"
    places = ", ".join([place] * len(columns))
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places}) ON CONFLICT DO NOTHING"  # noqa: S608  # names of our own tables
    connection.exec_driver_sql(statement, list(rows))


def select(
    connection: Connection, statement: str, leading: Sequence[Any], values: Iterable[Any], *, index: str = ""
) -> Iterator[Any]:
    """Yield the rows of a statement for many values.

    ``statement`` has ``{}`` at each of the parameters ``leading``, in their order, and then ``IN {}`` at the
    values. ``index`` is the one of ``FROM results`` that SQLite must use: without statistics it reads all
    results of an execution to find a few tests.
    """
    if index and connection.dialect.name == "sqlite":
        statement = re.sub(r"FROM results( AS \w)?", rf"\g<0> INDEXED BY {index}", statement, count=1)
    for text, parameters in _batches(connection, statement, leading, values):
        yield from connection.exec_driver_sql(text, parameters).all()


def numbers(connection: Connection, statement: str, leading: Sequence[Any]) -> set[int]:
    """Return the different values of the only column of a statement: see ``rows``."""
    return {row[0] for row in rows(connection, statement, leading)}


def rows(connection: Connection, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement, which has ``{}`` at each parameter.

    The driver's own cursor is used: SQLAlchemy takes longer for a row than the database.
    """
    place = "%s" if connection.dialect.name == "postgresql" else "?"
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement.replace("{}", place), tuple(parameters))
        return list(cursor.fetchall())
    finally:
        cursor.close()


def execute(connection: Connection, statement: str, leading: Sequence[Any], values: Iterable[Any]) -> None:
    """Run a statement for many values, which is written as for ``select``."""
    for text, parameters in _batches(connection, statement, leading, values):
        connection.exec_driver_sql(text, parameters)


def _batches(
    connection: Connection, statement: str, leading: Sequence[Any], values: Iterable[Any]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    is_postgresql = connection.dialect.name == "postgresql"
    remaining = iter(values)
    while some := list(islice(remaining, VALUES_PER_QUERY)):
        if is_postgresql:
            yield statement.replace("IN {}", "= ANY({})").replace("{}", "%s"), (*leading, some)
        else:
            places = ", ".join("?" * len(some))
            yield statement.replace("IN {}", f"IN ({places})").replace("{}", "?"), (*leading, *some)


def _copy(connection: Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    import psycopg

    cursor = connection.connection.cursor()
    try:
        with cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.OperationalError as error:  # the driver's own call, so not translated by SQLAlchemy
        raise OperationalError(statement, None, error) from error
    except psycopg.DataError as error:
        raise DataError(statement, None, error) from error
    finally:
        cursor.close()
