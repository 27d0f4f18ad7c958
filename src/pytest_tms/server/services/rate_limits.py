"""Rate limits: requests of each caller, counted in this process or, for replicas, in Redis."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from limits.storage import MemoryStorage, RedisStorage, Storage

from pytest_tms.errors import RateLimited
from pytest_tms.server.domain.rates import Rate

LOG = logging.getLogger("pytest_tms.server")
REDIS_TIMEOUT = 0.25
"""Seconds after which a request to Redis fails."""
REDIS_RETRY_INTERVAL = 2.0
"""Seconds between two attempts to reach Redis again."""
MIN_PROGRESS_INTERVAL = 1000
"""Milliseconds between two progress reports of a runner, at least."""


class RateLimits:
    """Counts requests in fixed windows, in Redis if there is a ``redis_url``, else in this process.

    While Redis is unavailable this process counts alone, and no request waits: one thread tries to reconnect.
    """

    def __init__(self, rates: Mapping[str, Rate], redis_url: str = "") -> None:
        self._rates = rates
        self._local = MemoryStorage()
        self._shared = _redis(redis_url) if redis_url else None
        self._is_unavailable = False
        self._lock = threading.Lock()
        if self._shared is not None and not self._shared.check():
            self._fall_back("it does not respond")

    @property
    def is_shared(self) -> bool:
        """Whether counting may wait for Redis."""
        return self._shared is not None

    def meter(self, name: str | None, caller: str) -> Meter | None:
        """Return the meter of one caller for the limit ``name``, or None if there is no such limit."""
        rate = self._rates.get(name or "")
        return None if rate is None else Meter(self, name or "", rate, f"{name}/{caller}")

    def progress_interval(self, shards: int) -> int:
        """Return the milliseconds between two progress reports by which all shards use half of the limit."""
        rate = self._rates.get("events")
        share = 0 if rate is None else ceil(shards * 2000 * rate.window / rate.amount)
        return max(MIN_PROGRESS_INTERVAL, share)

    def count(self, rate: Rate, key: str, cost: int) -> tuple[bool, int, float]:
        """Add ``cost`` to a counter.

        Return whether the sum is within the limit, what remains, and when the window ends (seconds since
        1970).
        """
        shared = self._shared
        if shared is not None and not self._is_unavailable:
            try:
                return _count(shared, rate, key, cost)
            except shared.base_exceptions as error:
                self._fall_back(str(error))
        return _count(self._local, rate, key, cost)

    def _fall_back(self, reason: str) -> None:
        with self._lock:
            if self._is_unavailable:
                return
            self._is_unavailable = True
        LOG.warning(
            "Redis is unavailable (%s): until it is back, each process counts rate limits alone", reason
        )
        threading.Thread(target=self._reconnect, name="tms-redis", daemon=True).start()

    def _reconnect(self) -> None:
        assert self._shared is not None  # noqa: S101  # for the type checker
        while self._is_unavailable:
            time.sleep(REDIS_RETRY_INTERVAL)
            try:
                _count(self._shared, Rate(1, 1), "probe", 0)
            except self._shared.base_exceptions:
                continue
            self._is_unavailable = False
        LOG.warning("Redis is back: all processes count rate limits together again")


@dataclass(frozen=True)
class Usage:
    """What a caller has used of a limit: ``remaining`` of ``limit`` requests in a ``window`` of seconds.

    ``reset`` is the end of the window in seconds since 1970, ``wait`` the seconds until then.
    """

    name: str
    limit: int
    remaining: int
    reset: int
    window: int
    wait: int


class Meter:
    """Counts the requests of one caller for one limit; ``usage`` is None until something was counted."""

    def __init__(self, rate_limits: RateLimits, name: str, rate: Rate, key: str) -> None:
        self._rate_limits = rate_limits
        self._name = name
        self._rate = rate
        self._key = key
        self.usage: Usage | None = None

    def charge(self, cost: int) -> RateLimited | None:
        """Count ``cost`` requests, and return the error to raise if the limit is exceeded.

        A cost of 0 only reads the counter; -1 refunds a request.
        """
        is_within, remaining, end = self._rate_limits.count(self._rate, self._key, cost)
        limit, window = self._rate
        wait = max(1, ceil(end - time.time()))
        self.usage = Usage(self._name, limit, remaining, ceil(end), window, wait)
        if is_within:
            return None
        return RateLimited(
            f"The limit of {limit} requests in {window} s is used up: try again in {wait} s.",
            retry_after=wait,
        )


def _count(storage: Storage, rate: Rate, key: str, cost: int) -> tuple[bool, int, float]:
    """Count in a fixed window, which begins with its first request."""
    key = f"{key}/{rate.amount}/{rate.window}"
    used = storage.incr(key, rate.window, cost)
    return used <= rate.amount, max(0, rate.amount - used), storage.get_expiry(key)


def _redis(url: str) -> RedisStorage:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {
        "socket_timeout": REDIS_TIMEOUT,
        "socket_connect_timeout": REDIS_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
    }
    return RedisStorage(url, key_prefix="tms", **options)
