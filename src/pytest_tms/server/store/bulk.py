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
        yield from _fetch(connection, text, parameters)


def numbers(connection: Connection, statement: str, leading: Sequence[Any]) -> set[int]:
    """Return the different values of the only column of a statement: see ``rows``."""
    return {row[0] for row in rows(connection, statement, leading)}


def rows(connection: Connection, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement, which has ``{}`` at each parameter."""
    place = "%s" if connection.dialect.name == "postgresql" else "?"
    return _fetch(connection, statement.replace("{}", place), tuple(parameters))


def execute(connection: Connection, statement: str, leading: Sequence[Any], values: Iterable[Any]) -> None:
    """Run a statement for many values, which is written as for ``select``."""
    for text, parameters in _batches(connection, statement, leading, values):
        connection.exec_driver_sql(text, parameters)


def pairs(
    connection: Connection,
    statement: str,
    leading: Sequence[Any],
    values: Iterable[tuple[Any, Any]],
    types: tuple[str, str],
    *,
    index: str = "",
) -> Iterator[Any]:
    """Yield the rows of a statement for many pairs of values, each of which an index finds.

    ``statement`` selects ``FROM {pairs} CROSS JOIN`` a table, and then has ``{}`` at each of the parameters
    ``leading``; the columns of ``pairs`` are ``one`` and ``other``. ``types`` are the names of their types
    in PostgreSQL. ``index`` is as for ``select``, of ``JOIN results``.
    """
    is_postgresql = connection.dialect.name == "postgresql"
    if index and not is_postgresql:
        statement = statement.replace("JOIN results", f"JOIN results INDEXED BY {index}")
    remaining = iter(values)
    while some := list(islice(remaining, VALUES_PER_QUERY // 2)):
        if is_postgresql:
            table = f"unnest(%s::{types[0]}[], %s::{types[1]}[]) AS pairs(one, other)"
            parameters: tuple[Any, ...] = tuple(list(column) for column in zip(*some, strict=True))
            place = "%s"
        else:
            places = ", ".join(["(?, ?)"] * len(some))
            table = f"(SELECT column1 AS one, column2 AS other FROM (VALUES {places})) AS pairs"  # noqa: S608  # `places` has only question marks
            parameters = tuple(value for pair in some for value in pair)
            place = "?"
        text = statement.replace("{pairs}", table).replace("{}", place)
        yield from _fetch(connection, text, (*parameters, *leading))


def _fetch(connection: Connection, text: str, parameters: tuple[Any, ...]) -> list[Any]:
    """Return the rows of a statement as tuples of the driver.

    SQLAlchemy takes longer to make a row than the database to find it.
    """
    result = connection.exec_driver_sql(text, parameters)
    found = list(result.cursor.fetchall())
    result.close()
    return found


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
