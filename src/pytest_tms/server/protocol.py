"""HTTP as uvicorn speaks it, for callers who may not keep a connection waiting for ever."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

WAITS = 10.0
"""Seconds that a connection waits for a whole head of a request, however it drips."""
MOST_CONNECTIONS = 800
"""Connections of one process: fewer than the 1024 files that it may open on most systems."""


class Patient(H11Protocol):
    """Closes a connection on which no request is under way: after a while, or to make room for another."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait; where there are too many, whoever has waited longest goes."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST_CONNECTIONS:
            idle = [each for each in self.connections if isinstance(each, Patient) and each._waiting]
            if idle:
                min(idle, key=lambda each: each._waiting.when() if each._waiting else 0)._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take in what came; a whole head ends the wait."""
        super().handle_events()
        begun = self.cycle is not None
        if begun and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody wanted."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait()

    def _wait(self) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(WAITS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._stop_waiting()
        self.transport.close()
