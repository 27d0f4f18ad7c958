"""Limits of request bodies: the time in which one has to arrive, and the memory that all of them take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from litestar.types import Receive

from pytest_tms.errors import BadRequest, ServiceUnavailable

MAX_BODY = 100 << 20
"""Bytes of the largest request body."""
BODY_TIMEOUT = 20.0
"""Seconds in which any body may arrive."""
MIN_RATE = 50_000
"""Bytes per second: a body has a further second for each of these."""
MAX_BUFFERED = 256 << 20
"""Bytes of bodies that one process buffers at a time: two of the largest, and many small ones."""


def with_timeout(receive: Receive) -> Receive:
    """Return ``receive`` with a timeout for the whole body.

    The returned function raises BadRequest if the body arrives too slowly, or if the client disconnects.
    """
    started: float | None = None
    size = 0
    is_complete = False

    async def chunk() -> Any:
        nonlocal started, size, is_complete
        if is_complete:  # a further call waits for the disconnect of the client
            return await receive()
        now = time.monotonic()
        started = now if started is None else started
        try:
            with anyio.fail_after(max(0, started + BODY_TIMEOUT + size / MIN_RATE - now)):
                message = await receive()
        except TimeoutError:
            message_text = f"The body arrives too slowly: send it at {MIN_RATE // 1000} kB/s or faster."
            raise BadRequest(message_text) from None
        if message["type"] == "http.disconnect":
            raise BadRequest("The client disconnected before the end of the body.")
        size += _size(message)
        is_complete = not message.get("more_body")
        return message

    return chunk


def _size(message: Any) -> int:
    return len(message.get("body", b""))


class BodyBuffer:
    """Counts the bytes of request bodies that this process buffers."""

    def __init__(self) -> None:
        self._buffered = 0

    @contextmanager
    def counted(self, receive: Receive) -> Iterator[Receive]:
        """Count what ``receive`` returns until the request ends.

        The function that the context yields raises ServiceUnavailable beyond ``MAX_BUFFERED``.
        """
        own = 0

        async def chunk() -> Any:
            nonlocal own
            message = await receive()
            size = _size(message)
            if size and self._buffered + size > MAX_BUFFERED:
                raise ServiceUnavailable(
                    "The server is overloaded: too many request bodies are in progress. Try again later.",
                    retry_after=5,
                )
            own += size
            self._buffered += size
            return message

        try:
            yield chunk
        finally:
            self._buffered -= own
