"""ETags, 304 responses and compressed responses (RFC 9110, 8.8.3, 12.5.3 and 13.1.2)."""

from __future__ import annotations

import gzip
import hashlib
import sys
from typing import Any

from anyio.to_thread import run_sync
from litestar.types import HTTPResponseStartEvent, HTTPScope, Message, Send

from pytest_tms.server.asgi.headers import value
from pytest_tms.server.domain.content_negotiation import weights
from pytest_tms.server.request_context import request_context

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIN_COMPRESSED = 1024
"""Bytes of the smallest body that is compressed."""
MAX_BUFFERED = 1 << 20
"""Bytes of the largest body that is buffered; a larger one is sent in chunks, without an ETag."""
MIN_THREADED = 64 << 10
"""Bytes of the smallest body that is compressed and hashed on a thread."""
CODINGS = ("zstd", "gzip")
"""The codings of responses, the preferred one first."""
COMPRESSIBLE = ("text/", "application/json", "application/javascript", "application/xml", "image/svg+xml")
STREAMS = "text/event-stream"
"""The Content-Type of responses without an end."""


class Representation:
    """An ASGI ``send`` for one request. Complete responses get an ETag and are compressed, streams not."""

    def __init__(self, scope: HTTPScope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._start: Any = None
        self._chunks: list[bytes] = []
        self._size = 0
        self.has_started = False
        """Whether a part of the response was sent."""

    async def __call__(self, message: Message) -> None:
        """Process one message of the response."""
        if message["type"] == "http.response.start":
            self._start = message
            self._chunks, self._size = [], 0
            if value(message["headers"], b"content-type").startswith(STREAMS):
                request_context(self._scope).is_stream = True
                await self._send_head()
        elif message["type"] != "http.response.body" or self._start is None:
            await self._send(message)
        else:
            self._chunks.append(message["body"])
            self._size += len(self._chunks[-1])
            if not message["more_body"]:
                await self._finish()
            elif self._size > MAX_BUFFERED:
                await self._send_head()
                await self._send({**message, "body": b"".join(self._chunks)})

    async def _send_head(self) -> None:
        """Send the head of the response."""
        start, self._start = self._start, None
        self.has_started = True
        await self._send(start)

    async def _finish(self) -> None:
        """Send a complete response, or a 304 if the client has it already."""
        start: HTTPResponseStartEvent = self._start
        body = b"".join(self._chunks) if len(self._chunks) > 1 else self._chunks[0]
        headers = [(name.lower(), text) for name, text in start["headers"]]
        request_headers = self._scope["headers"]
        etag = await self._etag(start["status"], headers, body)
        if etag and matches(value(request_headers, b"if-none-match"), etag):
            start["status"], body = 304, b""
            headers = without(headers, b"content-length", b"content-type", b"content-encoding")
        elif is_compressible(start["status"], headers):
            coding = negotiated_coding(value(request_headers, b"accept-encoding"))
            vary = value(headers, b"vary")
            headers = without(headers, b"vary")
            headers.append((b"vary", f"{vary}, Accept-Encoding".removeprefix(", ").encode("latin-1")))
            if coding and len(body) >= MIN_COMPRESSED and not self._is_cross_site():
                body = await _in_thread(len(body), compress, coding, body)
                headers = without(headers, b"content-length")
                headers.append((b"content-encoding", coding.encode()))
                headers.append((b"content-length", str(len(body)).encode()))
        start["headers"] = headers
        await self._send_head()
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _etag(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> str:
        """Return the ETag of the response, added if it has none; empty for anything but a successful GET.

        It is weak if the response may be compressed, since the bytes differ then.
        """
        if status != 200 or self._scope["method"] not in ("GET", "HEAD") or value(headers, b"set-cookie"):
            return ""
        if etag := value(headers, b"etag"):
            if is_compressible(status, headers) and not etag.startswith("W/"):
                headers[:] = [*without(headers, b"etag"), (b"etag", f"W/{etag}".encode("latin-1"))]
                return f"W/{etag}"
            return etag
        digest = await _in_thread(len(body), _digest, body)
        etag = f'W/"{digest}"'
        headers.append((b"etag", etag.encode()))
        return etag

    def _is_cross_site(self) -> bool:
        """Return whether a page of another site sent the request with the user's cookies.

        The response may contain both its input and a secret of the user. The compressed length would reveal
        whether the two are alike (BREACH).
        """
        request_headers = self._scope["headers"]
        site = value(request_headers, b"sec-fetch-site")
        return bool(value(request_headers, b"cookie")) and site not in ("", "same-origin", "none")


def matches(if_none_match: str, etag: str) -> bool:
    """Return whether If-None-Match names an ETag, or any by ``*``, in weak comparison."""
    names = [name.strip().removeprefix("W/") for name in if_none_match.split(",")]
    return "*" in names or etag.removeprefix("W/") in names


def negotiated_coding(accept_encoding: str) -> str:
    """Return the coding that Accept-Encoding prefers, of equal ones our first; empty for none."""
    accepted = weights(accept_encoding)
    if "x-gzip" in accepted:
        accepted.setdefault("gzip", accepted["x-gzip"])
    others = accepted.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: accepted.get(coding, others))  # max() returns the first of equals
    weight = accepted.get(best, others)
    return best if weight > 0 and weight >= accepted.get("identity", 0.0) else ""


def is_compressible(status: int, headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether the Content-Type of a response compresses well, and it is not compressed yet."""
    kind = value(headers, b"content-type")
    if "no-transform" in value(headers, b"cache-control"):
        return False
    encoded = value(headers, b"content-encoding") or value(headers, b"content-range")
    return status not in (204, 206, 304) and not encoded and kind.startswith(COMPRESSIBLE)


def compress(coding: str, body: bytes) -> bytes:
    """Return a compressed body."""
    return zstd.compress(body, 3) if coding == "zstd" else gzip.compress(body, 5, mtime=0)


def without(headers: list[tuple[bytes, bytes]], *names: bytes) -> list[tuple[bytes, bytes]]:
    """Return headers without those of some names."""
    return [(name, text) for name, text in headers if name not in names]


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()


async def _in_thread(size: int, function: Any, *arguments: Any) -> Any:
    if size < MIN_THREADED:
        return function(*arguments)
    return await run_sync(function, *arguments)
