"""The maximum size of free objects and of unknown fields, which are stored and returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_tms.errors import Problem, Unprocessable

MAX_METADATA = 64 << 10
"""Bytes of ``metadata``, of ``configuration`` and of all unknown fields, as compact JSON.

Each status of an execution has them.
"""


def size_problems(value: object, path: str) -> list[Problem]:
    """Return the problem of an object that is larger than ``MAX_METADATA``, if it is."""
    size = len(msgspec.json.encode(value))
    if size <= MAX_METADATA:
        return []
    return [
        Problem(path, f"Must be at most 64 KB as JSON, not {size >> 10:,} KB: attach large data as a file")
    ]


def unknown_field_problems(fields: Mapping[str, Any]) -> list[Problem]:
    """Return the problem of unknown fields that are larger than ``MAX_METADATA`` together, at the largest."""
    sizes = {name: len(msgspec.json.encode({name: value})) for name, value in fields.items()}
    if sum(sizes.values()) <= MAX_METADATA:
        return []
    largest = max(sizes, key=sizes.__getitem__)
    return [
        Problem(
            largest[:100],
            f"Unknown fields must be at most 64 KB as JSON together, not {sum(sizes.values()) >> 10:,} KB: "
            "shorten them or leave them out",
        )
    ]


def merged(before: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a shard's metadata with what a message adds.

    Raises:
        Unprocessable: The result is too large.
    """
    after = {**before, **(changes or {})}
    if changes and (found := size_problems(after, "metadata")):
        raise Unprocessable(details=[Problem("metadata", f"With what is stored: {found[0].message}")])
    return after
