"""The file with what a shard needs to select its tests, beside its journal."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from pytest_tms.journal.files import write_at_once

SUFFIX = ".plan"


class ShardPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the TMS knows of the tests of a shard.

    ``durations`` are milliseconds by node id, by which all shards divide the tests; None if these are divided
    by their number. ``setups`` are the fields of ``division.Setup`` for fixtures that tests share. With
    ``is_queued`` they are not divided: the shard takes its tests from the queue of the execution. ``settled``
    are the node ids of tests that need not run again.
    """

    durations: Mapping[str, int] | None = None
    setups: list[tuple[str, str, int]] = []
    settled: frozenset[str] = frozenset()
    is_queued: bool = False


def read_plan(path: Path) -> ShardPlan | None:
    """Return the plan in a file; None if it cannot be read."""
    with suppress(OSError, ValueError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=ShardPlan)
    return None


def write_plan(path: Path, plan: ShardPlan) -> None:
    """Write a plan at once, so that no reader sees a part of it.

    Raises:
        OSError: it cannot be written.
    """
    write_at_once(path, msgspec.json.encode(plan))
