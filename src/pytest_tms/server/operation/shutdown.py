"""The ordered shutdown: a server that stops is not ready first, and serves until proxies have noticed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Any

from pytest_tms.server.operation.readiness import Readiness


class DelayedShutdown:
    """Delays the effect of SIGTERM by ``seconds``, in which ``/readyz`` returns 503.

    A second SIGTERM has its effect at once.
    """

    def __init__(self, readiness: Readiness, seconds: int) -> None:
        self._readiness = readiness
        self._seconds = seconds

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Handle SIGTERM before uvicorn does, which restores the handler that was set before its own."""
        previous: Any = signal.getsignal(signal.SIGTERM)
        is_handled = callable(previous) and threading.current_thread() is threading.main_thread()
        if is_handled:
            self._handle(previous)
        try:
            yield
        finally:
            self._readiness.is_stopping = True
            if is_handled:
                signal.signal(signal.SIGTERM, previous)

    def _handle(self, previous: Callable[[int, FrameType | None], None]) -> None:
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: FrameType | None) -> None:
            if self._seconds and not self._readiness.is_stopping:
                loop.call_soon_threadsafe(loop.call_later, self._seconds, previous, number, None)
            else:
                previous(number, frame)
            self._readiness.is_stopping = True

        signal.signal(signal.SIGTERM, stop)
