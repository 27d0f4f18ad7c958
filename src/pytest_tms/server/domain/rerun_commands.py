"""The command that runs the failed tests of an execution again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import NamedTuple

MAX_TESTS = 200
"""Tests that a command names."""
MAX_CHARACTERS = 16_000
"""Characters of a command: half of what the shell of Windows accepts."""


class RerunCommand(NamedTuple):
    """A command line for a POSIX shell; ``tests`` is the number of tests that it names."""

    text: str
    tests: int


def rerun_command(node_ids: Iterable[str]) -> RerunCommand | None:
    """Return the command for as many of these tests as it may name; None if it can name none.

    A node id that has characters which a terminal interprets, or that pytest would read as an option, is left
    out.
    """
    parts = ["pytest"]
    length = len(parts[0])
    for node_id in dict.fromkeys(node_ids):
        if not node_id or node_id.startswith(("-", "@")) or not node_id.isprintable():
            continue
        part = shlex.quote(node_id)
        length += 1 + len(part)
        if len(parts) > MAX_TESTS or length > MAX_CHARACTERS:
            break
        parts.append(part)
    return RerunCommand(" ".join(parts), len(parts) - 1) if len(parts) > 1 else None
