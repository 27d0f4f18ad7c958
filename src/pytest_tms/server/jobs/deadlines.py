"""What is done by the clock: timeouts, shards whose runner fell silent, progress to tell.

Every process looks once a second, and each thing is done by one: who locks the execution first does it, and
the next one finds nothing left to do. Nobody holds anything in between, so nobody's end is missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pytest_tms.errors import NotFound
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import shard_reports
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import deadlines, executions, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.outbox import announce, announce_progress

LOG = logging.getLogger("pytest_tms.server")
TICK = 1.0
"""Seconds between two looks."""
GAP = 5_000
"""Milliseconds without a look after which this process did not listen: it slept, or the database was away."""


class DeadlineJob:
    """Keeps time for one process.

    Who could not be heard is not called silent: a process judges what fell due before it listened only after
    it has listened for as long as a shard may be silent.
    """

    def __init__(self, settings: ServerSettings, database: Database, delivery_worker: DeliveryWorker) -> None:
        self._settings = settings
        self._database = database
        self._delivery_worker = delivery_worker
        self._listens_since = 0
        self._looked_at = 0
        self._thread = ThreadPoolExecutor(1, "tms-time")

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Keep time for as long as the application lives."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._thread.shutdown()

    async def _run(self) -> None:
        troubled = False
        while True:
            look = asyncio.get_running_loop().run_in_executor(self._thread, self._look)
            try:
                if await asyncio.shield(look):
                    self._delivery_worker.wake()
                troubled = False
            except asyncio.CancelledError:
                await asyncio.wait([look])
                raise
            except Exception as error:  # the database is away: it stays so for a while
                if not troubled:
                    LOG.warning("timeouts and silent shards are not looked for: %s", error)
                troubled = True
            await asyncio.sleep(TICK)

    def _look(self) -> int:
        """Do what is due; answers the number of deliveries that were written."""
        now = _now()
        if now - self._looked_at > GAP:
            self._listens_since = now
        silence, interval = self._settings.shard_silence * 1000, self._settings.progress_interval * 1000
        has_listened = now - self._listens_since >= silence
        with self._database.read() as connection:
            late = deadlines.late(connection, 0 if has_listened else self._listens_since, now)
            silent = deadlines.silent(connection, now) if silence and has_listened else []
            wanted = webhooks.is_wanted(connection, "execution.progress")
            progress = wanted and deadlines.progress_due(connection, now - interval)
        written = 0
        for execution_id in {*late, *silent}:
            with contextlib.suppress(NotFound):  # deleted meanwhile
                written += self._change(execution_id, now)
        if progress:
            with self._database.write() as connection:
                written += announce_progress(connection, now, interval)
        self._looked_at = _now()
        return written

    def _change(self, execution_id: str, now: int) -> int:
        with self._database.write() as connection:
            before = after = executions.lock(connection, execution_id)
            is_late = before.is_late(now)
            if is_late:
                after = after.expired(now)
            changed: list[tuple[Shard | None, Shard]] = []
            for shard in executions.shards(connection, execution_id):
                if shard.is_silent(now) or (is_late and not shard.is_finished):
                    why = "Its runner fell silent" if shard.is_silent(now) else after.reason
                    lost = replace(shard.reported("lost", now), reason=why)
                    after = executions.change_shard(connection, after, shard, lost, now)
                    changed.append((shard, lost))
            if not changed and not is_late:
                return 0
            after = shard_reports.close(connection, after, now)
            executions.save(connection, after)
            return announce(connection, self._addresses(after), before, after, changed)

    def _addresses(self, execution: Execution) -> Urls:
        return Urls(self._settings.public_url or execution.root)


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
