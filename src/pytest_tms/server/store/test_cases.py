"""Test cases of projects: those of a plan, and those whose ids tests carry."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from pytest_tms.server.domain.case_ids import MAX_CASES
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.store import bulk, tables, test_lists
from pytest_tms.server.store.case_links import has_test, insert

RANGE = 50_000
"""Numbers of cases that one page of a list searches; the next page continues there."""
MAX_TESTS = 50
"""Tests of a case that are read."""

Kind = Literal["", "planned", "missing", "unplanned"]
"""Which cases a list has: all, those of a plan, those of it without a test, or those that no plan has."""

_CASE, _LINK = tables.test_cases.c, tables.test_case_links.c


class TestCase(NamedTuple):
    """A test case. ``title`` is empty unless the plan of the project has one."""

    number: int
    project_id: int
    project: str
    case_id: str
    title: str
    is_planned: bool


@dataclass(frozen=True, kw_only=True)
class CaseFilter:
    """Which cases a list has; what is empty excludes none.

    ``q`` is a part of the id or the title, without regard to case; ``case_id`` is a whole id.
    """

    project: str = ""
    q: str = ""
    case_id: str = ""
    kind: Kind = ""


class PlanChange(NamedTuple):
    """How many cases an import added to the plan of a project, changed in it, and removed from it."""

    added: int
    changed: int
    removed: int


def replace_plan(connection: Connection, project_id: int, plan: Sequence[tuple[str, str]]) -> PlanChange:
    """Replace the plan of a project by (id, title) of its cases; cases that tests name stay without it."""
    query = select(_CASE.id, _CASE.case_id, _CASE.title).where(
        _CASE.project_id == project_id, _CASE.is_planned.is_(True)
    )
    planned = {row.case_id: (row.id, row.title) for row in connection.execute(query)}
    new = insert(connection)(tables.test_cases)
    changed = [each for each in plan if each[0] not in planned or planned[each[0]][1] != each[1]]
    if changed:
        upsert = new.on_conflict_do_update(
            index_elements=["project_id", "case_id"],
            set_={"title": new.excluded.title, "is_planned": True},
        )
        values = [
            {"project_id": project_id, "case_id": case_id, "title": title, "is_planned": True}
            for case_id, title in changed
        ]
        connection.execute(upsert, values)
    kept = {case_id for case_id, _ in plan}
    removed = [number for case_id, (number, _) in planned.items() if case_id not in kept]
    for statement in (
        "DELETE FROM test_cases WHERE project_id = {} AND id IN {} "
        "AND NOT EXISTS (SELECT 1 FROM test_case_links WHERE case_number = test_cases.id)",
        "UPDATE test_cases SET title = '', is_planned = false WHERE project_id = {} AND id IN {}",
    ):
        bulk.execute(connection, statement, (project_id,), removed)
    added = sum(case_id not in planned for case_id, _ in changed)
    return PlanChange(added, len(changed) - added, len(removed))


def find(
    connection: Connection, wanted: CaseFilter, *, after: int, limit: int
) -> tuple[list[TestCase], int | None]:
    """Return cases in the order in which they were added, and the cursor of the next page or None.

    ``after`` is 0 on the first page. A page may have fewer than ``limit`` and yet a cursor.
    """
    high = after + RANGE
    conditions = [_CASE.id > after, _CASE.id <= high, *_conditions(connection, wanted)]
    if wanted.project:
        names = tables.projects.c
        project_id = connection.scalar(select(names.id).where(names.name == without_nul(wanted.project)))
        if project_id is None:
            return [], None
        conditions.append(_CASE.project_id == project_id)
    query = _rows().where(*conditions).order_by(_CASE.id).limit(limit + 1)
    found = [_case(row) for row in connection.execute(query)]
    if len(found) > limit:
        return found[:limit], found[limit - 1].number
    last = int(connection.scalar(select(func.max(_CASE.id))) or 0)
    return found, high if last > high else None


def get(connection: Connection, number: int) -> TestCase | None:
    """Return a case by its number, None if there is none."""
    row = connection.execute(_rows().where(_CASE.id == number)).one_or_none()
    return None if row is None else _case(row)


def tests_of(connection: Connection, numbers: Collection[int]) -> dict[int, list[int]]:
    """Return the ids of the first ``MAX_TESTS`` tests of each case, by the number of the case."""
    found: dict[int, list[int]] = {number: [] for number in numbers}
    limit = MAX_TESTS * len(found)
    query = select(_LINK.case_number, _LINK.test_id).order_by(_LINK.case_number, _LINK.test_id)
    rows = connection.execute(query.where(_LINK.case_number.in_(found)).limit(limit)).all()
    for row in rows:
        found[row.case_number].append(row.test_id)
    if len(rows) < limit:
        return {number: some[:MAX_TESTS] for number, some in found.items()}
    return {  # cases with many tests may hide those of others
        number: [
            row.test_id
            for row in connection.execute(query.where(_LINK.case_number == number).limit(MAX_TESTS))
        ]
        for number in found
    }


def cases_of(connection: Connection, test_id: int) -> list[TestCase]:
    """Return the cases of a test."""
    query = select(_LINK.case_number).where(_LINK.test_id == test_id).order_by(_LINK.case_number)
    numbers = connection.scalars(query.limit(MAX_CASES)).all()
    rows = connection.execute(_rows().where(_CASE.id.in_(numbers)).order_by(_CASE.id)) if numbers else ()
    return [_case(row) for row in rows]


def _rows() -> Select[Any]:
    return select(
        _CASE.id,
        _CASE.project_id,
        func.coalesce(tables.projects.c.name, ""),
        _CASE.case_id,
        _CASE.title,
        _CASE.is_planned,
    ).outerjoin_from(tables.test_cases, tables.projects, tables.projects.c.id == _CASE.project_id)


def _case(row: Any) -> TestCase:
    return TestCase(row[0], row[1], row[2], row[3], row[4], bool(row[5]))


def _conditions(connection: Connection, wanted: CaseFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.q:
        text = without_nul(wanted.q.lower())
        columns = (func.lower(_CASE.case_id), func.lower(_CASE.title), _CASE.case_id, _CASE.title)
        texts = (text, text, without_nul(wanted.q), without_nul(wanted.q))  # SQLite lowers only ASCII
        found.append(
            or_(
                *(
                    test_lists.contains(connection, column, each)
                    for column, each in zip(columns, texts, strict=True)
                )
            )
        )
    if wanted.case_id:
        found.append(_CASE.case_id == without_nul(wanted.case_id))
    if wanted.kind:
        found.append(_CASE.is_planned.is_(wanted.kind != "unplanned"))
    if wanted.kind == "missing":
        found.append(~has_test())
    return found
