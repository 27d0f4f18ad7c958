"""The edge of the server: request ids, the checks of Host and Origin, every answer's headers, a clock."""

from __future__ import annotations

import time
from collections.abc import Sequence

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from pytest_tms.errors import Forbidden
from pytest_tms.server.api import errors
from pytest_tms.server.inflate import inflated
from pytest_tms.server.model.ids import new_id

HEADERS: Sequence[tuple[bytes, bytes]] = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer, browsers would tell no Origin either
    (b"cache-control", b"no-store"),
)
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
OWN = frozenset({"same-origin", "none"})
"""What a browser says in Sec-Fetch-Site where a page of ours, or its user, sends the request."""


class Edge:
    """Wraps the application.

    ``hosts`` are the names it may be called by, None for any; ``public`` is the host and port of its pages
    where a proxy stands before it.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, public: str = "") -> None:
        self._app = app
        self._hosts = hosts
        self._public = public
        self._latest = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since the last request."""
        return time.monotonic() - self._latest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if str(scope["type"]) != "http":
            await self._app(scope, receive, send)
            return
        self._latest = time.monotonic()
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                meter = scope["state"].get("meter")
                own = {name.lower() for name, _ in message.get("headers", ())}
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    *(meter.headers if meter is not None else ()),
                    *((name, value) for name, value in HEADERS if name not in own),
                ]
            await send(message)

        if refusal := self._refusal(scope):
            body = errors.body(Forbidden(refusal), request_id)
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send_with_headers({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})
            return
        await self._app(scope, inflated(scope, receive), send_with_headers)

    def _refusal(self, scope: Scope) -> str:
        """Why a request is not for the application; empty where it is."""
        headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return "This server answers only to its own name: use http://127.0.0.1 or localhost."
        # A browser adds cookies to whatever a foreign page sends, but no foreign page can add a token.
        if str(scope.get("method")) in SAFE or b"authorization" in headers:
            return ""
        site, origin = headers.get(b"sec-fetch-site", ""), headers.get(b"origin", "")
        named = origin.partition("://")[2] or origin  # "null" where the page hides where it is
        is_own = site in OWN if site else named in ("", host, self._public)
        return "" if is_own else "A page of another site sent this: open the page here and do it from there."


def _name(host: str) -> str:
    """A host without its port."""
    return host.rpartition(":")[0] or host if not host.endswith("]") else host
