"""The limit of connections of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvicorn
from uvicorn.server import ServerState

from pytest_tms.server.asgi import connections
from pytest_tms.server.asgi.connections import Connection


class Transport(asyncio.Transport):
    """A connection without a socket; like one of asyncio, it tells its protocol later that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError("no response is expected")


async def application(scope: object, receive: object, send: object) -> None:
    """An ASGI application that no request reaches."""


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Transport]]:
    """Return a function that makes connections in one iteration of the event loop, at most 3 at a time."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)

    def connect(number: int) -> list[Transport]:
        async def run() -> list[Transport]:
            config, state = uvicorn.Config(application, http=Connection, lifespan="off"), ServerState()
            config.load()
            made = [Transport() for _ in range(number)]
            for transport in made:
                protocol = Connection(config, state, {})
                protocol.connection_made(transport)
                protocol.data_received(b"GET / HTTP/1.1\r\nX-Incomplete: ")
            return made

        return asyncio.run(run())

    return connect


def test_each_connection_beyond_the_limit_closes_the_oldest_idle_one(
    connect: Callable[[int], list[Transport]],
) -> None:
    assert [each.is_closed for each in connect(3)] == [False] * 3
    assert [each.is_closed for each in connect(8)] == [True] * 5 + [False] * 3
