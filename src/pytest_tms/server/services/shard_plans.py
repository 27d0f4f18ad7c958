"""How long the tests that shards ran should have taken by the plan of the execution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import Connection

from pytest_tms.division import Setup, estimate, find_setups
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.store import plans, shard_times

MAX_PLANNED = 20_000
"""Results of an execution whose planned times are computed."""


def planned_times(connection: Connection, execution: Execution, workers: Mapping[str, int]) -> dict[str, int]:
    """Return how long the tests of each shard take by the plan, in milliseconds by shard id.

    ``workers`` is the number of processes of each shard. The result is empty if there is no plan, if the
    shards took their tests from a queue, or if the execution has more than ``MAX_PLANNED`` results.
    """
    if execution.queue_state is not None or execution.results.total > MAX_PLANNED:
        return {}
    plan = plans.get(connection, execution.number)
    if plan is None or not plan.durations.by_test:
        return {}
    by_shard: defaultdict[str, list[str]] = defaultdict(list)
    for shard_id, nodeid in shard_times.tests_by_shard(connection, execution.number, MAX_PLANNED):
        by_shard[shard_id].append(nodeid)
    names = [nodeid for some in by_shard.values() for nodeid in some]
    weights = estimate([(nodeid, "") for nodeid in names], plan.durations.by_test)
    known = [Setup(each.node, each.fixture, each.duration) for each in plan.durations.setups]
    setups = find_setups(dict.fromkeys(names), known) if known else {}
    found = {}
    for shard_id, own in by_shard.items():
        needed = frozenset[Setup]().union(*(setups.get(nodeid, frozenset()) for nodeid in own))
        time = sum(weights[nodeid, ""] for nodeid in own) + sum(setup.duration for setup in needed)
        found[shard_id] = round(time / max(1, workers.get(shard_id, 1)))
    return found
