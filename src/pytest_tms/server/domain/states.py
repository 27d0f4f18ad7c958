"""States of executions and shards, and what an event makes of them; see "Settled" in docs/protocol.md."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from pytest_tms import wire
from pytest_tms.errors import Conflict

ENDED: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
"""States that an execution leaves only for a new attempt of a shard, or for a cancel."""
ABRUPT: frozenset[str] = frozenset({"error", "lost", "cancelled"})
"""States of a shard that ended before its tests had."""
FINISHED: frozenset[str] = frozenset({"completed", "failed", "error", "lost", "cancelled"})
"""States of a shard that runs no more."""
KNOWN_ENDS = FINISHED - {"lost"}
"""Ends that a runner told. ``lost`` is only what we take a silence for, until the runner speaks again."""

_BY_EVENT: dict[str, wire.ExecutionState] = {
    "execution.started": "running",
    "execution.progress": "running",
    "shard.started": "running",
    "shard.completed": "running",
    "execution.completed": "completed",
    "execution.failed": "failed",
    "execution.cancelled": "cancelled",
}


def execution_after(state: wire.ExecutionState, event: str) -> wire.ExecutionState:
    """The state after an inbound event. What arrives late changes no ended execution, and is no error."""
    return state if state in ENDED else _BY_EVENT[event]


def execution_from_shards(
    state: wire.ExecutionState, total: int, finished: int, statuses: Collection[str]
) -> wire.ExecutionState:
    """An execution completes by itself once all its shards have finished.

    It has failed where a shard broke (``error``, ``lost``), was cancelled where one was cancelled, and is
    ``completed`` otherwise: failing tests are a result, not a failure of the run.
    """
    if state in ENDED or finished < total:
        return state
    if "error" in statuses or "lost" in statuses:
        return "failed"
    return "cancelled" if "cancelled" in statuses else "completed"


def why_failed(statuses: Collection[str]) -> str:
    """Why an execution failed, by the states of its shards."""
    return "A shard was lost: its runner fell silent" if "lost" in statuses else "A shard ended in error"


def is_cancellable(state: wire.ExecutionState, *, reports: bool) -> bool:
    """Return whether an execution can be cancelled; ``reports`` says that a shard of it still reports."""
    return state not in ("completed", "failed") or reports


def check_cancel(state: wire.ExecutionState, *, reports: bool) -> None:
    """Raise Conflict, naming the state, if an execution cannot be cancelled any more."""
    if not is_cancellable(state, reports=reports):
        raise Conflict(f"The execution is {state} and cannot be cancelled: none of its shards still reports.")


def shard_after(state: wire.ShardState, reported: wire.ShardState) -> wire.ShardState:
    """Return a shard's state after a report of the same attempt.

    The newest end counts, a start after a known end does not, and a cancelled attempt stays cancelled.
    """
    if state == "cancelled" or (state in KNOWN_ENDS and reported not in FINISHED):
        return state
    return reported


def patience(silence: int, interval: float) -> int:
    """Milliseconds that a runner may be silent: at least twice as many as it lets pass between reports."""
    return max(silence, round(2 * interval))


def reported_end(status: str | None, counts: wire.Counts) -> wire.ShardState:
    """Return how a shard ended, by what its runner said, or by its counts if it did not say."""
    return cast("wire.ShardState", status) if status in FINISHED else settled("completed", counts)


def settled(state: wire.ShardState, counts: wire.Counts) -> wire.ShardState:
    """Return a shard's state beside its counts: one with a failed test is not ``completed``.

    The documented runner gives ``completed`` with counts of failures: only tests that were sent count here.
    """
    return "failed" if state == "completed" and counts.failed else state
