"""A TMS that is not ours: it records the requests that it receives and sends the responses that a test defines."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
import responses
import uvicorn
from litestar import Litestar, Request, Response, route

Reply = tuple[int, dict[str, str], bytes]
"""A status, headers and a body."""


@dataclass
class ForeignTms:
    """The requests to a foreign TMS, and its responses.

    ``route`` is called with the method and the path of a request. If there is none, or if it returns None,
    ``replies`` are given one after the other, the last one again and again.
    """

    url: str
    replies: list[Reply] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    route: Callable[[str, str], Reply | None] | None = None

    def add_response(self, status: int, body: object = None, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.replies.append((status, {"Content-Type": "application/json", **named}, content))

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self.requests.append({"method": method, "path": path, "headers": headers, "body": body})
        routed = self.route(method, path) if self.route else None
        if routed is not None:
            return routed
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def mocked() -> Iterator[ForeignTms]:
    """A foreign TMS for code that runs in the process of the test: responses replaces the network.

    Requests to this machine are sent.
    """
    known = ForeignTms("http://tms.example.com/api")

    def respond(request: requests.PreparedRequest) -> Reply:
        body = request.body or b""
        assert isinstance(body, bytes)
        return known.respond(request.method or "", request.path_url, request.headers, body)

    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "DELETE"):
            mock.add_callback(method, re.compile(re.escape(known.url)), respond, content_type=None)
        mock.add_passthru("http://127.0.0.1")
        yield known


@contextmanager
def served() -> Iterator[ForeignTms]:
    """A foreign TMS for code that runs in another process: the sender, an xdist worker, `tms`, Node.js.

    responses replaces functions of its own process, so that a real server is needed there. It is a Litestar
    application on uvicorn, which the server of this project needs anyway.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    known = ForeignTms(f"http://127.0.0.1:{listening.getsockname()[1]}/api")

    @route(["/", "/{path:path}"], http_method=["GET", "POST", "DELETE"])
    async def respond(request: Request[Any, Any, Any]) -> Response[bytes]:
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        body = await request.body()
        status, headers, content = known.respond(request.method, target, request.headers, body)
        return Response(content, status_code=status, headers=headers, media_type="application/json")

    app = Litestar([respond], openapi_config=None, logging_config=None)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    with listening:
        thread.start()
        yield known
        server.should_exit = True
        thread.join()
