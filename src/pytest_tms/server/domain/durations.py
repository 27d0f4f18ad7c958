"""Lengths of time as people write them: 12h, 90d, 4w."""

from __future__ import annotations

import re

HOUR = 3_600_000
DAY = 24 * HOUR
_UNITS = {"h": HOUR, "d": DAY, "w": 7 * DAY}
MAX_DURATION = 3653 * DAY
"""Milliseconds of the longest duration, ten years."""


def parse_duration(text: str, *, least: int = 1) -> int:
    """Return the milliseconds of a duration of at least ``least``.

    Raises:
        ValueError: The text is not a duration. The message says what is allowed.
    """
    found = re.fullmatch(r"(\d{1,6})([hdw])", text)
    milliseconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if not least <= milliseconds <= MAX_DURATION:
        raise ValueError(f"invalid duration {text[:100]!r}: use 12h, 90d or 4w (at most 10 years)")
    return milliseconds


def format_duration(milliseconds: int) -> str:
    """Return a duration as ``parse_duration`` reads it."""
    unit = "d" if milliseconds % DAY == 0 else "h"
    return f"{milliseconds // _UNITS[unit]}{unit}"
