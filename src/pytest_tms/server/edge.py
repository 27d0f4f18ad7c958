"""The door of the server: request ids, the Host check, headers that every answer carries, and a clock."""

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
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Edge:
    """Wraps the application. ``hosts`` are the names it may be called by; None means any."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = hosts
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
                own = {name.lower() for name, _ in message.get("headers", ())}
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    *((name, value) for name, value in HEADERS if name not in own),
                ]
            await send(message)

        if self._hosts is not None and _host(scope) not in self._hosts:
            error = Forbidden("This server answers only to its own name: use http://127.0.0.1 or localhost.")
            body = errors.body(error, request_id)
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send_with_headers({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})
            return
        await self._app(scope, inflated(scope, receive), send_with_headers)


def _host(scope: Scope) -> str:
    value = (
        next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
    )
    return value.rpartition(":")[0] or value if not value.endswith("]") else value
