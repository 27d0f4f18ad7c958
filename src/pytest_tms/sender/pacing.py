"""Backoff of the sender after failures, and when it gives up at the end of a session."""

from __future__ import annotations

import random
import threading

from pytest_tms.errors import (
    ApiError,
    InFlight,
    InternalError,
    RateLimited,
    ServiceUnavailable,
    TmsError,
    Unreachable,
)

RETRYABLE = (Unreachable, RateLimited, InFlight, InternalError, ServiceUnavailable)
"""Errors after which the same delivery may succeed later."""
FIRST_BACKOFF = 0.5
"""Seconds of the first wait after a failure; each that follows is twice as long."""
MAX_BACKOFF = 30.0
"""Seconds that one wait after failures may last."""
MAX_CLOSING_BACKOFF = 2.0
"""Seconds that one wait after failures may last when the session has ended."""
UNREACHABLE_TIMEOUT = 1.0
"""Seconds that the end of a session waits for a TMS that has never responded."""


class Pacing:
    """Counts the consecutive failures of one delivery, and returns the backoff."""

    def __init__(self) -> None:
        self.has_responded = False
        self._failures = 0
        self._retry_after = 0.0

    @property
    def is_failing(self) -> bool:
        """Whether the latest attempt has failed."""
        return self._failures > 0

    def record_success(self) -> None:
        """Note that an attempt has succeeded."""
        self.has_responded = True
        self._failures, self._retry_after = 0, 0.0

    def record_failure(self, error: TmsError) -> None:
        """Note that an attempt has failed and may be repeated."""
        self._failures += 1
        # Only a TMS sends an error in the documented form.
        self.has_responded = self.has_responded or isinstance(error, ApiError)
        self._retry_after = getattr(error, "retry_after", None) or 0.0

    def backoff(self, *, is_closing: bool) -> float:
        """Return the seconds to wait after the latest failure: doubled each time, with jitter."""
        seconds = min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** min(self._failures - 1, 10))
        seconds *= random.uniform(0.75, 1.25)  # noqa: S311  # jitter
        if is_closing:
            seconds = min(seconds, MAX_CLOSING_BACKOFF)
        return float(min(max(seconds, self._retry_after), threading.TIMEOUT_MAX))

    def is_hopeless(self, now: float, closing_since: float, closing_until: float) -> bool:
        """Return whether no further attempt before ``closing_until`` can succeed."""
        if not self._failures:
            return False
        if not self.has_responded and now - closing_since > UNREACHABLE_TIMEOUT:
            return True
        return now + self._retry_after > closing_until
