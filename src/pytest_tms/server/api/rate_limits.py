"""Rate limits: what each token has left, in every answer; counted in Redis where replicas share it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from math import ceil
from typing import Any

from anyio.to_thread import run_sync
from limits.storage import MemoryStorage, RedisStorage, Storage
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from pytest_tms.client.calls import Call
from pytest_tms.errors import RateLimited
from pytest_tms.server.api import authentication
from pytest_tms.server.domain.rates import Rate
from pytest_tms.server.store import idempotency_keys
from pytest_tms.server.store.database import Database

LOG = logging.getLogger("pytest_tms.server")
PATIENCE = 0.25
"""Seconds that Redis has for an answer."""
ASKED_AGAIN = 2.0
"""Seconds between two looks whether Redis is back."""
SHORTEST_INTERVAL = 1000
"""Milliseconds that a runner waits at least between two reports of its progress."""


class RateLimits:
    """Counts requests in fixed windows, in Redis where there is a ``redis_url``, else for this process alone.

    While Redis is away the process counts alone, too, and no request waits: one thread looks for its return.
    """

    def __init__(self, rates: Mapping[str, Rate], redis_url: str = "") -> None:
        self._rates = rates
        self._here = MemoryStorage()
        self._shared = _redis(redis_url) if redis_url else None
        self._is_away = False
        self._lock = threading.Lock()
        if self._shared is not None and not self._shared.check():
            self._lost("it does not answer")

    def meter(self, name: str | None, caller: str) -> Meter | None:
        """The meter of one caller for the limit ``name``, or None where that is not limited."""
        rate = self._rates.get(name or "")
        return None if rate is None else Meter(self, name or "", rate, f"{name}/{caller}")

    def interval(self, shards: int) -> int:
        """Milliseconds between two reports of progress, so that all shards together use half the limit."""
        rate = self._rates.get("events")
        share = 0 if rate is None else ceil(shards * 2000 * rate.window / rate.amount)
        return max(SHORTEST_INTERVAL, share)

    def count(self, rate: Rate, key: str, cost: int) -> tuple[bool, int, float]:
        """Add ``cost``; answers whether that was within the limit, what is left, and when the window ends."""
        shared = self._shared
        if shared is not None and not self._is_away:
            try:
                return _count(shared, rate, key, cost)
            except shared.base_exceptions as error:
                self._lost(str(error))
        return _count(self._here, rate, key, cost)

    def _lost(self, reason: str) -> None:
        with self._lock:
            if self._is_away:
                return
            self._is_away = True
        LOG.warning("Redis is away (%s): until it is back, each process counts rate limits alone", reason)
        threading.Thread(target=self._wait, name="tms-redis", daemon=True).start()

    def _wait(self) -> None:
        assert self._shared is not None  # noqa: S101  # for the type checker
        while self._is_away:
            time.sleep(ASKED_AGAIN)
            try:
                _count(self._shared, Rate(1, 1), "probe", 0)
            except self._shared.base_exceptions:
                continue
            self._is_away = False
        LOG.warning("Redis is back: all processes count rate limits together again")


class Meter:
    """What one caller has left; ``headers`` say it once something was counted.

    They are the four documented ones, and the two of draft-ietf-httpapi-ratelimit-headers, whose policies
    have the names of the limits.
    """

    def __init__(self, limits: RateLimits, name: str, rate: Rate, key: str) -> None:
        self._limits = limits
        self._name = name
        self._rate = rate
        self._key = key
        self.headers: list[tuple[bytes, bytes]] = []

    def charge(self, cost: int) -> RateLimited | None:
        """Count a request (0: only look; -1: take it back); answers the error where it was one too many."""
        is_within, left, end = self._limits.count(self._rate, self._key, cost)
        amount, window = self._rate
        told = {"limit": amount, "remaining": left, "reset": ceil(end), "window": window}
        self.headers = [(f"x-ratelimit-{name}".encode(), str(told[name]).encode()) for name in told]
        wait = max(1, ceil(end - time.time()))
        self.headers += [
            (b"ratelimit-policy", f'"{self._name}";q={amount};w={window}'.encode()),
            (b"ratelimit", f'"{self._name}";r={left};t={wait}'.encode()),
        ]
        if is_within:
            return None
        return RateLimited(
            f"The limit of {amount} requests in {window} s is used up: try again in {wait} s.",
            retry_after=wait,
        )


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Count a request that was let in, or raise RateLimited; on a thread, since it may ask Redis."""
    call: Call[Any, Any] = handler.opt["call"]
    if call.limit is None:
        return
    limits: RateLimits = connection.app.state.limits
    # The events of an execution are counted together, whichever token opens them.
    of_execution = call.limit == "events"
    caller = connection.path_params["execution_id"][:100] if of_execution else connection.state.caller.id
    meter = limits.meter(call.limit, authentication.hashed(caller))
    if meter is not None:
        connection.scope["state"]["meter"] = meter
        await run_sync(_charge, meter, call, connection)


def _charge(meter: Meter, call: Call[Any, Any], connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Reading costs nothing. A replay is paid back when it turns out to be one, and never refused."""
    error = meter.charge(0 if call.method == "GET" else 1)
    if error is None or call.method == "GET":
        return
    key = connection.headers.get("Idempotency-Key", "")
    database: Database = connection.app.state.database
    if key:
        with database.read() as transaction:
            if idempotency_keys.is_known(
                transaction,
                authentication.hashed(authentication.bearer(connection)),
                key,
                authentication.now(),
            ):
                return
    raise error


def _count(storage: Storage, rate: Rate, key: str, cost: int) -> tuple[bool, int, float]:
    """A fixed window, which begins with its first request; one number a caller, whatever the limit."""
    key = f"{key}/{rate.amount}/{rate.window}"
    used = storage.incr(key, rate.window, cost)
    return used <= rate.amount, max(0, rate.amount - used), storage.get_expiry(key)


def _redis(url: str) -> RedisStorage:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "retry": Retry(NoBackoff(), 0),
    }
    return RedisStorage(url, key_prefix="tms", **options)
