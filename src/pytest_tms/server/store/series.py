"""Series: the runs of one suite, environment and branch of a project, which are compared with each other.

A run without results does not count, nor one that was cancelled or is an infrastructure failure: see
``domain.flakiness``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, not_, select

from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.flakiness import INFRASTRUCTURE_PERCENT, MIN_INFRASTRUCTURE_TESTS
from pytest_tms.server.domain.series import base_branches
from pytest_tms.server.domain.states import ENDED
from pytest_tms.server.store import execution_lists, tables
from pytest_tms.server.store.execution_lists import ListedExecution

CANDIDATES = 50
"""Runs of a series that are read to find one to compare with."""

_TABLE = tables.executions.c


def find_previous(connection: Connection, execution: Execution) -> int:
    """Return the number of the run that an execution is compared with, 0 if there is none.

    It is the latest earlier run of its suite, environment and branch, else of its base branch.
    """
    branch = connection.scalar(select(_TABLE.branch).where(_TABLE.id == execution.id)) or ""
    for name in (branch, *base_branches(execution.metadata, branch)):
        query = _runs(execution.project_id, execution.test_suite, execution.environment, name)
        query = query.where(_TABLE.number < execution.number)
        if found := _usable(connection, query, 1):
            return found[0]
    return 0


def latest(
    connection: Connection, project_id: int, suite: str, environment: str, branches: Sequence[str], limit: int
) -> list[int]:
    """Return the numbers of the latest runs of a suite and environment, those of the first branch first."""
    found: list[int] = []
    for branch in branches:
        if len(found) < limit:
            query = _runs(project_id, suite, environment, branch)
            found += _usable(connection, query, limit - len(found))
    return found


def branch_of(connection: Connection, number: int) -> str:
    """Return the branch of an execution, empty if it has none."""
    return connection.scalar(select(_TABLE.branch).where(_TABLE.number == number)) or ""


def up_to(connection: Connection, number: int, limit: int) -> list[int]:
    """Return the numbers of the runs of a series from one of them backwards, that one included."""
    row = connection.execute(
        select(_TABLE.project_id, _TABLE.test_suite, _TABLE.environment, _TABLE.branch).where(
            _TABLE.number == number
        )
    ).one_or_none()
    if row is None:
        return []
    return _usable(connection, _runs(*row).where(_TABLE.number <= number), limit)


def previous(connection: Connection, number: int) -> int:
    """Return the number of the run that an execution is compared with, 0 if there is none."""
    return int(connection.scalar(select(_TABLE.previous).where(_TABLE.number == number)) or 0)


def latest_ended(
    connection: Connection, project: str, suite: str, environments: Sequence[str], branch: str
) -> ListedExecution | None:
    """Return the latest run of a suite and branch that has ended, in any of the environments.

    Of each environment the latest ``CANDIDATES`` runs are searched.
    """
    project_id = connection.scalar(select(tables.projects.c.id).where(tables.projects.c.name == project))
    if project_id is None:
        return None
    numbers = [
        int(row.number)
        for environment in environments
        for row in connection.execute(_runs(project_id, suite, environment, branch))
    ]
    found = execution_lists.by_number(connection, numbers)
    ended = [found[number] for number in sorted(found) if found[number].status in ENDED]
    return ended[-1] if ended else None


def is_infrastructure_failure() -> ColumnElement[bool]:
    """Return the condition that most tests of an execution failed."""
    return and_(
        _TABLE.total >= MIN_INFRASTRUCTURE_TESTS,
        _TABLE.failed * 100 >= _TABLE.total * INFRASTRUCTURE_PERCENT,
    )


def _runs(project_id: int, suite: str, environment: str, branch: str) -> Select[Any]:
    """Return a query of the runs of a series, the newest first, by their index."""
    is_usable = and_(_TABLE.status != "cancelled", not_(is_infrastructure_failure()))
    return (
        select(_TABLE.number, is_usable.label("is_usable"))
        .where(
            _TABLE.project_id == project_id,
            _TABLE.test_suite == suite,
            _TABLE.environment == environment,
            _TABLE.branch == branch,
            _TABLE.results_stored > tables.constant(0),
            _TABLE.deleted_at.is_(None),
        )
        .order_by(_TABLE.number.desc())
        .limit(CANDIDATES)
    )


def _usable(connection: Connection, query: Select[Any], limit: int) -> list[int]:
    rows: Sequence[Row[Any]] = connection.execute(query).all()
    return [int(row.number) for row in rows if row.is_usable][:limit]
