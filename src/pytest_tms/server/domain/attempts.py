"""Attempts: what a shard is to a runner that begins it for the first time."""

from __future__ import annotations

from typing import Literal

from pytest_tms.server.domain.executions import Shard

Claim = Literal["own", "next", "late", "separate"]
"""The runner gets the shard; it is the next attempt of the shard; it belongs to an earlier attempt; it gets a
separate shard, since another runner is running this one."""
DEFAULT_SILENCE = 60_000
"""Milliseconds after which a silent runner is not alive, if the operator set no time for that."""


def claim(shard: Shard | None, declared: int | None, now: int, silence: int) -> Claim:
    """Return what a shard is to a new runner, which sent ``declared`` as the number of its CI attempt.

    ``silence`` is the milliseconds that a runner may be silent.
    """
    if shard is None or shard.is_untouched:
        return "own"
    if is_newer(declared, shard.declared):
        return "next"
    if is_newer(shard.declared, declared):
        return "late"
    return "separate" if shard.status == "running" and shard.is_heard(now, silence) else "next"


def is_newer(declared: int | None, other: int | None) -> bool:
    """Return whether one CI attempt is known to be newer than another."""
    return declared is not None and other is not None and declared > other
