"""Assignments of shards to runners, so that repeated and late reports of a runner reach its shard."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, exists, insert, or_, select

from pytest_tms.server.store import tables

_RUNNER = tables.runners.c
_SHARD = tables.shards.c


_FIND_ALL = select(tables.runners).where(  # made once: see ``executions``
    _RUNNER.execution_id.in_(bindparam("its_executions", expanding=True)),
    _RUNNER.runner.in_(bindparam("its_runners", expanding=True)),
)

_ADD = insert(tables.runners)


class Assignment(NamedTuple):
    """The shard that was assigned to a runner, and the number of the attempt."""

    shard_id: str
    attempt: int


class StoredAssignment(NamedTuple):
    """The shard that was assigned to a runner that requested the shard ``requested``."""

    requested: str
    shard_id: str
    attempt: int


def find_all(
    connection: Connection, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], list[StoredAssignment]]:
    """Return the assignments of (execution id, runner) pairs."""
    found: dict[tuple[str, str], list[StoredAssignment]] = {}
    ids, names = sorted({each[0] for each in wanted}), sorted({each[1] for each in wanted} - {""})
    if names:
        for row in connection.execute(_FIND_ALL, {"its_executions": ids, "its_runners": names}):
            assignment = StoredAssignment(row.requested, row.shard_id, row.attempt)
            found.setdefault((row.execution_id, row.runner), []).append(assignment)
    return found


def find(connection: Connection, execution_id: str, runner: str, shard_id: str) -> Assignment | None:
    """Return the assignment of a runner for a shard id: the requested one, or else the assigned one."""
    query = select(_RUNNER.requested, _RUNNER.shard_id, _RUNNER.attempt).where(
        _RUNNER.execution_id == execution_id,
        _RUNNER.runner == runner,
        or_(_RUNNER.requested == shard_id, _RUNNER.shard_id == shard_id),
    )
    rows = connection.execute(query).all()
    found = sorted(rows, key=lambda row: row.requested != shard_id)
    return Assignment(found[0].shard_id, found[0].attempt) if found else None


def add(connection: Connection, execution_id: str, runner: str, requested: str, assigned: Assignment) -> None:
    """Store the assignment of a runner that requested the shard ``requested``."""
    connection.execute(_ADD, _row(execution_id, runner, requested, assigned))


def add_all(connection: Connection, assigned: Sequence[tuple[str, str, Assignment]]) -> None:
    """Store the assignments of runners that were assigned the shards that they requested.

    ``assigned`` are (execution id, runner, assignment).
    """
    if assigned:
        connection.execute(_ADD, [_row(name, runner, each.shard_id, each) for name, runner, each in assigned])


def is_superseded(connection: Connection, execution_id: str, runner: str) -> bool:
    """Return whether other runners run all shards that were assigned to a runner."""
    assigned = select(_RUNNER.shard_id).where(_RUNNER.execution_id == execution_id, _RUNNER.runner == runner)
    own = exists().where(_SHARD.execution_id == execution_id, _SHARD.runner == runner)
    return bool(connection.scalar(select(assigned.exists() & ~own)))


def was_assigned(connection: Connection, execution_id: str, requested: str, shard_id: str) -> bool:
    """Return whether ``shard_id`` was assigned to any runner that requested ``requested``."""
    query = select(_RUNNER.runner).where(
        _RUNNER.execution_id == execution_id, _RUNNER.requested == requested, _RUNNER.shard_id == shard_id
    )
    return connection.execute(query.limit(1)).one_or_none() is not None


def assigned(
    connection: Connection, execution_id: str, runner: str | None, shard_ids: Collection[str]
) -> set[str]:
    """Return the shards that were assigned to a runner for requested ones; unassigned ids are unchanged."""
    if runner is None or not shard_ids:
        return set(shard_ids)
    query = select(_RUNNER.requested, _RUNNER.shard_id).where(
        _RUNNER.execution_id == execution_id, _RUNNER.runner == runner
    )
    names = {row.requested: row.shard_id for row in connection.execute(query)}
    return {names.get(each, each) for each in shard_ids}


def _row(execution_id: str, runner: str, requested: str, assigned: Assignment) -> dict[str, object]:
    return {
        "execution_id": execution_id,
        "runner": runner,
        "requested": requested,
        "shard_id": assigned.shard_id,
        "attempt": assigned.attempt,
    }
