"""The file with the durations by which a shard divides the tests, beside its journal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

SUFFIX = ".plan"


def read_plan(path: Path) -> Mapping[str, int] | None:
    """Return the durations of a plan, in milliseconds by node id; None if they cannot be read."""
    with suppress(OSError, ValueError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    return None


def write_plan(path: Path, durations: Mapping[str, int]) -> None:
    """Write a plan at once, so that no reader sees a part of it.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_suffix(f".{os.getpid()}~")
    try:
        temporary.touch(mode=0o600)
        temporary.write_bytes(msgspec.json.encode(durations))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
