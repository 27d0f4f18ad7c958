"""TmsClient against foreign servers: what it sends, retries and raises."""

from __future__ import annotations

import gc
import gzip
import json
import socket
import threading
import warnings
from base64 import b64encode
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from pytest_tms import TmsClient, errors, wire
from pytest_tms.errors import ApiError
from tests.conftest import Foreign
from tests.helpers.fault_servers import peer

REQUEST = wire.ExecutionRequest(test_suite="smoke", environment="dev")
CREATED = {"executionId": "exec_1", "status": "created", "webhookUrl": "", "webhookToken": ""}


@pytest.fixture
def client(foreign: Foreign) -> Iterator[TmsClient]:
    with TmsClient(foreign.url, "tms_secret", retries=2) as client:
        yield client


def test_a_request_is_the_documented_one(foreign: Foreign, client: TmsClient) -> None:
    foreign.will_answer(201, CREATED)
    assert client.create_execution(REQUEST).execution_id == "exec_1"
    (request,) = foreign.requests
    assert (request["method"], request["path"]) == ("POST", "/api/executions")
    assert request["headers"]["Authorization"] == "Bearer tms_secret"
    assert request["headers"]["Content-Type"] == "application/json"
    assert json.loads(request["body"]) == {"testSuite": "smoke", "environment": "dev"}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_documented_retryable_statuses_are_tried_again_with_one_key(
    foreign: Foreign, client: TmsClient, status: int
) -> None:
    foreign.will_answer(status, {}, Retry_After="0")
    foreign.will_answer(201, CREATED)
    assert client.create_execution(REQUEST).execution_id == "exec_1"
    keys = {request["headers"]["Idempotency-Key"] for request in foreign.requests}
    assert len(foreign.requests) == 2
    assert len(keys) == 1


def test_other_statuses_are_not_tried_again(foreign: Foreign, client: TmsClient) -> None:
    foreign.will_answer(404, {})
    with pytest.raises(errors.NotFound):
        client.get_execution("exec_1")
    assert len(foreign.requests) == 1


@pytest.mark.parametrize("kind", [kind for _, kind in sorted(errors.BY_STATUS.items())])
def test_every_documented_status_has_an_error_that_carries_what_the_server_said(
    foreign: Foreign, kind: type[ApiError]
) -> None:
    foreign.will_answer(
        kind.status,
        {
            "error": {
                "code": "SOME_CODE",
                "message": "It is wrong.",
                "details": [{"field": "testSuite", "message": "Must be one of: smoke"}],
                "requestId": "req_1",
                "timestamp": "2025-08-04T12:34:56.789Z",
            }
        },
        Retry_After="7",
    )
    with TmsClient(foreign.url, "t", retries=0) as client, pytest.raises(kind) as caught:
        client.create_execution(REQUEST)
    error = caught.value
    assert (error.code, error.message, error.request_id, error.retry_after) == (
        "SOME_CODE",
        "It is wrong.",
        "req_1",
        7,
    )
    assert error.details == (errors.Problem("testSuite", "Must be one of: smoke"),)
    assert str(error) == "It is wrong. (testSuite: Must be one of: smoke)"


def test_an_error_shows_its_hint() -> None:
    problem = errors.Problem("testSuite", "Must be one of: smoke")
    error = errors.Unprocessable("It is wrong", details=[problem], hint="The operator allows others.")
    assert str(error) == "It is wrong (testSuite: Must be one of: smoke). The operator allows others."


def test_an_error_without_the_documented_shape_still_says_who_answered_what(
    foreign: Foreign, client: TmsClient
) -> None:
    foreign.will_answer(418, b"<html>short and stout</html>")
    with pytest.raises(errors.BadRequest, match=r"http://127\.0\.0\.1:\d+ answered 418"):
        client.get_execution("exec_1")


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, b"<html>Please log in</html>", "not as a TMS does: check that the base URL includes /api"),
        (200, b"[1]", "not as a TMS does"),
        (302, b"", "redirects elsewhere"),
    ],
)
def test_what_is_no_tms_is_told_apart(
    foreign: Foreign, client: TmsClient, status: int, body: bytes, says: str
) -> None:
    foreign.will_answer(status, body, Location="/login")
    with pytest.raises(errors.NotTms, match=says):
        client.get_execution("exec_1")
    assert len(foreign.requests) == 1


def test_a_server_that_is_away_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        TmsClient(f"http://user:pass@127.0.0.1:{port}/api", "t", retries=0) as client,
        pytest.raises(errors.Unreachable) as caught,
    ):
        client.describe_service()
    assert str(caught.value) == f"http://127.0.0.1:{port} does not answer: the connection is refused."


def test_an_ipv6_address_needs_no_port() -> None:
    with (
        TmsClient("http://[::1]/api", "t", retries=0) as client,
        pytest.raises(errors.Unreachable) as caught,
    ):
        client.describe_service()
    assert str(caught.value) == "http://[::1] does not answer: the connection is refused."


def test_a_server_that_says_nothing_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with (
            TmsClient(url, "t", retries=0, read_timeout=0.05) as client,
            pytest.raises(errors.Unreachable, match="it timed out"),
        ):
            client.describe_service()


@pytest.mark.parametrize(("url", "token"), [("no-url", "t"), ("http://127.0.0.1:1/api", "tms_se\ncret")])
def test_a_malformed_url_or_token_is_an_error_that_does_not_show_the_token(url: str, token: str) -> None:
    with TmsClient(url, token, retries=0) as client, pytest.raises(errors.Unreachable) as caught:
        client.describe_service()
    assert "malformed" in str(caught.value)
    assert "tms_se" not in f"{caught.value!r}{caught.value.__cause__!r}{client!r}"


