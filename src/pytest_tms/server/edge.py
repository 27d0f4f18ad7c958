"""The edge of the server: request ids, the checks of Host and Origin, every answer's headers, a clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from pytest_tms.errors import ApiError, Forbidden, ServiceUnavailable
from pytest_tms.server.api import errors
from pytest_tms.server.inflate import inflated
from pytest_tms.server.intake import Budget, timely
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
MOST_AT_ONCE = 500
"""Calls of the API under way in one process; who comes then is asked to come again."""
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
        self._budget = Budget()
        self._calls = 0

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

        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                meter = scope["state"].get("meter")
                own = {name.lower() for name, _ in message.get("headers", ())}
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    *(meter.headers if meter is not None else ()),
                    *((name, value) for name, value in HEADERS if name not in own),
                ]
            await send(message)

        is_call = scope["path"].startswith("/api/")
        self._calls += is_call
        try:
            self._check(scope, is_call)
            with self._budget.counted(inflated(scope, timely(receive))) as body:
                await self._app(scope, body, send_with_headers)
        except ApiError as error:
            await _answer(error, request_id, send_with_headers)
        except asyncio.CancelledError:  # by uvicorn, when a shutdown has waited long enough
            if has_begun:
                raise
            stopping = ServiceUnavailable("The server is stopping; try again later.", retry_after=5)
            await _answer(stopping, request_id, send_with_headers)
        finally:
            self._calls -= is_call

    def _check(self, scope: Scope, is_call: bool) -> None:
        """Raise what keeps a request from the application."""
        if refusal := self._refusal(scope):
            raise Forbidden(refusal)
        if is_call and self._calls > MOST_AT_ONCE:
            raise ServiceUnavailable("The server has more to do than it can; try again later.", retry_after=1)

    def _refusal(self, scope: Scope) -> str:
        """Why a request is not for the application; empty where it is."""
        headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return (
                "This server answers only to its own name: use http://127.0.0.1 or localhost; "
                "the operator sets another with --public-url or TMS_SERVER_PUBLIC_URL."
            )
        # A browser adds cookies to whatever a foreign page sends, but no foreign page can add a token.
        if str(scope.get("method")) in SAFE or b"authorization" in headers:
            return ""
        site, origin = headers.get(b"sec-fetch-site", ""), headers.get(b"origin", "")
        named = origin.partition("://")[2] or origin  # "null" where the page hides where it is
        is_own = site in OWN if site else named in ("", host, self._public)
        return "" if is_own else "A page of another site sent this: open the page here and do it from there."


async def _answer(error: ApiError, request_id: str, send: Send) -> None:
    body = errors.body(error, request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(round(error.retry_after)).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _name(host: str) -> str:
    """A host without its port."""
    return host.rpartition(":")[0] or host if not host.endswith("]") else host
