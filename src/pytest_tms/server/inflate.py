"""Request bodies that arrive as gzip, unpacked piece by piece: a small body that unpacks to a huge one
costs no more memory than the largest body that is allowed.
"""

from __future__ import annotations

import zlib

from litestar.types import HTTPReceiveMessage, Receive, Scope

from pytest_tms.errors import BadRequest

PIECE = 1 << 20
"""Bytes that are unpacked at once."""


def inflated(scope: Scope, receive: Receive) -> Receive:
    """``receive``, unpacked where the request says that its body is gzip; what is told of its length goes."""
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"").strip().lower() != b"gzip":
        return receive
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if name not in (b"content-encoding", b"content-length")
    ]
    return _Inflate(receive)


class _Inflate:
    """An ASGI ``receive`` that unpacks. Raises BadRequest where the body is no gzip, or ends too soon."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._unpacker = zlib.decompressobj(wbits=31)
        self._packed = b""
        self._more = True

    async def __call__(self) -> HTTPReceiveMessage:
        """The next piece."""
        if not self._packed and self._more:
            message = await self._receive()
            if message["type"] != "http.request":
                return message  # type: ignore[return-value]  # the caller has gone
            self._packed = message["body"]
            self._more = bool(message.get("more_body"))
        try:
            body = self._unpacker.decompress(self._packed, PIECE)
        except zlib.error:
            raise BadRequest("The body says that it is gzip, and cannot be unpacked.") from None
        self._packed = self._unpacker.unconsumed_tail
        more = bool(self._packed) or (self._more and not self._unpacker.eof)
        if not more and not self._unpacker.eof:
            raise BadRequest("The gzip body ends too soon.")
        return {"type": "http.request", "body": body, "more_body": more}
