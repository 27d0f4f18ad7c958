"""The queue of an execution as a message: what is left, and which shards collected different tests."""

from __future__ import annotations

from itertools import islice

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import queue
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.store import queues

MAX_NAMED = 20
"""Tests that a difference names."""
MAX_DIFFERENCES = 50
"""Different lists of tests that are shown."""


def queue_status(connection: Connection, execution: Execution) -> wire.QueueStatus | None:
    """Return the queue of an execution, None if it has none."""
    if execution.queue_state is None:
        return None
    found = queues.get(connection, execution.number)
    if found is None:
        return None
    return wire.QueueStatus(
        state=execution.queue_state,
        tests=found.tests,
        unclaimed=queue.size(found.free),
        left_out=found.left_out,
        differences=_differences(connection, execution.number),
    )


def _differences(connection: Connection, execution: int) -> list[wire.CollectedTests]:
    """Return the lists of tests that shards collected, if there are several."""
    found = queues.collections(connection, execution)[:MAX_DIFFERENCES]
    if len(found) < 2:
        return []
    shards: dict[int, set[str]] = {}
    for runner in queues.runners(connection, execution):
        shards.setdefault(runner.collection, set()).add(runner.shard_id)
    return [
        wire.CollectedTests(
            shards=sorted(shards.get(each.number, ())),
            tests=each.tests,
            missing=queue.size(each.lacks),
            missing_tests=[
                test.node_id for test in islice(queues.tests_of(connection, execution, each.lacks), MAX_NAMED)
            ],
        )
        for each in found
    ]
