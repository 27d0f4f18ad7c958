"""Periodic jobs: a function that is called again and again on a thread of its own, beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

LOG = logging.getLogger("pytest_tms.server")


class PeriodicJob(ABC):
    """A job of one process, which runs for as long as the application."""

    interval: float
    """Seconds between two runs; the first is at the start of the server."""
    failure: str
    """What a warning says when a run failed; the following failures in a row are not logged."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    @abstractmethod
    def run(self) -> None:
        """Do what is due. An exception is logged, and the next run is at its usual time."""

    @property
    def is_stopping(self) -> bool:
        """Whether the application ends, so that a long run should too."""
        return self._stopping.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait, at most until the application ends; return whether it does."""
        return self._stopping.wait(seconds)

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Run the job until the application ends; a run in progress is finished first."""
        thread = ThreadPoolExecutor(1, "tms-job")
        task = asyncio.create_task(self._repeat(thread))
        try:
            yield
        finally:
            self._stopping.set()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(thread.shutdown)

    async def _repeat(self, thread: ThreadPoolExecutor) -> None:
        has_failed = False
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(thread, self.run)
                has_failed = False
            except Exception as error:  # most often the database is unavailable, and stays so for a while
                if not has_failed:
                    LOG.warning("%s: %s", self.failure, error)
                has_failed = True
            await asyncio.sleep(self.interval)
