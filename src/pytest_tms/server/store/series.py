"""Series: the runs of one suite, environment and branch of a project, which are compared with each other.

A run without results does not count, nor one that was cancelled or is an infrastructure failure: see
``domain.flakiness``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, not_, select

from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.flakiness import INFRASTRUCTURE_PERCENT, MIN_INFRASTRUCTURE_TESTS
from pytest_tms.server.domain.series import base_branches
from pytest_tms.server.domain.states import ENDED
from pytest_tms.server.store import execution_lists, tables
from pytest_tms.server.store.execution_lists import ListedExecution

CANDIDATES = 50
"""Runs of a series that are read to find one to compare with."""

LARGEST = 2**62
"""A number that no execution has."""

_TABLE = tables.executions.c


class Series(NamedTuple):
    """The runs of a suite, environment and branch of a project."""

    project_id: int
    suite: str
    environment: str
    branch: str


def find_previous(connection: Connection, execution: Execution) -> int:
    """Return the number of the run that an execution is compared with, 0 if there is none.

    It is the latest earlier run of its suite, environment and branch, else of its base branch.
    """
    branch = connection.scalar(select(_TABLE.branch).where(_TABLE.id == execution.id)) or ""
    for name in (branch, *base_branches(execution.metadata, branch)):
        series = Series(execution.project_id, execution.test_suite, execution.environment, name)
        if found := _usable(connection, series, 1, last=execution.number - 1):
            return found[0]
    return 0


def latest(
    connection: Connection, project_id: int, suite: str, environment: str, branches: Sequence[str], limit: int
) -> list[int]:
    """Return the numbers of the latest runs of a suite and environment, those of the first branch first."""
    found: list[int] = []
    for branch in branches:
        if len(found) < limit:
            series = Series(project_id, suite, environment, branch)
            found += _usable(connection, series, limit - len(found))
    return found


def branch_of(connection: Connection, number: int) -> str:
    """Return the branch of an execution, empty if it has none."""
    return connection.scalar(select(_TABLE.branch).where(_TABLE.number == number)) or ""


def up_to(connection: Connection, number: int, limit: int) -> list[int]:
    """Return the numbers of the runs of a series from one of them backwards, that one included."""
    row = connection.execute(_SERIES_OF, {"its_number": number}).one_or_none()
    return [] if row is None else _usable(connection, Series(*row), limit, last=number)


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
        for row in _runs(connection, Series(project_id, suite, environment, branch))
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


# Statements of each live message, made once: see ``executions``.
_SERIES_OF = select(_TABLE.project_id, _TABLE.test_suite, _TABLE.environment, _TABLE.branch).where(
    _TABLE.number == bindparam("its_number")
)
_RUNS = (  # by their index
    select(
        _TABLE.number,
        and_(_TABLE.status != "cancelled", not_(is_infrastructure_failure())).label("is_usable"),
    )
    .where(
        _TABLE.project_id == bindparam("its_project"),
        _TABLE.test_suite == bindparam("its_suite"),
        _TABLE.environment == bindparam("its_environment"),
        _TABLE.branch == bindparam("its_branch"),
        _TABLE.results_stored > tables.constant(0),
        _TABLE.deleted_at.is_(None),
        _TABLE.number <= bindparam("last"),
    )
    .order_by(_TABLE.number.desc())
    .limit(CANDIDATES)
)


def _runs(connection: Connection, series: Series, last: int = LARGEST) -> Sequence[Row[Any]]:
    """Return the latest runs of a series up to the number ``last``, the newest first, with ``is_usable``."""
    project_id, suite, environment, branch = series
    keys = {"its_project": project_id, "its_suite": suite, "its_environment": environment}
    return connection.execute(_RUNS, {**keys, "its_branch": branch, "last": last}).all()


def _usable(connection: Connection, series: Series, limit: int, last: int = LARGEST) -> list[int]:
    return [int(row.number) for row in _runs(connection, series, last) if row.is_usable][:limit]
