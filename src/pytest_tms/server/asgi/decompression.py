"""Decompression of request bodies in chunks, so that a small body that expands to a huge one takes no more
memory than the largest body that is allowed.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from typing import Protocol

from litestar.types import HTTPReceiveMessage, Receive, Scope

from pytest_tms.errors import BadRequest, TooLarge
from pytest_tms.server.asgi.body_limits import MAX_BODY

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK = 1 << 20
"""Bytes of one decompressed chunk."""
MAX_ZSTD_WINDOW_LOG = 23
"""The logarithm of zstd's window, which is memory: 8 MB, as RFC 9659 allows in HTTP."""
CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "zstd": "zstd"}
"""The accepted values of Content-Encoding; ``x-gzip`` is an old name of gzip (RFC 9110, 8.4.1.3)."""
MAX_MEMBERS = 10_000
"""Members of one gzip body, or frames of one zstd body: bgzip writes one for each 64 KB."""


def decompressed(scope: Scope, receive: Receive) -> Receive:
    """Return ``receive`` with decompression according to the Content-Encoding of the request.

    Headers about the compressed body are removed from ``scope``.

    Raises:
        BadRequest: The coding is not supported.
    """
    named = b",".join(value for name, value in scope["headers"] if name == b"content-encoding")
    codings = [word.strip().lower() for word in named.decode("latin-1").split(",")]
    codings = [word for word in codings if word not in ("", "identity")]
    if not codings:
        return receive
    if len(codings) > 1 or codings[0] not in CODINGS:
        names = ", ".join(codings)[:50]
        raise BadRequest(f"The Content-Encoding {names} is not supported: use gzip, deflate, zstd, or none.")
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if name not in (b"content-encoding", b"content-length")
    ]
    return _Decompress(receive, CODINGS[codings[0]])


class _Decompressor(Protocol):
    """The interface of ``zstd.ZstdDecompressor``, to which zlib is adapted."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """Decompresses gzip if ``wbits`` is 31, and zlib if it is 15."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits=wbits)
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail and not self._is_full

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        body = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._is_full = len(body) == max_length
        return body


class _Deflate(_Zlib):
    """Decompresses the zlib format (RFC 9110, 8.4.1.2), or the raw deflate data that some clients send."""

    def __init__(self) -> None:
        super().__init__(15)
        self._start: bytes | None = b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._start is not None:
            data = self._start = self._start + data
            if len(data) < 2:
                return b""
            if data[0] & 15 != 8 or int.from_bytes(data[:2], "big") % 31:  # not a zlib header
                self._zlib = zlib.decompressobj(wbits=-15)
            self._start = None
        return super().decompress(data, max_length)


def _decompressor(coding: str) -> _Decompressor:
    if coding == "gzip":
        return _Zlib(31)
    if coding == "deflate":
        return _Deflate()
    bounded: _Decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW_LOG}
    )
    return bounded


class _Decompress:
    """An ASGI ``receive`` that decompresses every member of a gzip body, and every frame of a zstd body.

    Raises BadRequest for a body that is not valid or is truncated, and TooLarge for one that has too many
    compressed bytes or members.
    """

    def __init__(self, receive: Receive, coding: str) -> None:
        self._receive = receive
        self._coding = coding
        self._decompressor = _decompressor(coding)
        self._members = 1
        self._pending = b""
        self._has_more = True
        self._size = 0

    async def __call__(self) -> HTTPReceiveMessage:
        """Return the next chunk, which may be empty.

        Raises:
            BadRequest: The body is not valid, or is truncated.
            TooLarge: The body has too many compressed bytes or members.
        """
        is_idle = self._decompressor.eof or self._decompressor.needs_input
        if is_idle and not self._pending and self._has_more:
            message = await self._receive()
            if message["type"] != "http.request":
                return message  # type: ignore[return-value]  # the client has disconnected
            self._pending = message["body"]
            self._has_more = bool(message.get("more_body"))
            self._size += len(self._pending)
            if self._size > MAX_BODY:
                raise TooLarge("The compressed body is larger than 100 MB: submit less at once.")
        else:
            await asyncio.sleep(0)  # let other requests run between two chunks
        try:
            body = self._decompress()
        except (zlib.error, zstd.ZstdError):
            raise BadRequest(f"The body is not valid {self._coding}.") from None
        is_ended = not (self._pending or self._has_more)
        if is_ended and not self._decompressor.eof:
            if self._decompressor.needs_input:
                raise BadRequest(f"The {self._coding} body is truncated.")
            is_ended = False
        return {"type": "http.request", "body": body, "more_body": not is_ended}

    def _decompress(self) -> bytes:
        data, self._pending = self._pending, b""
        if self._decompressor.eof:
            if self._coding == "gzip":
                data = data.lstrip(b"\0")  # padding that some writers append
            if not data:
                return b""
            if self._coding == "deflate":
                raise zlib.error
            self._members += 1
            if self._members > MAX_MEMBERS:
                raise TooLarge(f"The body has more than {MAX_MEMBERS:,} {self._coding} members: use fewer.")
            self._decompressor = _decompressor(self._coding)
        body = self._decompressor.decompress(data, CHUNK)
        if self._decompressor.eof:
            self._pending = self._decompressor.unused_data
        return body
