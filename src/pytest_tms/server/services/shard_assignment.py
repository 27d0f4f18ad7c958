"""Assignment of shards: the shard, and the attempt of it, that a message belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from sqlalchemy import Connection

from pytest_tms.server.domain import attempts, states
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.store import executions, results, runners
from pytest_tms.server.store.runners import Assignment

MAX_NAME = 190
"""Characters of a shard's name that are used in the name of a separate shard, which has at most 200."""


@dataclass(frozen=True, kw_only=True)
class ReportSource:
    """The sender of a message, and the shard that it names.

    ``runner`` is None for clients without the capability ``attempts``; ``ci_attempt`` is the number of the CI
    attempt. A message that does not take its shard does not change one that another runner has.
    ``starts_new_attempt`` decides whether a message without a runner begins another attempt of a shard.
    ``may_reopen_execution`` is whether a new shard may re-open an execution with a run key that has ended.
    """

    shard_id: str
    runner: str | None = None
    ci_attempt: int | None = None
    takes_shard: bool = True
    starts_new_attempt: Callable[[Shard], bool] = lambda _: False
    may_reopen_execution: bool = True


@dataclass(frozen=True, kw_only=True)
class ShardAssignment:
    """The shard of a message, before and after it was assigned to the sender.

    ``attempt`` is that of the message; if ``is_current`` is false, it is not the shard's current attempt, and
    the message changes only tests. ``execution`` runs again if the message begins a new attempt.
    """

    execution: Execution
    before: Shard | None
    shard: Shard
    attempt: int
    is_current: bool = True

    @property
    def is_next(self) -> bool:
        """Whether the message begins another attempt."""
        return self.is_current and self.before is not None and self.before.attempt < self.attempt


def assign_shard(
    connection: Connection, execution: Execution, source: ReportSource, now: int, silence: int
) -> ShardAssignment:
    """Return the shard of a message for a locked execution, and store a new assignment.

    ``silence`` is the milliseconds after which a runner that reports nothing is not alive.
    """
    if source.runner is None:
        return _without_runner(connection, execution, source)
    found = runners.find(connection, execution.id, source.runner, source.shard_id)
    if found is not None:
        shard = executions.get_shard(connection, execution.id, found.shard_id)
        if shard is not None:
            is_current = shard.runner == source.runner
            after = (
                replace(shard, ci_attempt=source.ci_attempt) if is_current and source.ci_attempt else shard
            )
            return ShardAssignment(
                execution=execution, before=shard, shard=after, attempt=found.attempt, is_current=is_current
            )
    before = executions.get_shard(connection, execution.id, source.shard_id)
    if not source.takes_shard:
        shard = before or Shard(shard_id=source.shard_id)
        return ShardAssignment(
            execution=execution,
            before=before,
            shard=shard,
            attempt=shard.attempt,
            is_current=shard.has_no_reports,
        )
    made = _new(connection, execution, source, before, now, silence or attempts.DEFAULT_SILENCE)
    assignment = Assignment(made.shard.shard_id, made.attempt)
    runners.add(connection, execution.id, source.runner, source.shard_id, assignment)
    return made


def _new(
    connection: Connection,
    execution: Execution,
    source: ReportSource,
    before: Shard | None,
    now: int,
    silence: int,
) -> ShardAssignment:
    shard_id = source.shard_id
    kind = attempts.assignment_kind(before, source.ci_attempt, now, silence)
    if kind == "separate":
        shard_id, before = _separate(connection, execution.id, source)
        kind = "own" if before is None else "next"
        if before is None:
            execution = replace(execution, shards_total=execution.shards_total + 1)
    if kind == "late" and before is not None:
        results.insert_before(connection, execution, shard_id, before.attempt)
        after = replace(before, attempt=before.attempt + 1)
        return ShardAssignment(
            execution=execution, before=before, shard=after, attempt=before.attempt, is_current=False
        )
    if kind == "next" and before is not None:
        after = before.next_attempt(source.runner, source.ci_attempt)
        return ShardAssignment(
            execution=_reopened(execution, source.ci_attempt, before.ci_attempt),
            before=before,
            shard=after,
            attempt=after.attempt,
        )
    if execution.status in states.ENDED:
        newest = executions.newest_attempt(connection, execution.id)
        is_rerun = (source.ci_attempt or 1) > (newest or 1)  # which also runs shards that never began
        if is_rerun or _reopens_execution(execution, source):
            execution = _reopened(execution, source.ci_attempt, newest)
    after = replace(before or Shard(shard_id=shard_id), runner=source.runner, ci_attempt=source.ci_attempt)
    return ShardAssignment(execution=execution, before=before, shard=after, attempt=after.attempt)


def _without_runner(connection: Connection, execution: Execution, source: ReportSource) -> ShardAssignment:
    before = executions.get_shard(connection, execution.id, source.shard_id)
    shard = before or Shard(shard_id=source.shard_id)
    if before is not None and source.starts_new_attempt(before):
        shard = before.next_attempt(None, None)
        execution = _reopened(execution, None, before.ci_attempt)
    elif (before is None or before.has_no_reports) and _reopens_execution(execution, source):
        execution = _reopened(execution, None, None)
    return ShardAssignment(execution=execution, before=before, shard=shard, attempt=shard.attempt)


def _reopens_execution(execution: Execution, source: ReportSource) -> bool:
    """Return whether the new shard of a message re-opens its execution, if that has ended."""
    return execution.run_key is not None and source.may_reopen_execution


def _reopened(execution: Execution, ci_attempt: int | None, before: int | None) -> Execution:
    if execution.queue_state == "complete":  # the execution runs again if the queue has tests for the shard
        return execution
    is_over = execution.status in states.ENDED
    return execution.reopened() if is_over and execution.may_reopen(ci_attempt, before) else execution


def _separate(connection: Connection, execution_id: str, source: ReportSource) -> tuple[str, Shard | None]:
    """Return the first free name for a separate shard; on a CI re-run, one that an older attempt got."""
    for number in count(2):
        name = f"{source.shard_id[:MAX_NAME]}-{number}"
        shard = executions.get_shard(connection, execution_id, name)
        if shard is None:
            return name, None
        is_rerun = attempts.is_newer(source.ci_attempt, shard.ci_attempt)
        if is_rerun and runners.was_assigned(connection, execution_id, source.shard_id, name):
            return name, shard
    raise AssertionError  # count() does not end
