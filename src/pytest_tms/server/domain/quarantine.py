"""Quarantine: tests whose failures do not fail a run, until a date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timezone

from pytest_tms import wire
from pytest_tms.server.domain.durations import DAY

MAX_DAYS = 366
"""Days that a test may be in quarantine at once; it can be added again."""


@dataclass(frozen=True, kw_only=True)
class QuarantineEntry:
    """A test in quarantine, or one that was; times are milliseconds since 1970.

    ``key`` is that of the test in results; ``test_id`` is 0 if no result of it is left. ``until`` is the last
    moment at which the entry is active. ``created_by`` is empty for the server's own policy. ``ended_at`` is
    when it was removed, replaced or found to have expired; ``ended_by`` is who removed or replaced it, None
    if it expired.
    """

    id: int
    project: str
    key: str
    test_id: int
    reason: str
    owner: str
    until: int
    is_automatic: bool
    created_at: int
    created_by: str
    ended_at: int | None
    ended_by: str | None

    def state(self, now: int) -> wire.QuarantineState:
        """Return whether the entry is active at ``now``, or how it ended."""
        if self.ended_by is not None:
            return "removed"
        return "active" if self.ended_at is None and now <= self.until else "expired"


def parse_until(text: str, now: int) -> int:
    """Return the last moment of a quarantine, from a date or a time, in milliseconds since 1970.

    A date means the end of that day in UTC.

    Raises:
        ValueError: It is not a date or a time, has passed, or is more than ``MAX_DAYS`` ahead.
    """
    try:
        try:
            moment = datetime.combine(date.fromisoformat(text), time.max, timezone.utc)
        except ValueError:
            moment = wire.parse_time(text)
        until = int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError("Must be a date, such as 2026-03-31, or an ISO 8601 time") from None
    if until < now:
        raise ValueError("Must be in the future")
    if until > now + MAX_DAYS * DAY:
        raise ValueError(f"Must be at most {MAX_DAYS} days ahead")
    return until
