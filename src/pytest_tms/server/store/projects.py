"""Projects: groups of executions and tests that share one history."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tms.server.store import tables


def name_of(connection: Connection, project_id: int) -> str:
    """Return the name of a project; empty if it does not exist."""
    table = tables.projects.c
    return connection.scalar(select(table.name).where(table.id == project_id)) or ""


def find(connection: Connection, name: str) -> int | None:
    """Return the id of the project with this name; None if it does not exist."""
    return connection.scalar(select(tables.projects.c.id).where(tables.projects.c.name == name))


def identify(connection: Connection, name: str, now: int) -> int:
    """Return the id of the project with this name; add the project if it does not exist."""
    query = select(tables.projects.c.id).where(tables.projects.c.name == name)
    found = connection.scalar(query)
    if found is None:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(insert(tables.projects).values(name=name, created_at=now).on_conflict_do_nothing())
        found = connection.scalar(query)
    assert found is not None  # noqa: S101  # for the type checker: it was added, by this or another
    return int(found)
