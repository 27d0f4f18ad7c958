"""The end of shards that take tests from a queue, and of their execution."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import msgspec
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import clock, counts, states
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.queue import QueuedTest
from pytest_tms.server.domain.result_rows import result_rows
from pytest_tms.server.services.queues import LockedQueue
from pytest_tms.server.store import executions, results

MAX_NAMED = 20
"""Tests that a reason names."""
MAX_REASON = 1000
"""Characters of a reason."""
KILLED: Collection[str] = ("error", "lost")
"""States of a shard that may have been ended by the test that it ran."""


def end_shard(
    connection: Connection, execution: Execution, shard: Shard, now: int
) -> tuple[Execution, Shard]:
    """Return an execution and its shard, which has ended: its unfinished tests are given to other shards.

    A test that it ran when it was killed runs once more. If that ends a shard again, the test gets a failed
    result. The caller stores both.
    """
    found = LockedQueue.find(connection, execution)
    if found is None or shard.runner is None or shard.runner not in found.runners:
        return execution, shard
    shards = executions.shards(connection, execution.id, with_metadata=False)
    others = [each for each in shards if each.runner == shard.runner and each.shard_id != shard.shard_id]
    if not all(each.is_finished for each in others):
        return execution, shard
    running = [each for each in (shard, *others) if each.status in KILLED]
    names = {test.node_id for each in running for test in each.in_flight}
    returned, crashed = found.end(shard.runner, shard.shard_id, names)
    if crashed:
        execution, shard = _with_crashes(connection, execution, shard, crashed, now)
    if returned > 0 and shard.status in states.ABRUPT:
        tests = "1 unfinished test was" if returned == 1 else f"{returned:,} unfinished tests were"
        why = f"{shard.reason or 'It ended early'}; {tests} given to other shards"
        shard = replace(shard, reason=why[:MAX_REASON])
    if all(each.is_finished for each in shards if each.shard_id != shard.shard_id):
        found.forget_finished()
    found.save()
    return replace(execution, queue_state="complete" if found.is_complete() else "open"), shard


def with_late_results(connection: Connection, execution: Execution) -> Execution:
    """Return an execution after results of a shard that had ended: its queue may be complete now."""
    found = LockedQueue.find(connection, execution)
    if found is None:
        return execution
    found.forget_finished()
    found.save()
    return replace(execution, queue_state="complete" if found.is_complete() else "open")


def end_silent(connection: Connection, execution: Execution, runners: Collection[str]) -> None:
    """Take the tests of silent runners back whose shards had no report, or have ended already."""
    found = LockedQueue.find(connection, execution) if runners else None
    if found is not None:
        for runner in runners:
            if not found.runners[runner].has_ended:
                found.end(runner, found.runners[runner].shard_id, ())
        found.save()


def end_execution(connection: Connection, execution: Execution, now: int) -> Execution:
    """Return an execution with a queue, ended at ``now`` since all of its shards have."""
    shards = executions.shards(connection, execution.id, with_metadata=False)
    is_broken = any(shard.status == "error" and shard.exit_status is not None for shard in shards)
    is_complete = execution.queue_state == "complete"
    statuses = {shard.status for shard in shards}
    state = states.execution_from_queue(is_complete=is_complete, statuses=statuses, is_broken=is_broken)
    reason = None
    if state != "completed":
        reason = "A shard ended in error" if is_complete else why_incomplete(connection, execution)
    return execution.with_ended_queue(state, reason, now)


def with_missing_tests(connection: Connection, execution: Execution) -> Execution:
    """Return an execution with a queue, with the numbers of its tests and of those that did not run."""
    if execution.status not in states.ENDED or execution.not_run or execution.queue_state == "complete":
        return execution
    found = LockedQueue.find(connection, execution)
    return execution if found is None else replace(execution, not_run=found.unfinished(0)[0])


def change_counts(
    connection: Connection, execution: Execution, changes: Mapping[str, wire.Counts]
) -> Execution:
    """Store changes of the counts of shards whose verdicts others superseded; return the execution."""
    for shard_id, change in changes.items():
        before = executions.get_shard(connection, execution.id, shard_id)
        if before is not None and change != counts.NONE:
            after = replace(before, derived=counts.add([before.derived, change]))
            executions.save_shard(connection, execution.id, before, after)
            execution = execution.with_shard(before, after)
    return execution


def why_incomplete(connection: Connection, execution: Execution) -> str | None:
    """Return which tests of the queue did not run, None if the execution has no queue."""
    found = LockedQueue.find(connection, execution)
    if found is None:
        return None
    number, names = found.unfinished(MAX_NAMED)
    more = f" and {number - len(names):,} more" if number > len(names) else ""
    did = "1 test did" if number == 1 else f"{number:,} tests did"
    return f"{did} not run: {', '.join(names)}"[: MAX_REASON - 20] + more


def _with_crashes(
    connection: Connection,
    execution: Execution,
    shard: Shard,
    crashed: Sequence[tuple[QueuedTest, list[str]]],
    now: int,
) -> tuple[Execution, Shard]:
    """Store failed results of tests in which several shards ended, as results of the last of these."""
    tests = [_crash(test, shards, now) for test, shards in crashed]
    rows = result_rows(tests, [msgspec.json.encode(test).decode() for test in tests])
    change = results.put(
        connection, execution, shard.shard_id, rows, shard.attempt, now, is_first=shard.derived.total == 0
    )
    execution = change_counts(connection, execution, change.others)
    derived = counts.add([shard.derived, change.counts])
    return execution, replace(shard, derived=derived, tests_received=shard.tests_received + change.new)


def _crash(test: QueuedTest, shards: Sequence[str], now: int) -> wire.TestResult:
    file, _, title = test.node_id.partition("::")
    named = " and ".join(shards)
    return wire.TestResult(
        title=title or file,
        file=file,
        node_id=test.node_id,
        status="failed",
        outcome="crashed",
        started_at=clock.timestamp(now),
        error=f"The shards {named} ended while they ran this test: it is not run again",
    )
