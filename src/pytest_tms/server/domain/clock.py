"""The clock of the server, and times that clients report."""

from __future__ import annotations

import time

from pytest_tms import wire


def now() -> int:
    """Return the current time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def reported_time(text: str | None, now: int) -> int:
    """Return when something happened that a client reports at ``now``, in milliseconds since 1970.

    ``text`` is the ISO 8601 time that the client sent, None for ``now``. A time in the future becomes
    ``now``, since clocks differ.
    """
    if text is None:
        return now
    return max(0, min(now, round(wire.parse_time(text).timestamp() * 1000)))


def timestamp(milliseconds: int) -> str:
    """Return a time in milliseconds since 1970 as the API writes it."""
    return wire.timestamp(wire.moment(milliseconds))


def optional_timestamp(milliseconds: int | None) -> str | None:
    """Return a time as the API writes it, None if there is none."""
    return None if milliseconds is None else timestamp(milliseconds)
