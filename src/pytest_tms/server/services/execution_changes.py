"""Changes of a locked execution and its shards: decided by the domain, stored, and announced to webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from pytest_tms.server.domain import states
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.forecast import forecast
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.store import executions
from pytest_tms.server.webhooks.outbox import announce

ShardChange = tuple[Shard | None, Shard]
"""A shard before and after a change; None if it is new."""


def save_shard(
    connection: Connection, execution: Execution, before: Shard | None, after: Shard, now: int
) -> Execution:
    """Store a shard of a locked execution.

    Return the execution with the shard's results, ended if this was the last shard to finish and no others
    may begin. The caller stores it with ``save_execution``.
    """
    executions.save_shard(connection, execution.id, before, after)
    execution = execution.with_shard(before, after)
    are_finished = after.is_finished and execution.shards_finished >= execution.expected_shards
    if are_finished and not execution.awaits_shards:
        execution = execution.with_finished_shards(executions.shard_states(connection, execution.id), now)
    return execution


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
    after = _with_missing_tests(connection, after.idled(now, has_changed=bool(shards)), now)
    is_shown = replace(after, deadline_at=before.deadline_at) != before
    executions.save(
        connection, after, is_shown=is_shown or any(shard_before != shard for shard_before, shard in shards)
    )
    return after, announce(connection, urls, before, after, shards)


def _with_missing_tests(connection: Connection, execution: Execution, now: int) -> Execution:
    """Return an execution with the number of its tests that did not run, if it has ended."""
    if execution.status not in states.ENDED or not executions.has_expectations(connection, execution.id):
        return execution
    found = forecast(executions.shards(connection, execution.id), execution.results, now)
    return replace(execution, tests_expected=found.expected, not_run=found.not_run or 0)
