"""Past results of a test as dots: one SVG path for each status, so that lists have few elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WIDTH = 8
"""Units from one dot to the next."""
HEIGHT = 12
"""Units of the height of a dot; that of a skipped test has half of it."""


class Dots(NamedTuple):
    """Dots as (status, SVG path), their width in units, and what they say in words."""

    paths: list[tuple[str, str]]
    width: int
    label: str


def result_dots(statuses: Sequence[str]) -> Dots | None:
    """Return the dots of results, the oldest first; None without any."""
    if not statuses:
        return None
    parts: dict[str, list[str]] = {}
    for place, status in enumerate(statuses):
        shape = "v6h6v-6z" if status == "skipped" else "v12h6v-12z"
        top = 3 if status == "skipped" else 0
        parts.setdefault(status, []).append(f"M{place * WIDTH} {top}{shape}")
    failed = sum(status == "failed" for status in statuses)
    label = f"last {len(statuses)} results: {failed or 'none'} failed"
    return Dots([(status, "".join(found)) for status, found in parts.items()], len(statuses) * WIDTH, label)
