"""Callers who keep the server waiting: they cost bounded memory, and everybody else is answered."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.helpers.api import Api, Serve, expect_success
from tests.helpers.processes import first_token, peak_memory, wait_for

LARGEST = 100 << 20


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, int]]:
    """A server of its own, with its process id, whose memory is measured."""
    from tests.helpers.processes import serve

    folder = tmp_path_factory.mktemp("patient")
    process, url = serve(folder)
    yield Api(url, first_token(folder), folder), process.pid
    process.terminate()
    process.wait(timeout=20)


def connect(api: Api, sent: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", int(api.root.rpartition(":")[2])), timeout=60)
    client.sendall(sent)
    return client


def head(api: Api, size: int, path: str = "/executions") -> bytes:
    return (
        f"POST /api{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.token}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    ).encode()


def rest(client: socket.socket) -> bytes:
    """What the server sends until it closes."""
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionError:
        pass
    return received


@pytest.mark.slow
def test_heads_and_bodies_that_never_end_are_closed_while_others_are_answered(
    patient: tuple[Api, int],
) -> None:
    api, _ = patient
    slow = {
        "nothing at all": b"",
        "a head": b"GET /api/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        "a body": head(api, 1000) + b'{"testSuite": ',
        "a body for nobody": head(api, 1000, "/nope") + b"{",
    }
    with ExitStack() as stack:
        clients = {name: stack.enter_context(connect(api, sent)) for name, sent in slow.items()}
        expect_success(api.request("GET", "/"), 200)
        clients["a head"].sendall(b"x")  # a drip buys no time
        with ThreadPoolExecutor(len(clients)) as pool:
            ends = dict(zip(clients, pool.map(rest, clients.values()), strict=True))
    assert ends["nothing at all"] == ends["a head"] == b""
    assert ends["a body"].startswith(b"HTTP/1.1 400 ")
    assert b"The body arrives too slowly" in ends["a body"]
    assert ends["a body for nobody"].startswith(b"HTTP/1.1 404 ")


def test_a_head_without_end_is_cut_off(patient: tuple[Api, int]) -> None:
    api, pid = patient
    before = peak_memory(pid)
    endless = b"X-Long: " + b"x" * 60_000_000
    with connect(api, b"GET /api/ HTTP/1.1\r\n") as client, pytest.raises(ConnectionError):
        client.sendall(endless)
    assert peak_memory(pid) - before < 20 << 20


def test_more_connections_than_there_is_room_for_cost_the_oldest_idle_one(patient: tuple[Api, int]) -> None:
    api, pid = patient
    before = peak_memory(pid)
    api.session.close()  # its connection would be the one that is idle the longest
    with ExitStack() as stack:
        clients = [
            stack.enter_context(connect(api, b"GET /api/ HTTP/1.1\r\nX-Slow: " + b"x" * 15_000))
            for _ in range(900)
        ]
        expect_success(api.request("GET", "/"), 200)
        expect_success(requests.get(f"{api.url}/", timeout=60), 200)
        assert rest(clients[0]) == b""
    assert peak_memory(pid) - before < 100 << 20


def test_bodies_beyond_what_the_server_holds_are_503_and_come_through_later(patient: tuple[Api, int]) -> None:
    api, pid = patient
    before = peak_memory(pid)
    beginning = head(api, LARGEST) + b'{"testSuite": "smoke", "environment": "dev", "x": "'
    piece = b"x" * (1 << 20)

    def send(client: socket.socket) -> bytes:
        """Almost a whole body; then the server's answer, where it has one."""
        try:
            for _ in range(95):
                client.sendall(piece)
            client.settimeout(0.1)
            return client.recv(65536)
        except TimeoutError:
            return b""
        except ConnectionError:
            return b"closed"

    with ExitStack() as stack:
        clients = [stack.enter_context(connect(api, beginning)) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            early = list(pool.map(send, clients))
        turned = [response for response in early if response]
        assert 1 <= len(turned) <= 3
        assert any(
            response.startswith(b"HTTP/1.1 503 ") and b"retry-after: 5" in response for response in turned
        )
        expect_success(api.request("GET", "/"), 200)
    # Pieces, and a copy where one body is put together.
    assert peak_memory(pid) - before < 400 << 20
    wait_for(lambda: _is_read(api, {"x": "x" * (60 << 20)}))


def _is_read(api: Api, more: dict[str, str]) -> bool:
    """Return whether the server reads a large body to its end: it then finds a field that is too large."""
    body = json.dumps({"testSuite": "smoke", "environment": "dev", **more}).encode()
    response = api.request("POST", "/executions", body)
    assert response.status_code in (422, 503)
    return response.status_code == 422


def test_calls_beyond_what_the_server_can_do_are_503_with_the_documented_error(
    patient: tuple[Api, int],
) -> None:
    api, _ = patient
    with ExitStack() as stack:

        def is_full() -> bool:
            """A busy machine ends the first calls before the last are there: each look adds some."""
            for _ in range(20):
                stack.enter_context(connect(api, head(api, 10) + b"{"))
            return api.request("GET", "/").status_code == 503

        for _ in range(510):
            stack.enter_context(connect(api, head(api, 10) + b"{"))
        wait_for(is_full)
        response = api.request("GET", "/")
        assert response.headers["Retry-After"] == "1"
        assert response.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
    wait_for(lambda: api.request("GET", "/").status_code == 200)


@pytest.mark.slow
def test_what_a_shutdown_cannot_wait_for_is_503(start: Serve, tmp_path: Path) -> None:
    process, url = start(tmp_path)
    api = Api(url, first_token(tmp_path), tmp_path)
    with connect(api, head(api, 1000) + b"{") as client:
        expect_success(api.request("GET", "/"), 200)
        process.terminate()
        response = rest(client)
    assert response.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5" in response
    assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["code"] == "SERVICE_UNAVAILABLE"
    process.wait(timeout=20)
