"""When an API call is retried, and after how many seconds: "Retry Logic" in the API document."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from urllib3.exceptions import MaxRetryError, ResponseError
from urllib3.util.retry import Retry

from pytest_tms.errors import InFlight

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self
    from urllib3.connectionpool import ConnectionPool
    from urllib3.response import BaseHTTPResponse

RETRIED_STATUSES = (429, 500, 502, 503, 504)
"""The statuses that the API document lists as retryable."""
FIRST_BACKOFF = 0.5
"""Seconds before the first retry; each further one waits twice as long."""
MAX_JITTER = 0.25
"""Seconds, at most, that are added to a wait at random, so that clients do not retry at the same moment."""
MAX_WAIT = 60
"""Seconds, at most, between two attempts."""


class ApiRetry(Retry):
    """urllib3's ``Retry`` with the API's rules; ``new_retry`` builds one.

    - ``RETRIED_STATUSES`` and connections that fail or break are retried, with every method: POST calls carry
      an ``Idempotency-Key``, the others are idempotent.
    - 409 is retried only with ``Retry-After``: the first request with the same key is still in progress.
    - The wait is the server's ``Retry-After``, else exponential backoff with jitter. A response that asks for
      more than ``MAX_WAIT`` is returned instead of being retried.
    """

    RETRY_AFTER_STATUS_CODES = frozenset({InFlight.status})

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Count an attempt.

        Raises:
            MaxRetryError: no attempt is left, or the server asks to wait too long.
        """
        if response is not None and (retry_after(response.headers) or 0) > MAX_WAIT:
            reason = ResponseError(f"Retry-After is more than {MAX_WAIT} s")
            raise MaxRetryError(_pool, url, reason)  # type: ignore[arg-type]  # urllib3 passes None itself
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Return the seconds in ``Retry-After``; None if there are none, or if the value is malformed."""
        return retry_after(response.headers)

    def get_backoff_time(self) -> float:
        """Return the seconds before the next attempt.

        urllib3's own formula does not wait before the first retry.
        """
        backoff: float = self.backoff_factor * 2.0 ** max(0, len(self.history) - 1)
        return min(self.backoff_max, backoff + random.uniform(0, self.backoff_jitter))  # noqa: S311  # no secret


def new_retry(retries: int) -> ApiRetry:
    """Return the rules for at most ``retries`` retries of each call."""
    return ApiRetry(
        total=retries,
        allowed_methods=None,
        status_forcelist=RETRIED_STATUSES,
        backoff_factor=FIRST_BACKOFF,
        backoff_jitter=MAX_JITTER,
        backoff_max=MAX_WAIT,
        raise_on_status=False,
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a ``Retry-After`` asks to wait, written as a number or as an HTTP date.

    None if the header is missing or malformed.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
