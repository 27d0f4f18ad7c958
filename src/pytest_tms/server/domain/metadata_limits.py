"""The maximum size of the free objects of executions and shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_tms.errors import Problem, Unprocessable

MAX_METADATA = 64 << 10
"""Bytes of ``metadata``, and of ``configuration``, as compact JSON: each status of an execution has them."""


def size_problems(value: object, path: str) -> list[Problem]:
    """Return the problem of an object that is larger than ``MAX_METADATA``, if it is."""
    size = len(msgspec.json.encode(value))
    if size <= MAX_METADATA:
        return []
    return [
        Problem(path, f"Must be at most 64 KB as JSON, not {size >> 10:,} KB: attach large data as a file")
    ]


def merged(before: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a shard's metadata with what a message adds.

    Raises:
        Unprocessable: The result is too large.
    """
    after = {**before, **(given or {})}
    if given and (found := size_problems(after, "metadata")):
        raise Unprocessable(details=[Problem("metadata", f"With what is stored: {found[0].message}")])
    return after
