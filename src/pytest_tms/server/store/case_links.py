"""Which tests carry the ids of which cases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, select
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tms.server.store import bulk, tables

_CASE, _LINK = tables.test_cases.c, tables.test_case_links.c


def link(connection: Connection, project_id: int, found: Sequence[tuple[int, str]]) -> None:
    """Replace the cases of tests: (id of the test, JSON list of the ids of its cases)."""
    if not found:
        return
    decoded = {test_id: msgspec.json.decode(text, type=list[str]) for test_id, text in found}
    names = sorted({name for some in decoded.values() for name in some})
    if names:
        new = [{"project_id": project_id, "case_id": name} for name in names]
        connection.execute(insert(connection)(tables.test_cases).on_conflict_do_nothing(), new)
    statement = "SELECT case_id, id FROM test_cases WHERE project_id = {} AND case_id IN {}"
    numbers = {row[0]: row[1] for row in bulk.select(connection, statement, (project_id,), names)}
    unlinked = "DELETE FROM test_case_links WHERE test_id >= {} AND test_id IN {}"
    bulk.execute(connection, unlinked, (0,), sorted(decoded))
    rows = [
        {"case_number": numbers[name], "test_id": test_id}
        for test_id, some in sorted(decoded.items())
        for name in some
    ]
    if rows:
        connection.execute(insert(connection)(tables.test_case_links).on_conflict_do_nothing(), rows)


def unlink(connection: Connection, test_ids: Collection[int]) -> None:
    """Delete the links of deleted tests, and cases that neither a test nor a plan has any more."""
    is_of_tests = _LINK.test_id.in_(test_ids)
    numbers = connection.scalars(select(_LINK.case_number).where(is_of_tests).distinct()).all()
    connection.execute(delete(tables.test_case_links).where(is_of_tests))
    is_left = and_(_CASE.id.in_(numbers), _CASE.is_planned.is_(False), ~has_test())
    connection.execute(delete(tables.test_cases).where(is_left))


def has_test() -> ColumnElement[bool]:
    """Return the condition that a test carries the id of a case."""
    return exists().where(_LINK.case_number == _CASE.id)


def has_no_case() -> ColumnElement[bool]:
    """Return the condition that a test carries the id of no case."""
    return ~exists().where(_LINK.test_id == tables.tests.c.id)


def insert(connection: Connection) -> Callable[..., Any]:
    """Return the function that makes an INSERT of the database in use, which can meet conflicts."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
