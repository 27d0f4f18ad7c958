"""The undocumented parts of uvicorn that ``asgi.connections.Connection`` and ``serving`` rely on."""

from __future__ import annotations

import asyncio
import inspect

import h11
import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess

from pytest_tms.server.asgi.connections import Connection


async def application(scope: object, receive: object, send: object) -> None:
    """An ASGI application that no request reaches."""


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("connection_made", ["self", "transport"]),
        ("connection_lost", ["self", "exc"]),
        ("data_received", ["self", "data"]),
        ("handle_events", ["self"]),
        ("on_response_complete", ["self"]),
        ("send_400_response", ["self", "msg"]),
        ("shutdown", ["self"]),
        ("pause_writing", ["self"]),
    ],
)
def test_an_overridden_method_has_the_same_parameters(method: str, parameters: list[str]) -> None:
    for protocol in (H11Protocol, Connection):
        assert list(inspect.signature(getattr(protocol, method)).parameters) == parameters


def test_a_protocol_has_the_attributes_that_are_read() -> None:
    async def create() -> H11Protocol:
        config = uvicorn.Config(application, http=H11Protocol, lifespan="off")
        return H11Protocol(config, ServerState(), {})

    protocol = asyncio.run(create())
    assert isinstance(protocol.conn, h11.Connection)
    assert isinstance(protocol.connections, set)
    assert protocol.cycle is None
    assert protocol.transport is None
    assert isinstance(protocol.loop, asyncio.AbstractEventLoop)


def test_a_cycle_has_the_attributes_that_are_read_and_set() -> None:
    source = inspect.getsource(RequestResponseCycle.__init__)
    for name in ("scope", "response_complete", "disconnected", "message_event"):
        assert f"self.{name} = " in source


def test_the_parser_error_is_current_when_the_response_to_it_is_sent() -> None:
    source = inspect.getsource(H11Protocol.handle_events)
    handler = source.partition("except h11.RemoteProtocolError")[2]
    assert "self.send_400_response(" in handler.partition("return")[0]


def test_several_processes_share_sockets_and_a_server_can_be_stopped() -> None:
    assert {"config", "sockets"} <= inspect.signature(Multiprocess).parameters.keys()
    assert uvicorn.Server(uvicorn.Config(application)).should_exit is False
