"""Limits of request bodies: how slowly one may arrive, and how much memory all of them may take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from litestar.types import Receive

from pytest_tms.errors import BadRequest, ServiceUnavailable

LARGEST_BODY = 100 << 20
"""Bytes of the largest request body."""
BODY_TIMEOUT = 20.0
"""Seconds that every body has."""
SLOWEST = 50_000
"""Bytes for which it has another second."""
MOST_HELD = 256 << 20
"""Bytes of bodies that one process holds at a time: two of the largest, and many small ones."""


def timely(receive: Receive) -> Receive:
    """Return ``receive`` with a time limit. Raises BadRequest for a body that is too slow or is cut off."""
    begun: float | None = None
    size = 0
    is_whole = False

    async def piece() -> Any:
        nonlocal begun, size, is_whole
        if is_whole:  # a further call waits for the client to disconnect
            return await receive()
        now = time.monotonic()
        begun = now if begun is None else begun
        try:
            with anyio.fail_after(max(0, begun + BODY_TIMEOUT + size / SLOWEST - now)):
                message = await receive()
        except TimeoutError:
            message_text = f"The body comes too slowly: send it at {SLOWEST // 1000} kB a second or more."
            raise BadRequest(message_text) from None
        if message["type"] == "http.disconnect":
            raise BadRequest("The client disconnected before the body was whole.")
        size += _size(message)
        is_whole = not message.get("more_body")
        return message

    return piece


def _size(message: Any) -> int:
    return len(message.get("body", b""))


class Budget:
    """The bytes of request bodies that this process holds."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def counted(self, receive: Receive) -> Iterator[Receive]:
        """Count the pieces of ``receive`` until the request ends. Raises ServiceUnavailable over budget."""
        mine = 0

        async def piece() -> Any:
            nonlocal mine
            message = await receive()
            size = _size(message)
            if size and self._held + size > MOST_HELD:
                raise ServiceUnavailable(
                    "The server is overloaded: it holds as many request bodies as it can. Try again later.",
                    retry_after=5,
                )
            mine += size
            self._held += size
            return message

        try:
            yield piece
        finally:
            self._held -= mine
