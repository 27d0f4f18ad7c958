"""Request bodies that arrive as gzip or zstd, unpacked piece by piece: a small body that unpacks to a huge
one costs no more memory than the largest body that is allowed.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from typing import Protocol

from litestar.types import HTTPReceiveMessage, Receive, Scope

from pytest_tms.errors import BadRequest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 1 << 20
"""Bytes that are unpacked at once."""
WIDEST_WINDOW = 23
"""The logarithm of zstd's window, which is memory: 8 MB, what RFC 9659 allows in HTTP."""


def inflated(scope: Scope, receive: Receive) -> Receive:
    """``receive``, unpacked where the request says that its body is packed; what is told of its length goes.

    Raises BadRequest where it is packed in a way that is not known here.
    """
    packing = dict(scope["headers"]).get(b"content-encoding", b"").strip().lower().decode("latin-1")
    if packing in ("", "identity"):
        return receive
    if packing not in ("gzip", "zstd"):
        raise BadRequest(f"The body is packed as {packing[:50]}: send it as gzip, as zstd, or not packed.")
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if name not in (b"content-encoding", b"content-length")
    ]
    return _Inflate(receive, packing)


class _Unpacker(Protocol):
    """How zstd unpacks, within bounds; gzip is made to fit."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def _zstd() -> _Unpacker:
    bounded: _Unpacker = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: WIDEST_WINDOW}
    )
    return bounded


class _Inflate:
    """An ASGI ``receive`` that unpacks. Raises BadRequest where the body is none such or ends too soon."""

    def __init__(self, receive: Receive, packing: str) -> None:
        self._receive = receive
        self._packing = packing
        self._unpacker: _Unpacker = _Gzip() if packing == "gzip" else _zstd()
        self._more = True

    async def __call__(self) -> HTTPReceiveMessage:
        """The next piece."""
        packed = b""
        if self._unpacker.needs_input and self._more:
            message = await self._receive()
            if message["type"] != "http.request":
                return message  # type: ignore[return-value]  # the caller has gone
            packed = message["body"]
            self._more = bool(message.get("more_body"))
        else:
            await asyncio.sleep(0)  # others have their turn between two pieces
        try:
            body = self._unpacker.decompress(packed, PIECE)
        except (zlib.error, zstd.ZstdError):
            said = f"The body says that it is {self._packing}, and cannot be unpacked."
            raise BadRequest(said) from None
        more = not self._unpacker.eof and (self._more or not self._unpacker.needs_input)
        if not more and not self._unpacker.eof:
            raise BadRequest(f"The {self._packing} body ends too soon.")
        return {"type": "http.request", "body": body, "more_body": more}
