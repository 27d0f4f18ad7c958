"""Attempts: the decision about a shard that a runner reports for the first time."""

from __future__ import annotations

from typing import Literal

from pytest_tms.server.domain.executions import Shard

AssignmentKind = Literal["own", "next", "late", "separate"]
"""The runner is assigned the shard; is its next attempt; belongs to an earlier attempt; or is assigned a
separate shard, because another runner is running this one."""
DEFAULT_SILENCE = 60_000
"""Milliseconds without a report after which a runner counts as dead, if the operator set no time for that."""


def assignment_kind(shard: Shard | None, ci_attempt: int | None, now: int, silence: int) -> AssignmentKind:
    """Decide which shard a new runner is assigned; ``ci_attempt`` is the number of its CI attempt.

    ``silence`` is the number of milliseconds without a report after which a runner counts as dead.
    """
    if shard is None or shard.has_no_reports:
        return "own"
    if is_newer(ci_attempt, shard.ci_attempt):
        return "next"
    if is_newer(shard.ci_attempt, ci_attempt):
        return "late"
    return "separate" if shard.status == "running" and shard.is_reporting(now, silence) else "next"


def is_newer(ci_attempt: int | None, other: int | None) -> bool:
    """Return whether one CI attempt is known to be newer than another."""
    return ci_attempt is not None and other is not None and ci_attempt > other
