"""The background job that deletes what has expired: idempotency keys and deliveries.

It looks with a read, so that a server with nothing to delete writes nothing, and deletes in small
transactions, so that no request waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection

from pytest_tms.server.store import idempotency_keys, webhooks
from pytest_tms.server.store.database import Database

LOG = logging.getLogger("pytest_tms.server")
INTERVAL = 600.0
"""Seconds between two runs; the first is at the start of the server."""
BATCH = 500
"""Rows that one transaction deletes."""


class ExpiryJob:
    """The job of one process. Several processes may run it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_stopping = False
        self._thread = ThreadPoolExecutor(1, "tms-cleanup")

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Run for as long as the application lives."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._is_stopping = True
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._thread.shutdown()

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self.clean)
            except Exception as error:  # the next run deletes it
                LOG.warning("expired rows were not deleted: %s", error)
            await asyncio.sleep(INTERVAL)

    def clean(self) -> None:
        """Delete everything that has expired."""
        now = time.time_ns() // 1_000_000
        self._each(
            lambda connection: idempotency_keys.expired(connection, now, BATCH),
            lambda connection, keys: idempotency_keys.forget(connection, keys, now),
        )
        self._each(lambda connection: webhooks.ended(connection, now, BATCH), webhooks.forget)

    def _each(
        self,
        find: Callable[[Connection], Sequence[Any]],
        delete: Callable[[Connection, Sequence[Any]], None],
    ) -> None:
        while not self._is_stopping:
            with self._database.read() as connection:
                found = find(connection)
            if found:
                with self._database.write() as connection:
                    delete(connection, found)
            if len(found) < BATCH:
                return
