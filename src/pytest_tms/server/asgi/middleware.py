"""The middleware around the application: request ids, Host and Origin checks, limits, headers, errors."""

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
from pytest_tms.server.asgi.body_limits import BodyBuffer, with_timeout
from pytest_tms.server.asgi.decompression import decompressed
from pytest_tms.server.asgi.headers import SECURITY_HEADERS, check_size
from pytest_tms.server.asgi.representations import Representation
from pytest_tms.server.asgi.request_targets import to_origin_form
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.metrics import Metrics
from pytest_tms.server.pages import error_pages
from pytest_tms.server.pages.direct_requests import is_forwarded
from pytest_tms.server.request_context import RequestContext, request_context

LOG = logging.getLogger("pytest_tms.server")
ACCESS = logging.getLogger("pytest_tms.access")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
MAX_CALLS = 500
"""API requests in progress in one process; further ones receive a 503."""
SAME_SITES = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site for requests from this server's pages, or from the user directly."""
UNMATCHED = "unmatched"
"""The route of requests that reached no handler."""
CLIENT_LEFT = 499
"""The status that is recorded if the client closed the connection before the response, as nginx does."""
HEALTH = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes whose successful requests are not in the access log."""
MAX_PATH = 500
"""Characters of a path in the access log."""
REVALIDATE = b"private, no-cache"
"""Cache-Control of responses that a client may store if it revalidates their ETag before each use."""


class Middleware:
    """Wraps the ASGI application.

    ``hosts`` are the allowed names in the Host header, None for any. ``public`` is the host and port of the
    pages behind a proxy. ``metrics`` counts the responses.
    """

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str] | None, metrics: Metrics, public: str = ""
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._public = public
        self._metrics = metrics
        self.in_progress = 0
        """Requests in progress."""
        self._has_warned = False
        self._last_request = time.monotonic()
        self._body_buffer = BodyBuffer()
        self._api_requests = 0

    @property
    def idle(self) -> float:
        """The number of seconds since the last request."""
        return time.monotonic() - self._last_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == ScopeType.HTTP:
            await self._handle(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _handle(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self._last_request = time.monotonic()
        context = RequestContext(request_id=new_id("req"))
        context.attach(scope)
        started = time.perf_counter()
        self.in_progress += 1
        if scope["method"] == "HEAD":
            # Handled as a GET in a copy of the scope: by the original, the protocol leaves out the body.
            context.is_head = True
            scope = cast("HTTPScope", {**scope, "method": "GET"})

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status = message["status"]
            elif message["type"] == "http.response.body":
                context.size += len(message["body"])
            await send(message)

        represent = Representation(scope, observed_send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    *message.get("headers", ()),
                    (b"x-request-id", context.request_id.encode()),
                    *rate_limit_headers(context.meter),
                ]
                own = {name.lower() for name, _ in headers}
                if _is_cacheable(scope, message["status"]) and b"cache-control" not in own:
                    headers.append((b"cache-control", REVALIDATE))
                    own.add(b"cache-control")
                headers += [(name, value) for name, value in SECURITY_HEADERS if name not in own]
                message["headers"] = headers
            await represent(message)

        is_api = False
        try:
            check_size(scope["raw_path"] + scope["query_string"], scope["headers"])
            to_origin_form(scope)
            is_api = scope["path"].startswith("/api/")
            self._api_requests += is_api
            self._check(scope, is_api)
            self._check_links(scope)
            body = decompressed(scope, with_timeout(receive))
            if scope["method"] == "PUT":  # a file, which its handler writes to the disk as it arrives
                await self._app(scope, body, send_with_headers)
            else:
                with self._body_buffer.counted(body) as counted:
                    await self._app(scope, counted, send_with_headers)
        except ApiError as error:
            await _refuse(error, scope, send_with_headers)
        except asyncio.CancelledError:  # by uvicorn, at the end of the shutdown timeout
            if represent.has_started:
                raise
            stopping = ServiceUnavailable("The server is stopping; try again later.", retry_after=5)
            await _refuse(stopping, scope, send_with_headers)
        finally:
            self._api_requests -= is_api
            self.in_progress -= 1
            self._record(scope, context, time.perf_counter() - started)

    def _record(self, scope: HTTPScope, context: RequestContext, seconds: float) -> None:
        """Count a response, and write it to the access log."""
        method = "HEAD" if context.is_head else scope["method"]
        route = scope.get("path_template") or UNMATCHED
        status = context.status or CLIENT_LEFT
        self._metrics.responded(method, route, status, None if context.is_stream else seconds)
        if not ACCESS.isEnabledFor(logging.INFO) or (status == 200 and route in HEALTH):
            return
        path = scope["raw_path"].partition(b"?")[0][:MAX_PATH].decode("ascii", "backslashreplace")
        milliseconds = round(seconds * 1000, 1)
        fields = {
            "method": method,
            "path": path,
            "route": route,
            "status": status,
            "duration_ms": milliseconds,
            "bytes": context.size,
            "client": scope["client"][0] if scope["client"] else "",
            "actor": context.caller.id if context.caller else "",
        }
        ACCESS.info("%s %s %d %s ms", method, path, status, milliseconds, extra={"fields": fields})

    def _check(self, scope: HTTPScope, is_api: bool) -> None:
        """Check whether a request may reach the application.

        Raises:
            Forbidden: Its Host header is not allowed, or a page of another site sent it.
            ServiceUnavailable: Too many API requests are in progress.
        """
        if refusal := self._refusal(scope):
            raise Forbidden(refusal)
        if is_api and self._api_requests > MAX_CALLS:
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
        """Return the error message for a wrong host or a cross-site request; empty if there is no error."""
        headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._hosts is not None and _without_port(host) not in self._hosts:
            return (
                f"This server is not named {_without_port(host)[:100]!r}: use http://127.0.0.1 or localhost. "
                "Behind a proxy, the operator sets --public-url or TMS_SERVER_PUBLIC_URL to its URL, and the "
                "proxy passes on the Host (nginx: proxy_set_header Host $http_host)."
            )
        # A browser adds cookies to requests of pages of other sites, but those cannot add a token.
        if scope["method"] in SAFE_METHODS or b"authorization" in headers:
            return ""
        site, origin = headers.get(b"sec-fetch-site", ""), headers.get(b"origin", "")
        origin_host = origin.partition("://")[2] or origin  # "null" if the browser hides the origin
        is_own = site in SAME_SITES if site else origin_host in ("", host, self._public)
        return (
            ""
            if is_own
            else (
                "Cross-site request blocked: a page of another site sent it. Use a page of this server. "
                "Behind a proxy, the operator sets --public-url or TMS_SERVER_PUBLIC_URL to its URL."
            )
        )


def _is_cacheable(scope: HTTPScope, status: int) -> bool:
    """Return whether a response is one of the API or a static file, which clients may store."""
    is_read = scope["method"] == "GET" and scope["path"].startswith(("/api/", "/static/"))
    return is_read and status == 200


async def _refuse(error: ApiError, scope: HTTPScope, send: Send) -> None:
    """Send the response for an error of the middleware."""
    if error_pages.wants_json(scope):
        body, kind = error_responses.body(error, request_context(scope).request_id), b"application/json"
    else:  # as for errors of the application: see error_pages
        body, kind = error_pages.render(error).encode(), b"text/html; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if not scope["path"].startswith("/api"):
        headers.append((b"vary", b"Accept"))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(round(error.retry_after)).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _without_port(host: str) -> str:
    """Return a host without its port."""
    return host.rpartition(":")[0] or host if not host.endswith("]") else host
