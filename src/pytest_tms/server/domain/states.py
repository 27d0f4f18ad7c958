"""States of executions and shards, and their transitions; see "Settled" in docs/protocol.md."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from pytest_tms import wire
from pytest_tms.errors import Conflict

ENDED: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
"""Final states of an execution; only a new attempt of a shard or a cancellation leaves them."""
ABRUPT: frozenset[str] = frozenset({"error", "lost", "cancelled"})
"""States of a shard that ended before its tests did."""
FINISHED: frozenset[str] = frozenset({"completed", "failed", "error", "lost", "cancelled"})
"""States of a shard that has ended."""
REPORTED_ENDS = FINISHED - {"lost"}
"""Ends that a runner reported. ``lost`` is assumed without reports, until the runner reports again."""

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
    """Return the state after an inbound event; late events do not change an ended execution."""
    return state if state in ENDED else _BY_EVENT[event]


def execution_from_shards(
    state: wire.ExecutionState, total: int, finished: int, statuses: Collection[str]
) -> wire.ExecutionState:
    """Return the state of an execution by those of its shards; it ends when all have finished.

    It has ``failed`` if a shard broke (``error``, ``lost``), is ``cancelled`` if one was cancelled, and else
    ``completed``: failing tests are a result, not a failure of the run.
    """
    if state in ENDED or finished < total:
        return state
    if "error" in statuses or "lost" in statuses:
        return "failed"
    return "cancelled" if "cancelled" in statuses else "completed"


def why_failed(statuses: Collection[str]) -> str:
    """Return why an execution failed, by the states of its shards."""
    return (
        "A shard was lost: its runner stopped reporting" if "lost" in statuses else "A shard ended in error"
    )


def execution_from_queue(
    *, is_complete: bool, statuses: Collection[str], is_broken: bool
) -> wire.ExecutionState:
    """Return the state of an execution whose shards took its tests from a queue, when all have finished.

    If all tests have results, lost, killed and cancelled shards do not matter: others ran their tests.
    ``is_broken`` is whether pytest itself reported an error.
    """
    if is_complete:
        return "failed" if is_broken else "completed"
    return "cancelled" if "cancelled" in statuses and not {"error", "lost"} & {*statuses} else "failed"


def is_cancellable(state: wire.ExecutionState, *, reports: bool) -> bool:
    """Return whether an execution can be cancelled; ``reports`` is whether a shard of it still reports."""
    return state not in ("completed", "failed") or reports


def check_cancel(state: wire.ExecutionState, *, reports: bool) -> None:
    """Check that an execution can be cancelled.

    Raises:
        Conflict: It cannot; the message names its state.
    """
    if not is_cancellable(state, reports=reports):
        raise Conflict(f"The execution is {state} and cannot be cancelled: none of its shards still reports.")


def shard_after(state: wire.ShardState, reported: wire.ShardState) -> wire.ShardState:
    """Return a shard's state after a report of the same attempt.

    The newest end counts, a start after a known end does not, and a cancelled attempt stays cancelled.
    """
    if state == "cancelled" or (state in REPORTED_ENDS and reported not in FINISHED):
        return state
    return reported


def silence_timeout(silence: int, interval: float) -> int:
    """Return the timeout of a runner without reports, in milliseconds: at least twice its ``interval``."""
    return max(silence, round(2 * interval))


def reported_end(status: str | None, counts: wire.Counts) -> wire.ShardState:
    """Return how a shard ended: as its runner reported, else by its counts."""
    return cast("wire.ShardState", status) if status in FINISHED else settled("completed", counts)


def settled(state: wire.ShardState, counts: wire.Counts) -> wire.ShardState:
    """Return a shard's state according to its counts: one with a failed test is not ``completed``.

    The documented runner gives ``completed`` with counts of failures: only tests that were sent count here.
    """
    return "failed" if state == "completed" and counts.failed else state
