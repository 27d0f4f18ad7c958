"""Executions that are written into a database with nothing that belongs to them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, insert

from pytest_tms.server.domain import clock
from pytest_tms.server.store import tables


def add_execution(
    connection: Connection, execution_id: str, number: int, age: int = 0, **values: Any
) -> None:
    """Add a completed execution that was created ``age`` milliseconds ago."""
    row = {column.name: _empty(column) for column in tables.executions.c if not column.nullable}
    made = {
        "id": execution_id,
        "number": number,
        "status": "completed",
        "created_at": clock.now() - age,
    }
    connection.execute(insert(tables.executions).values({**row, **made, **values}))


def _empty(column: Column[Any]) -> Any:
    kind = column.type.python_type
    return kind() if kind in (int, bool) else ""
