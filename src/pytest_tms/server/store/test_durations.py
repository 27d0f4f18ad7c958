"""How long tests and the setups of shared fixtures take: medians over the latest runs of a series."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.store import bulk, renames
from pytest_tms.server.store.results import STATUSES

MAX_RESULTS = 400_000
"""Results of all runs that are read."""
MAX_SETUPS = 100_000
"""Setups of all runs that are read."""


class SetupMedian(NamedTuple):
    """The setup of a shared fixture: see ``wire.SharedSetup``. ``duration`` is in milliseconds."""

    scope: wire.SetupScope
    node: str
    fixture: str
    duration: int


class Medians(NamedTuple):
    """Milliseconds of tests by node id, without shared setups, and the setups."""

    by_test: Mapping[str, int]
    setups: Sequence[SetupMedian]


_Key = tuple[wire.SetupScope, str, str]
_RESULTS = (
    "SELECT sequence, test_id, status, duration FROM results "
    "WHERE execution = {} AND NOT is_superseded ORDER BY sequence LIMIT {}"
)
_SETUPS = (
    "SELECT s.sequence, s.scope, s.node, s.fixture, s.duration, r.shard_id, r.worker "
    "FROM shared_setups AS s JOIN results AS r ON r.execution = s.execution AND r.sequence = s.sequence "
    "WHERE s.execution = {} AND NOT r.is_superseded ORDER BY s.sequence LIMIT {}"
)


def medians(connection: Connection, runs: Sequence[int]) -> Medians:
    """Return the median durations of tests and setups in runs, given by their numbers.

    Passed results count, of a test that never passed those that failed. A test that was only skipped takes no
    time. Tests whose node id was not sent are left out. A test that was renamed has the duration of its
    earlier name until it has its own. A setup takes the median of the processes that ran tests of a run.
    """
    passed: defaultdict[int, list[int]] = defaultdict(list)
    failed: defaultdict[int, list[int]] = defaultdict(list)
    setups: defaultdict[_Key, list[int]] = defaultdict(list)
    skipped: set[int] = set()
    left, left_setups = MAX_RESULTS, MAX_SETUPS
    for run in runs:
        if left <= 0:
            break
        parts, number = _add_setups(connection, run, left_setups, setups)
        left_setups -= number
        rows = bulk.rows(connection, _RESULTS, (run, left))
        for sequence, test_id, status, duration in rows:
            if status == STATUSES.index("skipped"):
                skipped.add(test_id)
            else:
                own = max(0, duration - parts.get(sequence, 0))
                (passed if status == STATUSES.index("passed") else failed)[test_id].append(own)
        left -= len(rows)
    found = dict.fromkeys(skipped, 0)
    for some in (failed, passed):
        found.update({test_id: int(statistics.median_low(values)) for test_id, values in some.items()})
    for later, earlier in renames.later_names(connection, found):
        found.setdefault(later, found[earlier])
    names = "SELECT id, node_id FROM tests WHERE node_id > {} AND id IN {}"
    return Medians(
        {row[1]: found[row[0]] for row in bulk.select(connection, names, ("",), found)},
        [
            SetupMedian(scope, node, fixture, int(statistics.median_low(values)))
            for (scope, node, fixture), values in sorted(setups.items())
        ],
    )


def _add_setups(
    connection: Connection, run: int, limit: int, setups: Mapping[_Key, list[int]]
) -> tuple[dict[int, int], int]:
    """Add the medians of the setups of a run; return their sums by result, and how many were read."""
    by_result: defaultdict[int, int] = defaultdict(int)
    by_process: defaultdict[_Key, defaultdict[tuple[str, str | None], int]]
    by_process = defaultdict(lambda: defaultdict(int))
    rows = bulk.rows(connection, _SETUPS, (run, max(0, limit)))
    for sequence, scope, node, fixture, duration, shard_id, worker in rows:
        by_result[sequence] += duration
        by_process[scope, node, fixture][shard_id, worker] += duration
    for key, processes in by_process.items():
        setups[key].append(int(statistics.median_low(processes.values())))
    return by_result, len(rows)
