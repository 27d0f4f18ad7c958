"""A proxy between a client and the TMS that causes a planned fault for each request."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FAULTS = (
    "reset before",
    "reset after",
    "truncate",
    "hang before",
    "hang after",
    "drip",
    "twice",
    "html",
    "login",
    "429",
    "500",
    "503",
)
HANG = 0.5
"""Seconds of a hanging response: longer than the timeouts of clients in these tests."""


class Proxy:
    """Forwards to ``upstream``; ``plan`` has the faults of the next requests; later requests are forwarded.

    ``is_used`` is set when the first request arrives.
    """

    def __init__(self, upstream: str) -> None:
        self.plan: list[str] = []
        self.is_used = threading.Event()
        self._upstream = urlsplit(upstream)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                outer._handle(self)

            do_GET = do_POST = do_DELETE = forward  # noqa: N815  # the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Write no log."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that has gone is what these tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{self._upstream.path}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.01)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        self.is_used.set()
        fault = self.plan.pop(0) if self.plan else "none"
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if fault == "reset before":
            return _reset(request)
        if fault == "hang before":
            time.sleep(HANG)  # the fault itself
            return _reset(request)
        if fault in ("429", "500", "503"):
            return _respond(request, int(fault), b"{}", {"Retry-After": "0"})
        if fault == "html":
            return _respond(request, 200, b"<html>A proxy's page</html>", {"Content-Type": "text/html"})
        if fault == "login":
            return _respond(request, 302, b"", {"Location": "/login"})
        status, content = self._forward(request, body)
        if fault == "twice":
            status, content = self._forward(request, body)
        if fault == "reset after":
            return _reset(request)
        if fault == "hang after":
            time.sleep(HANG)
            return _reset(request)
        if fault == "truncate":
            _respond(request, status, content[: len(content) // 2], {}, length=len(content))
            return _reset(request)
        if fault == "drip":
            return _drip(request, status, content)
        return _respond(request, status, content, {})

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(
            self._upstream.hostname or "", self._upstream.port, timeout=30
        )
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in ("host", "connection", "content-length", "accept-encoding")
        }
        connection.request(request.command, request.path, body or None, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy on a free port."""
    running = Proxy(upstream)
    thread = threading.Thread(target=running.serve, daemon=True)
    thread.start()
    yield running
    running.close()
    thread.join()


def _respond(
    request: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str], length: int = -1
) -> None:
    request.send_response(status)
    for name, value in {"Content-Type": "application/json", **headers}.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(content) if length < 0 else length))
    request.end_headers()
    request.wfile.write(content)


def _drip(request: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    for start in range(0, len(content), 64):
        request.wfile.write(content[start : start + 64])
        request.wfile.flush()
        time.sleep(0.001)


def _reset(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    with contextlib.suppress(OSError):
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.connection.close()
