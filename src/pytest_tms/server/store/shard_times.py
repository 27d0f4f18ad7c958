"""When the tests of shards ran, and which ones: queries of one execution, given by its number."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from pytest_tms.server.store import bulk, tables

_R = tables.results.c


class ResultTimes(NamedTuple):
    """The results of a shard: their number, and when the first began, in milliseconds since 1970 if known.

    ``longest`` is the greatest duration in milliseconds, ``workers`` the number of processes.
    """

    tests: int
    start: int | None
    longest: int
    workers: int


def result_times(connection: Connection, execution: int) -> dict[str, ResultTimes]:
    """Return the times of the results of each shard of an execution that have some, by shard id."""
    query = (
        select(
            _R.shard_id,
            func.count(),
            func.min(_R.started_at),
            func.max(_R.duration),
            func.count(_R.worker.distinct()),
        )
        .where(_R.execution == execution, _R.is_superseded.is_(False))
        .group_by(_R.shard_id)
    )
    return {row[0]: ResultTimes(row[1], row[2], row[3], max(1, row[4])) for row in connection.execute(query)}


def tests_by_shard(connection: Connection, execution: int, limit: int) -> list[tuple[str, str]]:
    """Return the shard ids and node ids of the first results that have a node id."""
    statement = (
        "SELECT r.shard_id, t.node_id FROM results AS r JOIN tests AS t ON t.id = r.test_id "
        "WHERE r.execution = {} AND NOT r.is_superseded AND t.node_id <> '' ORDER BY r.sequence LIMIT {}"
    )
    return [(row[0], row[1]) for row in bulk.rows(connection, statement, (execution, limit))]
