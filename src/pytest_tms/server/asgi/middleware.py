"""The middleware around the application: request ids, checks of Host and Origin, limits, headers, errors."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from pytest_tms.errors import ApiError, Forbidden, ServiceUnavailable
from pytest_tms.server import error_responses
from pytest_tms.server.api.rate_limits import rate_limit_headers
from pytest_tms.server.asgi.body_limits import Budget, timely
from pytest_tms.server.asgi.decompression import decompressed
from pytest_tms.server.asgi.headers import SECURITY_HEADERS, check_size
from pytest_tms.server.asgi.representations import Representation
from pytest_tms.server.asgi.request_targets import to_origin_form
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.pages import error_pages
from pytest_tms.server.pages.page_session import is_forwarded
from pytest_tms.server.request_context import RequestContext, request_context

LOG = logging.getLogger("pytest_tms.server")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
MAX_CALLS = 500
"""Calls of the API in progress in one process; further ones are asked to come again."""
OWN_SITES = frozenset({"same-origin", "none"})
"""The values of Sec-Fetch-Site of requests that come from a page of ours, or from the user."""
REVALIDATED = b"private, no-cache"
"""Cache-Control of answers that a client may keep if it asks with their ETag before each use."""


class Middleware:
    """Wraps the application.

    ``hosts`` are the names under which it may be addressed, None for any; ``public`` is the host and port of
    its pages behind a proxy.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, public: str = "") -> None:
        self._app = app
        self._hosts = hosts
        self._public = public
        self._has_warned = False
        self._latest = time.monotonic()
        self._budget = Budget()
        self._calls = 0

    @property
    def idle(self) -> float:
        """Seconds since the last request."""
        return time.monotonic() - self._latest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] == ScopeType.HTTP:
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self._latest = time.monotonic()
        context = RequestContext(request_id=new_id("req"))
        context.attach(scope)
        if scope["method"] == "HEAD":
            # A HEAD is a GET. The protocol leaves out the body, by the scope that it made: it stays as it is.
            scope = cast("HTTPScope", {**scope, "method": "GET"})
        represent = Representation(scope, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    *message.get("headers", ()),
                    (b"x-request-id", context.request_id.encode()),
                    *rate_limit_headers(context.meter),
                ]
                own = {name.lower() for name, _ in headers}
                if _is_cacheable(scope, message["status"]) and b"cache-control" not in own:
                    headers.append((b"cache-control", REVALIDATED))
                    own.add(b"cache-control")
                headers += [(name, value) for name, value in SECURITY_HEADERS if name not in own]
                message["headers"] = headers
            await represent(message)

        is_call = False
        try:
            check_size(scope["raw_path"] + scope["query_string"], scope["headers"])
            to_origin_form(scope)
            is_call = scope["path"].startswith("/api/")
            self._calls += is_call
            self._check(scope, is_call)
            self._check_links(scope)
            with self._budget.counted(decompressed(scope, timely(receive))) as body:
                await self._app(scope, body, send_with_headers)
        except ApiError as error:
            await _refuse(error, scope, send_with_headers)
        except asyncio.CancelledError:  # by uvicorn, when a shutdown has waited long enough
            if represent.has_begun:
                raise
            stopping = ServiceUnavailable("The server is stopping; try again later.", retry_after=5)
            await _refuse(stopping, scope, send_with_headers)
        finally:
            self._calls -= is_call

    def _check(self, scope: HTTPScope, is_call: bool) -> None:
        """Raise the error of a request that must not reach the application."""
        if refusal := self._refusal(scope):
            raise Forbidden(refusal)
        if is_call and self._calls > MAX_CALLS:
            raise ServiceUnavailable("The server is overloaded; try again later.", retry_after=1)

    def _check_links(self, scope: HTTPScope) -> None:
        """Warn once if executions are created through a proxy whose URL the links do not have."""
        if self._has_warned or self._public or self._hosts is None or scope["path"] != "/api/executions":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if is_forwarded(scope["http_version"], headers):
            self._has_warned = True
            LOG.warning(
                "a proxy passed a request on, and links lead to %s://%s: set --public-url or "
                "TMS_SERVER_PUBLIC_URL to the URL of the proxy",
                scope["scheme"],
                headers.get("host", "")[:300],
            )

    def _refusal(self, scope: HTTPScope) -> str:
        """Return why a request must not reach the application; empty if it may."""
        headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return (
                f"This server is not named {_name(host)[:100]!r}: use http://127.0.0.1 or localhost. Behind "
                "a proxy, the operator sets --public-url or TMS_SERVER_PUBLIC_URL to its URL, and the proxy "
                "passes on the Host (nginx: proxy_set_header Host $http_host)."
            )
        # A browser adds cookies to whatever a foreign page sends, but no foreign page can add a token.
        if scope["method"] in SAFE_METHODS or b"authorization" in headers:
            return ""
        site, origin = headers.get(b"sec-fetch-site", ""), headers.get(b"origin", "")
        named = origin.partition("://")[2] or origin  # "null" if the page hides its origin
        is_own = site in OWN_SITES if site else named in ("", host, self._public)
        return (
            ""
            if is_own
            else (
                "Cross-site request blocked: a page of another site sent it. Use a page of this server. "
                "Behind a proxy, the operator sets --public-url or TMS_SERVER_PUBLIC_URL to its URL."
            )
        )


def _is_cacheable(scope: HTTPScope, status: int) -> bool:
    """Return whether an answer is one of the API, or a static file, that its ETag can keep fresh."""
    is_read = scope["method"] == "GET" and scope["path"].startswith(("/api/", "/static/"))
    return is_read and status == 200


async def _refuse(error: ApiError, scope: HTTPScope, send: Send) -> None:
    """Answer with an error that did not come from the application."""
    if error_pages.wants_json(scope):
        body, kind = error_responses.body(error, request_context(scope).request_id), b"application/json"
    else:  # as errors of the application are: see error_pages
        body, kind = error_pages.render(error).encode(), b"text/html; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if not scope["path"].startswith("/api"):
        headers.append((b"vary", b"Accept"))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(round(error.retry_after)).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _name(host: str) -> str:
    """A host without its port."""
    return host.rpartition(":")[0] or host if not host.endswith("]") else host
