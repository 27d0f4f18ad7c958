"""Responses that are read without h11 are read as h11 reads them; all others are left to it."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.server.domain.egress import Target
from pytest_tms.server.webhooks import http_sender
from pytest_tms.server.webhooks.http_sender import HttpSender

TARGET = Target("https", "example.com", 443, "/hook?a=b")


def by_h11(data: bytes) -> tuple[int, dict[bytes, bytes], bytes, bool]:
    """Status, headers, body, and whether the connection can be used again."""
    protocol = h11.Connection(h11.CLIENT)
    protocol.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    protocol.send(h11.EndOfMessage())
    protocol.receive_data(data)
    response = protocol.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while not isinstance(event := protocol.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += event.data
    is_reusable = protocol.their_state is h11.DONE and not protocol.trailing_data[0]
    return response.status_code, dict(response.headers), body, is_reusable


@given(
    st.integers(200, 599),
    st.sampled_from([" OK", " ", "", " Some words"]),
    st.dictionaries(
        st.text("abcX-", min_size=1, max_size=8), st.text("abc ;=,/é\t", max_size=12), max_size=4
    ),
    st.binary(max_size=200),
)
def test_a_simple_response_is_what_h11_makes_of_it(
    status: int, phrase: str, headers: dict[str, str], body: bytes
) -> None:
    lines = [f"HTTP/1.1 {status}{phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1")
    found = http_sender._simple_response(head + body)
    if found is not None:
        assert (*found, body, True) == by_h11(head + body)


def test_the_usual_responses_are_simple() -> None:
    for body in (b"", b"ok", b"x" * 3_000):
        head = b"HTTP/1.1 200 OK\r\nDate: now\r\ncontent-length: %d\r\nRetry-After: 3\r\n\r\n" % len(body)
        found = http_sender._simple_response(head + body)
        assert found is not None
        assert found[0] == 200
        assert found[1][b"retry-after"] == b"3"


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",  # ends with the connection
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_all_other_responses_are_left_to_h11(response: bytes) -> None:
    assert http_sender._simple_response(response) is None


def test_the_beginning_of_a_request_is_checked_by_h11_and_kept() -> None:
    sender = HttpSender.__new__(HttpSender)
    sender._latest_head = None
    head = sender._head(TARGET, {"X-One": "1"})
    assert head.startswith(b"POST /hook?a=b HTTP/1.1\r\nHost: example.com\r\n")
    assert head.endswith(b"\r\nX-One: 1\r\n")
    assert b"Content-Length" not in head
    assert sender._head(TARGET, {"X-One": "1"}) is head
    assert b"X-One: 2" in sender._head(TARGET, {"X-One": "2"})
    with pytest.raises(h11.LocalProtocolError):
        sender._head(TARGET, {"X-One": "1\r\nX-Two: 2"})
