"""How long tests take: medians over the latest runs of a series."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection

from pytest_tms.server.store import bulk
from pytest_tms.server.store.results import STATUSES

MAX_RESULTS = 400_000
"""Results of all runs that are read."""

_RESULTS = (
    "SELECT test_id, status, duration FROM results "
    "WHERE execution = {} AND NOT is_superseded ORDER BY sequence LIMIT {}"
)


def medians(connection: Connection, runs: Sequence[int]) -> dict[str, int]:
    """Return the median duration of each test in runs, given by their numbers, in milliseconds by node id.

    Passed results count, of a test that never passed those that failed. A test that was only skipped takes no
    time. Tests whose node id was not sent are left out.
    """
    passed: defaultdict[int, list[int]] = defaultdict(list)
    failed: defaultdict[int, list[int]] = defaultdict(list)
    skipped: set[int] = set()
    left = MAX_RESULTS
    for run in runs:
        rows = bulk.rows(connection, _RESULTS, (run, left))
        for test_id, status, duration in rows:
            if status == STATUSES.index("skipped"):
                skipped.add(test_id)
            else:
                (passed if status == STATUSES.index("passed") else failed)[test_id].append(duration)
        left -= len(rows)
        if left <= 0:
            break
    found = dict.fromkeys(skipped, 0)
    for some in (failed, passed):
        found.update({test_id: int(statistics.median_low(values)) for test_id, values in some.items()})
    names = "SELECT id, node_id FROM tests WHERE node_id > {} AND id IN {}"
    return {row[1]: found[row[0]] for row in bulk.select(connection, names, ("",), found)}