def test_a_netrc_entry_does_not_replace_the_token(
    foreign: Foreign, client: TmsClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    foreign.will_answer(200, {"executionId": "exec_1"})
    client.get_execution("exec_1")
    assert foreign.requests[0]["headers"]["Authorization"] == "Bearer tms_secret"


def test_an_id_cannot_leave_its_place_in_the_path(foreign: Foreign, client: TmsClient) -> None:
    foreign.will_answer(200, {"executionId": "exec_1"})
    client.get_execution("../../admin?x=1")
    assert foreign.requests[0]["path"] == "/api/executions/..%2F..%2Fadmin%3Fx%3D1"


def test_an_event_goes_to_the_webhook_url_with_the_execution_token(
    foreign: Foreign, client: TmsClient
) -> None:
    foreign.will_answer(202, b"")
    event = wire.Event(event="execution.started", execution_id="exec_1")
    assert (
        client.send_event(event, webhook_url=f"{foreign.url}/hook", webhook_token="wh_token_1").status
        == "accepted"
    )
    assert foreign.requests[0]["path"] == "/api/hook"
    assert foreign.requests[0]["headers"]["Authorization"] == "Bearer wh_token_1"


def test_all_tests_are_fetched_page_after_page(foreign: Foreign, client: TmsClient) -> None:
    foreign.will_answer(200, {"executionId": "exec_1", "tests": [{"title": "a"}], "cursor": "17"})
    foreign.will_answer(200, {"executionId": "exec_1", "tests": [{"title": "b"}], "cursor": None})
    assert [test["title"] for test in client.iter_tests("exec_1")] == ["a", "b"]
    assert "cursor=17" in foreign.requests[1]["path"]


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_the_environments_proxy_is_used_with_its_login(
    name: str, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "HTTP_PROXY":
        monkeypatch.delenv("REQUEST_METHOD", raising=False)  # a CGI script would not heed it
    host = foreign.url.removeprefix("http://").partition("/")[0]
    monkeypatch.setenv(name, f"http://me:p%40ss@{host}")
    foreign.will_answer(200, {"executionId": "exec_1"})
    with TmsClient("http://tms.invalid/api", "t", retries=0) as client:
        client.get_execution("exec_1")
    (request,) = foreign.requests
    assert request["path"] == "http://tms.invalid/api/executions/exec_1"
    assert request["headers"]["Proxy-Authorization"] == f"Basic {b64encode(b'me:p@ss').decode()}"
    assert request["headers"]["Authorization"] == "Bearer t"


@pytest.mark.parametrize("spared", ["127.0.0.1", "elsewhere.example, 127.0.0.0/8", "*"])
def test_a_host_that_needs_no_proxy_is_called_directly(
    spared: str, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    monkeypatch.setenv("no_proxy", spared)
    foreign.will_answer(200, {"executionId": "exec_1"})
    with TmsClient(foreign.url, "t", retries=0) as client:
        client.get_execution("exec_1")
    assert foreign.requests[0]["path"] == "/api/executions/exec_1"


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    with (
        TmsClient("http://tms.invalid/api", "t", retries=0) as client,
        pytest.raises(errors.Unreachable) as it,
    ):
        client.describe_service()
    assert (
        str(it.value) == "http://tms.invalid does not answer: the environment's proxy is not an http:// one."
    )


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again() -> None:
    body = b'{"executionId": "exec_1"}'
    closed = threading.Event()

    def answers_once(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        connection.close()  # which it did not announce
        closed.set()

    with peer(answers_once) as url, TmsClient(url, "t", retries=0) as client:
        for _ in range(2):
            assert client.get_execution("exec_1").execution_id == "exec_1"
            assert closed.wait(20)
            closed.clear()


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"{}", mtime=0)[:-9]], ids=["none", "torn"])
def test_an_answer_that_cannot_be_unpacked_is_none(foreign: Foreign, content: bytes) -> None:
    foreign.will_answer(200, content, Content_Encoding="gzip")
    with (
        TmsClient(foreign.url, "t", retries=0) as client,
        pytest.raises(errors.Unreachable, match="what it sent cannot be unpacked"),
    ):
        client.get_execution("exec_1")


def test_an_answer_may_be_packed(foreign: Foreign, client: TmsClient) -> None:
    foreign.will_answer(200, gzip.compress(b'{"executionId": "exec_1"}'), Content_Encoding="gzip")
    assert client.get_execution("exec_1").execution_id == "exec_1"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("soon", None),
        ("", None),
        ("-1", None),
        ("1" * 400, inf),
    ],
)
def test_how_long_to_wait_is_a_number_or_a_date(foreign: Foreign, asked: str, seconds: float | None) -> None:
    foreign.will_answer(429, {}, Retry_After=asked)
    with TmsClient(foreign.url, "t", retries=0) as client, pytest.raises(errors.RateLimited) as caught:
        client.get_execution("exec_1")
    assert caught.value.retry_after == seconds


def test_certificates_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    with (
        TmsClient("https://127.0.0.1:1/api", "t", retries=0) as client,
        pytest.raises(errors.Unreachable) as it,
    ):
        client.describe_service()
    assert str(it.value) == (
        "https://127.0.0.1:1 does not answer: the certificates to trust cannot be read, /no/such.pem: "
        "No such file or directory."
    )


def test_a_client_that_nobody_closed_leaves_no_open_socket(foreign: Foreign) -> None:
    foreign.will_answer(200, {"executionId": "exec_1"})
    client = TmsClient(foreign.url, "t", retries=0)
    client.get_execution("exec_1")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del client
        gc.collect()
    assert [each for each in seen if issubclass(each.category, ResourceWarning)] == []
