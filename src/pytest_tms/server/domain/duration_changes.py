"""The change of a test's duration against its past."""

from __future__ import annotations

from collections.abc import Collection
from statistics import median
from typing import NamedTuple

MIN_PAST = 2
"""Past results that are needed for a comparison."""
NOTABLE_RATIO = 0.05
"""Share of the median by which a duration must differ from it to be a change."""


class DurationChange(NamedTuple):
    """The difference to the median of the past in milliseconds; None if too little is known of the past."""

    difference: int | None
    is_slower: bool
    is_faster: bool

    @property
    def text(self) -> str:
        """The difference as it is shown, as +18.0 s; empty if it is not known."""
        if self.difference is None:
            return ""
        if not self.is_slower and not self.is_faster:
            return "±0"
        sign = "+" if self.difference > 0 else "−"
        amount = abs(self.difference)
        if amount < 1000:
            return f"{sign}{amount} ms"
        return f"{sign}{amount / 1000:.1f} s" if amount < 60_000 else f"{sign}{amount / 60_000:.1f} min"


def duration_change(duration: int, past: Collection[int]) -> DurationChange:
    """Return the change of ``duration`` against past ones, all in milliseconds."""
    if len(past) < MIN_PAST:
        return DurationChange(None, is_slower=False, is_faster=False)
    usual = round(median(past))
    difference = duration - usual
    is_change = abs(difference) >= max(1, usual * NOTABLE_RATIO)
    return DurationChange(
        difference, is_slower=is_change and difference > 0, is_faster=is_change and difference < 0
    )
