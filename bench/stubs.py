"""Servers on this machine for what is measured: one that takes whatever reporters send, and a long way."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@contextmanager
def swallowing(kept: list[tuple[str, str, bytes]] | None = None) -> Iterator[str]:
    """The URL of a server that answers every request with a new id.

    Each request is appended to ``kept``: its method, path and body.
    """
    numbers = itertools.count(1)

    class Swallow(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def response(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if kept is not None:
                kept.append((self.command, self.path, sent))
            number = next(numbers)
            body = json.dumps({"id": f"id-{number}", "number": number, "message": ""}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = response  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Swallow)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def delayed(url: str, seconds: float) -> Iterator[str]:
    """``url`` by a way on which everything that is sent there takes ``seconds``."""
    parts = urlsplit(url)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(parts.hostname, parts.port)
        loop = asyncio.get_running_loop()

        async def back() -> None:
            while piece := await there.read(1 << 16):
                writer.write(piece)
            writer.close()

        returning = asyncio.create_task(back())
        while piece := await reader.read(1 << 16):
            loop.call_later(seconds, onward.write, piece)
        loop.call_later(seconds, onward.close)
        await returning

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(accepted, "127.0.0.1", 0)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, asyncio.Server]) -> asyncio.Server:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    port = run(listen()).sockets[0].getsockname()[1]
    yield parts._replace(netloc=f"127.0.0.1:{port}").geturl()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
