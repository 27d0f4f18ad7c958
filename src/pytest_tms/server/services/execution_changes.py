"""Changes of a locked execution and its shards: decided by the domain, stored, and announced to webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection

from pytest_tms.server.domain import states
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.forecast import forecast
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import queue_ends
from pytest_tms.server.store import executions
from pytest_tms.server.webhooks.outbox import announce

ShardChange = tuple[Shard | None, Shard]
"""A shard before and after a change; None if it is new."""


class ExecutionChange(NamedTuple):
    """A locked execution before and after a change, with its shards; ``urls`` are those of the request."""

    urls: Urls
    before: Execution
    after: Execution
    shards: Sequence[ShardChange]


class SavedShard(NamedTuple):
    """A shard as it is stored, and its execution after that."""

    execution: Execution
    shard: Shard


def save_shard(
    connection: Connection, execution: Execution, before: Shard | None, after: Shard, now: int
) -> SavedShard:
    """Store a shard of a locked execution; one that has ended gives its unfinished tests back to the queue.

    Return the execution with the shard's results, ended if this was the last shard to finish and no others
    may begin. The caller stores it with ``save_execution``.
    """
    is_known = before is not None and before.is_finished and before.status != "lost"
    is_end = after.is_finished and not is_known  # how a lost one ended may be reported later
    if execution.queue_state is not None and is_end:
        execution, after = queue_ends.end_shard(connection, execution, after, now)
    elif execution.queue_state == "open" and after.is_finished:
        execution = queue_ends.with_late_results(connection, execution)
    executions.save_shard(connection, execution.id, before, after)
    execution = execution.with_shard(before, after)
    if after.is_finished and execution.has_all_shards:
        execution = end_execution(connection, execution, now)
    return SavedShard(execution, after)


def end_execution(connection: Connection, execution: Execution, now: int) -> Execution:
    """Return an execution, ended at ``now`` since its shards have: by their states, and by its queue."""
    if execution.queue_state is None:
        return execution.with_finished_shards(executions.shard_states(connection, execution.id), now)
    return queue_ends.end_execution(connection, execution, now)


def save_execution(
    connection: Connection,
    urls: Urls,
    before: Execution,
    after: Execution,
    shards: Sequence[ShardChange],
    now: int,
) -> tuple[Execution, int]:
    """Store a locked execution, and write the webhook events of its change into the outbox.

    Return the execution as it is stored, and the number of deliveries; if there are any, the caller wakes the
    delivery worker after the commit.
    """
    [stored], deliveries = save_executions(connection, [ExecutionChange(urls, before, after, shards)], now)
    return stored, deliveries


def save_executions(
    connection: Connection, changes: Sequence[ExecutionChange], now: int
) -> tuple[list[Execution], int]:
    """Store locked executions as ``save_execution`` does; return them, and the number of all deliveries."""
    stored = []
    for each in changes:
        idled = each.after.idled(now, has_changed=bool(each.shards))
        stored.append((each, _with_missing_tests(connection, idled, now)))
    executions.save_all(connection, [(after, _is_shown(each, after)) for each, after in stored])
    deliveries = sum(
        announce(connection, each.urls, each.before, after, each.shards) for each, after in stored
    )
    return [after for _, after in stored], deliveries


def _is_shown(change: ExecutionChange, stored: Execution) -> bool:
    """Return whether pages show anything of what has changed."""
    is_shown = replace(stored, deadline_at=change.before.deadline_at) != change.before
    return is_shown or any(before != after for before, after in change.shards)


def _with_missing_tests(connection: Connection, execution: Execution, now: int) -> Execution:
    """Return an execution with the number of its tests that did not run, if it has ended."""
    if execution.queue_state is not None:
        return queue_ends.with_missing_tests(connection, execution)
    if execution.status not in states.ENDED or not executions.has_expectations(connection, execution.id):
        return execution
    found = forecast(executions.shards(connection, execution.id), execution, now)
    return replace(execution, tests_expected=found.expected, not_run=found.not_run or 0)
