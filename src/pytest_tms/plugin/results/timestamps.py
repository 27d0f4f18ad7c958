"""Start times of tests as ISO 8601."""

from __future__ import annotations

import time
from typing import Any

MAX_START = 253_402_300_800
"""The end of the year 9999, in seconds since 1970."""


class TimestampWriter:
    """Writes seconds since 1970 as ISO 8601; most tests begin in the same second as the one before."""

    def __init__(self) -> None:
        # Bound here: a test may patch the names of the module.
        self._strftime = time.strftime
        self._gmtime = time.gmtime
        self._second = 0
        self._text = ""
        self._ends = [
            f"{millisecond:03}Z" for millisecond in range(1000)
        ]  # to format each costs twice as much

    def iso(self, seconds: Any) -> str | None:
        """Return a time with milliseconds and ``Z``; None if it is not in the years 1970 to 9999."""
        if type(seconds) is not float and type(seconds) is not int:
            return None
        if not 0 < seconds < MAX_START:
            return None
        whole = int(seconds)
        if whole != self._second:
            text = self._strftime("%Y-%m-%dT%H:%M:%S.", self._gmtime(whole))
            self._second, self._text = whole, text
        return self._text + self._ends[int((seconds - whole) * 1000)]
