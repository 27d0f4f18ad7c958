"""What the guard sees, written beside the requests: last uses of tokens, and failed authentications."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from anyio.to_thread import run_sync

from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.store import audit, tokens
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.tokens import ApiToken

LOG = logging.getLogger("pytest_tms.server")
PRECISION = 60_000
"""Milliseconds after which a token's last use is written again."""
PAUSE = 60.0
"""Seconds between two entries of the audit log about failures from one address."""
ADDRESSES = 20
"""Addresses whose failures are told apart in that time; all others share an entry."""


@dataclass(frozen=True)
class Failures:
    """Requests from one address that had no valid token: the latest, why, and how many there were."""

    actor: Actor
    reason: str
    times: int


class TokenUsage:
    """Held in memory for a moment and written by a task of its own: no request waits or fails by it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._uses: dict[str, int] = {}
        self._failures: dict[str, Failures] = {}
        self._paused_until = 0.0
        self._woken = asyncio.Event()

    def used(self, token: ApiToken, now: int) -> None:
        """A token was used."""
        if token.used_at is None or now - token.used_at >= PRECISION:
            self._uses[token.id] = now
            self._woken.set()

    def failed(self, actor: Actor, reason: str) -> None:
        """A request had no valid token; ``actor`` says which request and from where."""
        known = actor.address in self._failures or len(self._failures) < ADDRESSES
        address = actor.address if known else "other addresses"
        times = self._failures[address].times if address in self._failures else 0
        self._failures[address] = Failures(replace(actor, address=address), reason, times + 1)
        self._woken.set()

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Write for as long as the application lives."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self._flush(self._failures)

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            failures: Mapping[str, Failures] = {}
            if self._failures and time.monotonic() >= self._paused_until:
                failures, self._failures = self._failures, {}
                self._paused_until = time.monotonic() + PAUSE
                asyncio.get_running_loop().call_later(PAUSE + 0.1, self._woken.set)
            await self._flush(failures)

    async def _flush(self, failures: Mapping[str, Failures]) -> None:
        uses, self._uses = self._uses, {}
        if uses or failures:
            try:
                await run_sync(self._write, uses, failures)
            except Exception as error:  # the database is away: the next use is noted again
                LOG.warning("the last uses of tokens were not written: %s", error)

    def _write(self, uses: Mapping[str, int], failures: Mapping[str, Failures]) -> None:
        now = time.time_ns() // 1_000_000
        with self._database.write() as connection:
            for token_id, at in uses.items():
                tokens.used(connection, token_id, at)
            for each in failures.values():
                audit.add(connection, each.actor, audit.FAILED, "", now, reason=each.reason, times=each.times)
            if failures:
                audit.forget(connection, now)
