"""Request bodies on their way in: each in its time, and all together within a budget of memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from litestar.types import Receive

from pytest_tms.errors import BadRequest, ServiceUnavailable

HEAD_START = 20.0
"""Seconds that every body has."""
SLOWEST = 50_000
"""Bytes for which it has another second."""
MOST_HELD = 256 << 20
"""Bytes of bodies that one process holds at a time: two of the largest, and many small ones."""


def timely(receive: Receive) -> Receive:
    """``receive`` for a body that must not drip. Raises BadRequest where it does or is cut off."""
    begun: float | None = None
    size = 0
    is_whole = False

    async def piece() -> Any:
        nonlocal begun, size, is_whole
        if is_whole:  # whoever asks on waits for the caller to go
            return await receive()
        now = time.monotonic()
        begun = now if begun is None else begun
        try:
            with anyio.fail_after(max(0, begun + HEAD_START + size / SLOWEST - now)):
                message = await receive()
        except TimeoutError:
            said = f"The body comes too slowly: send it at {SLOWEST // 1000} kB a second or more."
            raise BadRequest(said) from None
        if message["type"] == "http.disconnect":
            raise BadRequest("The caller went away before the body was whole.")
        size += _size(message)
        is_whole = not message.get("more_body")
        return message

    return piece


def _size(message: Any) -> int:
    return len(message.get("body", b""))


class Budget:
    """The bytes of bodies that this process holds."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def counted(self, receive: Receive) -> Iterator[Receive]:
        """``receive``, whose pieces count until the request ends. Raises ServiceUnavailable over budget."""
        mine = 0

        async def piece() -> Any:
            nonlocal mine
            message = await receive()
            size = _size(message)
            if size and self._held + size > MOST_HELD:
                said = "The server takes in as much as it can hold; try again later."
                raise ServiceUnavailable(said, retry_after=5)
            mine += size
            self._held += size
            return message

        try:
            yield piece
        finally:
            self._held -= mine
