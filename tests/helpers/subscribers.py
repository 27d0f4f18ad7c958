"""Webhook receivers with a configurable behaviour, which record the requests that they receive."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass
class ReceivedRequest:
    """One received request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def payload(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


T = TypeVar("T")
Behave = Callable[[ReceivedRequest, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Subscribers:
    """Endpoints on one port, one for each path; each responds with 200 unless ``behave`` has another behaviour."""

    port: int = 0
    got: dict[str, list[ReceivedRequest]] = field(default_factory=lambda: defaultdict(list))
    behave: dict[str, Behave] = field(default_factory=dict)
    tasks: set[asyncio.Task[None] | None] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def of(self, path: str) -> list[ReceivedRequest]:
        return self.got[f"/{path}"]

    def wait_for(self, condition: Callable[[], T], seconds: float = 30) -> T:
        """Wait until ``condition`` returns a true value about the requests, and return that."""
        with self.changed:
            found = self.changed.wait_for(condition, seconds)
        assert found, f"the condition was not met within {seconds} s"
        return found

    def _notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())  # the loop alone would let one that hangs be collected
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers["content-length"]))
                got = ReceivedRequest(head[0].split()[1], headers, body)
                self.got[got.path].append(got)
                self._notify()
                behave = self.behave.get(got.path.lstrip("/"))
                if behave is None:
                    writer.write(OK)
                else:
                    await behave(got, writer)
                    self._notify()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # a task that ended as cancelled would be an error to the loop, with its whole traceback
        finally:
            writer.close()


def responds_with(status: int, **headers: str) -> Behave:
    """Return a behaviour that responds with this status and these headers."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())

    async def behave(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{lines}\r\n".encode())

    return behave


async def hangs(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drips(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.2)


async def floods(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
    for _chunk in range(1600):
        writer.write(b"x" * 65536)
        await writer.drain()


async def cuts(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@contextmanager
def subscribing() -> Iterator[Subscribers]:
    """Yield subscribers that run on an event loop in a thread of their own."""
    known = Subscribers()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(known.serve, "127.0.0.1", 0)

    async def end() -> None:
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    known.port = server.sockets[0].getsockname()[1]
    try:
        yield known
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
