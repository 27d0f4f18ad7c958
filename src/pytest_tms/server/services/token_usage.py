"""Last uses of tokens and failed authentications, written in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from anyio.to_thread import run_sync

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.api_tokens import ApiToken
from pytest_tms.server.store import audit, tokens
from pytest_tms.server.store.database import Database

LOG = logging.getLogger("pytest_tms.server")
USED_AT_PRECISION = 60_000
"""Milliseconds after which the last use of a token is written again."""
FAILURE_INTERVAL = 60.0
"""Seconds between two entries of the audit log about failures from one address."""
MAX_ADDRESSES = 20
"""Addresses with an entry of their own in that time; all others share one."""


@dataclass(frozen=True)
class Failures:
    """Requests from one address without a valid token: the latest one, its reason, and their number."""

    actor: Actor
    reason: str
    times: int


class TokenUsage:
    """Collects uses and failures, and writes them in a task of its own, so that no request waits for that."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._uses: dict[str, int] = {}
        self._failures: dict[str, Failures] = {}
        self._paused_until = 0.0
        self._woken = asyncio.Event()

    def used(self, token: ApiToken, now: int) -> None:
        """Record that a token was used, at ``now`` in milliseconds since 1970."""
        if token.used_at is None or now - token.used_at >= USED_AT_PRECISION:
            self._uses[token.id] = now
            self._woken.set()

    def failed(self, actor: Actor, reason: str) -> None:
        """Record that a request had no valid token; ``actor`` has its id and address."""
        known = actor.address in self._failures or len(self._failures) < MAX_ADDRESSES
        address = actor.address if known else "other addresses"
        times = self._failures[address].times if address in self._failures else 0
        self._failures[address] = Failures(replace(actor, address=address), reason, times + 1)
        self._woken.set()

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Write until the application ends."""
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
                self._paused_until = time.monotonic() + FAILURE_INTERVAL
                asyncio.get_running_loop().call_later(FAILURE_INTERVAL + 0.1, self._woken.set)
            await self._flush(failures)

    async def _flush(self, failures: Mapping[str, Failures]) -> None:
        uses, self._uses = self._uses, {}
        if uses or failures:
            try:
                await run_sync(self._write, uses, failures)
            except Exception as error:  # the database is unavailable; later uses are recorded again
                LOG.warning("the last uses of tokens were not written: %s", error)

    def _write(self, uses: Mapping[str, int], failures: Mapping[str, Failures]) -> None:
        now = clock.now()
        with self._database.write() as connection:
            for token_id, at in uses.items():
                tokens.used(connection, token_id, at)
            for each in failures.values():
                audit.add(
                    connection,
                    each.actor,
                    audit.AUTHENTICATION_FAILED,
                    "",
                    now,
                    reason=each.reason,
                    times=each.times,
                )
            if failures:
                audit.delete_expired(connection, now)
