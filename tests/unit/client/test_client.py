"""TmsClient: what it sends, decodes and raises. HTTP is mocked with responses, broken connections are real."""

from __future__ import annotations

import gc
import gzip
import json
import re
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from pytest_tms import TmsClient, errors, wire
from pytest_tms.client.client import MIN_COMPRESSED
from pytest_tms.errors import ApiError
from tests.helpers.fault_servers import Behave, faulty_server, hangs, resets, responds_with
from tests.helpers.foreign_tms import ForeignTms

URL = "https://tms.example.com/api"
REQUEST = wire.ExecutionRequest(test_suite="smoke", environment="dev")
CREATED = {"executionId": "exec_1", "status": "created", "webhookUrl": "", "webhookToken": ""}
STATUS = {"executionId": "exec_1"}


@pytest.fixture
def mock() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def client() -> Iterator[TmsClient]:
    with TmsClient(URL, "tms_secret", retries=2) as client:
        yield client


@contextmanager
def sequence(*behaves: Behave) -> Iterator[str]:
    """A base URL whose requests meet ``behaves``, one after the other."""
    left = list(behaves)

    def behave(connection: socket.socket, over: threading.Event) -> None:
        left.pop(0)(connection, over)

    with faulty_server(behave) as url:
        yield url
    assert left == []


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that urllib3 waits between attempts; it does not wait."""
    seconds: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", seconds.append)
    return seconds


def argument(mock: responses.RequestsMock, name: str) -> Any:
    """An argument with which requests sent the first request: responses adds them to it."""
    return vars(mock.calls[0].request)["req_kwargs"][name]


def body_of(request: requests.PreparedRequest) -> bytes:
    assert isinstance(request.body, bytes)
    return request.body


# Requests -----------------------------------------------------------------------------------


def test_a_request_is_the_documented_one(mock: responses.RequestsMock, client: TmsClient) -> None:
    mock.post(f"{URL}/executions", status=201, json=CREATED)
    assert client.create_execution(REQUEST).execution_id == "exec_1"
    request = mock.calls[0].request
    assert request.headers["Authorization"] == "Bearer tms_secret"
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body or b"") == {"testSuite": "smoke", "environment": "dev"}


def test_timeouts_are_those_of_the_client(mock: responses.RequestsMock) -> None:
    mock.get(f"{URL}/executions/exec_1", json=STATUS)
    with TmsClient(URL, "t", connect_timeout=1, read_timeout=2) as client:
        client.get_execution("exec_1")
    assert argument(mock, "timeout") == (1, 2)


def test_a_large_body_is_compressed_if_the_server_accepts_it(
    mock: responses.RequestsMock, client: TmsClient
) -> None:
    mock.post(f"{URL}/executions", status=201, json=CREATED)
    large = wire.ExecutionRequest(
        test_suite="smoke", environment="dev", metadata={"note": "x" * MIN_COMPRESSED}
    )
    client.create_execution(large)
    client.compress = True
    client.create_execution(large)
    client.create_execution(REQUEST)
    plain, compressed, small = (call.request for call in mock.calls)
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body_of(compressed)) == plain.body
    assert "Content-Encoding" not in {**plain.headers, **small.headers}


def test_an_id_cannot_leave_its_place_in_the_path(mock: responses.RequestsMock, client: TmsClient) -> None:
    mock.get(re.compile(re.escape(URL)), json=STATUS)
    client.get_execution("../../admin?x=1")
    assert mock.calls[0].request.path_url == "/api/executions/..%2F..%2Fadmin%3Fx%3D1"


@pytest.mark.parametrize("dots", [".", ".."])
def test_an_id_of_dots_is_not_sent(client: TmsClient, dots: str) -> None:
    with pytest.raises(errors.NotFound, match=re.escape(repr(dots))):
        client.get_execution(dots)


def test_an_event_goes_to_the_webhook_url_with_the_execution_token(
    mock: responses.RequestsMock, client: TmsClient
) -> None:
    mock.post("https://elsewhere.example.com/hook", status=202)
    event = wire.Event(event="execution.started", execution_id="exec_1")
    sent = client.send_event(
        event, webhook_url="https://elsewhere.example.com/hook", webhook_token="wh_token_1"
    )
    assert sent.status == "accepted"
    assert mock.calls[0].request.headers["Authorization"] == "Bearer wh_token_1"


def test_all_tests_are_fetched_page_after_page(mock: responses.RequestsMock, client: TmsClient) -> None:
    for title, cursor in (("a", "17"), ("b", None)):
        page = {"executionId": "exec_1", "tests": [{"title": title}], "cursor": cursor}
        mock.get(f"{URL}/executions/exec_1/tests", json=page)
    assert [test["title"] for test in client.iter_tests("exec_1")] == ["a", "b"]
    assert "cursor=17" in str(mock.calls[1].request.url)


@pytest.mark.parametrize(
    ("token", "sent"), [("tms_secret", "Bearer tms_secret"), ("", "Basic c29tZWJvZHk6ZWxzZQ==")]
)
def test_a_netrc_entry_is_used_only_without_a_token(
    mock: responses.RequestsMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, sent: str
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine tms.example.com login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    mock.get(f"{URL}/executions/exec_1", json=STATUS)
    with TmsClient(URL, token) as client:
        client.get_execution("exec_1")
    assert mock.calls[0].request.headers["Authorization"] == sent


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({"https_proxy": "http://proxy:1"}, {"https": "http://proxy:1"}),
        ({"https_proxy": "http://proxy:1", "no_proxy": "tms.example.com"}, {}),
    ],
    ids=["proxy", "no proxy"],
)
def test_the_proxy_of_the_environment_is_used(
    mock: responses.RequestsMock,
    client: TmsClient,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    proxy: dict[str, str],
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    mock.get(f"{URL}/executions/exec_1", json=STATUS)
    client.get_execution("exec_1")
    proxies = argument(mock, "proxies")
    assert {name: value for name, value in proxies.items() if name == "https"} == proxy


@pytest.mark.parametrize("first", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", ""])
def test_certificates_are_those_of_the_environment(
    mock: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    names = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", ""]
    for name in names[:-1]:
        monkeypatch.delenv(name, raising=False)
    for name in names[names.index(first) : -1]:
        monkeypatch.setenv(name, f"/{name}.pem")
    mock.get(f"{URL}/executions/exec_1", json=STATUS)
    with TmsClient(URL, "t") as client:
        client.get_execution("exec_1")
    assert argument(mock, "verify") == (f"/{first}.pem" if first else True)


# Responses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for _, kind in sorted(errors.BY_STATUS.items())])
def test_every_documented_status_has_an_error_with_the_details_of_the_server(
    mock: responses.RequestsMock, kind: type[ApiError]
) -> None:
    body = {
        "code": "SOME_CODE",
        "message": "It is wrong.",
        "details": [{"field": "testSuite", "message": "Must be one of: smoke"}],
        "requestId": "req_1",
        "timestamp": "2025-08-04T12:34:56.789Z",
    }
    mock.post(f"{URL}/executions", status=kind.status, json={"error": body}, headers={"Retry-After": "7"})
    with TmsClient(URL, "t", retries=0) as client, pytest.raises(kind) as caught:
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


def test_an_error_without_the_documented_body_names_the_server_and_the_status(
    mock: responses.RequestsMock, client: TmsClient
) -> None:
    mock.get(f"{URL}/executions/exec_1", status=418, body=b"<html>short and stout</html>")
    with pytest.raises(errors.BadRequest, match=r"https://tms\.example\.com answered 418"):
        client.get_execution("exec_1")


@pytest.mark.parametrize(
    ("status", "body", "headers", "message"),
    [
        (200, b"<html>Log in</html>", {}, "not as a TMS does: check that the base URL includes /api"),
        (200, b"[1]", {}, "not as a TMS does"),
        (200, gzip.compress(b"{}", mtime=0)[:-9], {"Content-Encoding": "gzip"}, "not as a TMS does"),
        (302, b"", {"Location": "/login"}, "redirects elsewhere"),
        (307, b"", {"Location": "http://[malformed"}, "redirects elsewhere"),
    ],
    ids=["html", "another JSON", "torn gzip", "redirect", "malformed redirect"],
)
def test_a_response_that_is_not_of_a_tms_is_an_error(
    mock: responses.RequestsMock,
    client: TmsClient,
    status: int,
    body: bytes,
    headers: dict[str, str],
    message: str,
) -> None:
    mock.get(f"{URL}/executions/exec_1", status=status, body=body, headers=headers)
    with pytest.raises(errors.NotTms, match=message):
        client.get_execution("exec_1")
    assert len(mock.calls) == 1


def test_a_response_may_be_compressed(mock: responses.RequestsMock, client: TmsClient) -> None:
    body = gzip.compress(json.dumps(STATUS).encode())
    mock.get(f"{URL}/executions/exec_1", body=body, headers={"Content-Encoding": "gzip"})
    assert client.get_execution("exec_1").execution_id == "exec_1"


def test_a_response_that_cannot_be_decompressed_is_an_error(
    mock: responses.RequestsMock, client: TmsClient
) -> None:
    mock.get(f"{URL}/executions/exec_1", body=b"no gzip", headers={"Content-Encoding": "gzip"})
    with pytest.raises(errors.Unreachable, match="its response cannot be decompressed"):
        client.get_execution("exec_1")


def test_the_last_response_has_its_time_and_headers(mock: responses.RequestsMock, client: TmsClient) -> None:
    assert client.last_response is None
    mock.get(f"{URL}/executions/exec_1", status=404, headers={"Date": "today"})
    with pytest.raises(errors.NotFound):
        client.get_execution("exec_1")
    assert client.last_response is not None
    assert client.last_response.headers["date"] == "today"
    assert client.last_response.elapsed.total_seconds() >= 0


# Retries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_documented_retryable_statuses_are_retried_with_one_key(
    mock: responses.RequestsMock, client: TmsClient, status: int
) -> None:
    mock.post(f"{URL}/executions", status=status, json={})
    mock.post(f"{URL}/executions", status=201, json=CREATED)
    assert client.create_execution(REQUEST).execution_id == "exec_1"
    assert len({call.request.headers["Idempotency-Key"] for call in mock.calls}) == 1


def test_the_last_response_is_the_error_when_no_retry_is_left(
    mock: responses.RequestsMock, client: TmsClient
) -> None:
    mock.post(f"{URL}/executions", status=503, json={"error": {"message": "Maintenance"}})
    with pytest.raises(errors.ServiceUnavailable, match="Maintenance"):
        client.create_execution(REQUEST)
    assert len(mock.calls) == 3


@pytest.mark.parametrize(("status", "headers"), [(404, {}), (409, {}), (413, {"Retry-After": "1"})])
def test_other_statuses_are_not_retried(
    mock: responses.RequestsMock, client: TmsClient, status: int, headers: dict[str, str]
) -> None:
    mock.post(f"{URL}/executions", status=status, json={}, headers=headers)
    with pytest.raises(errors.BY_STATUS[status]):
        client.create_execution(REQUEST)
    assert len(mock.calls) == 1


def test_a_request_that_is_still_in_progress_is_retried(
    mock: responses.RequestsMock, client: TmsClient
) -> None:
    mock.post(f"{URL}/executions", status=409, json={}, headers={"Retry-After": "1"})
    mock.post(f"{URL}/executions", status=201, json=CREATED)
    assert client.create_execution(REQUEST).execution_id == "exec_1"
    assert len({call.request.headers["Idempotency-Key"] for call in mock.calls}) == 1


def test_a_server_that_asks_to_wait_long_is_not_waited_for(
    mock: responses.RequestsMock, client: TmsClient
) -> None:
    mock.post(f"{URL}/executions", status=429, json={}, headers={"Retry-After": "1800"})
    with pytest.raises(errors.RateLimited) as caught:
        client.create_execution(REQUEST)
    assert caught.value.retry_after == 1800
    assert len(mock.calls) == 1


BODY = json.dumps(STATUS).encode()


def test_waits_grow_from_half_a_second(waits: list[float]) -> None:
    busy = responds_with("503 Service Unavailable")
    with (
        sequence(busy, resets, busy, responds_with("200 OK", BODY)) as url,
        TmsClient(url, "t", retries=4) as client,
    ):
        assert client.get_execution("exec_1").execution_id == "exec_1"
    first, second, third = waits
    assert 0.5 <= first <= 0.75
    assert 0.5 <= second <= 1.25
    assert 0.5 <= third <= 2.25


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("60", 60, 60),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.5, 0.75),
        ("0", 0.5, 0.75),
        ("soon", 0.5, 0.75),
    ],
)
def test_retry_after_replaces_the_backoff(waits: list[float], header: str, low: float, high: float) -> None:
    busy = responds_with("503 Service Unavailable", Retry_After=header)
    with sequence(busy, responds_with("200 OK", BODY)) as url, TmsClient(url, "t") as client:
        client.get_execution("exec_1")
    (seconds,) = waits
    assert low <= seconds <= high


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("soon", None),
        ("", None),
        ("-1", None),
        ("1" * 400, inf),
    ],
)
def test_retry_after_is_a_number_or_a_date(
    mock: responses.RequestsMock, header: str, seconds: float | None
) -> None:
    mock.get(f"{URL}/executions/exec_1", status=429, headers={"Retry-After": header})
    with TmsClient(URL, "t", retries=0) as client, pytest.raises(errors.RateLimited) as caught:
        client.get_execution("exec_1")
    assert caught.value.retry_after == seconds


def test_a_response_that_breaks_off_is_requested_again(waits: list[float]) -> None:
    with sequence(resets, responds_with("200 OK", BODY)) as url, TmsClient(url, "t") as client:
        assert client.get_execution("exec_1").execution_id == "exec_1"
    assert len(waits) == 1


def test_a_connection_that_breaks_is_retried_as_often_as_asked(waits: list[float]) -> None:
    with (
        sequence(resets, resets, resets) as url,
        TmsClient(url, "t", retries=2) as client,
        pytest.raises(errors.Unreachable, match="the connection was cut off"),
    ):
        client.get_execution("exec_1")
    assert len(waits) == 2


# Connections --------------------------------------------------------------------------------


def unreachable(client: TmsClient) -> str:
    with client, pytest.raises(errors.Unreachable) as caught:
        client.describe_service()
    return str(caught.value)


def test_a_refused_connection_is_named_without_the_credentials_of_the_url() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = unreachable(TmsClient(f"http://user:pass@127.0.0.1:{port}/api", "t", retries=0))
    assert message == f"http://127.0.0.1:{port} does not answer: the connection is refused."


def test_an_ipv6_address_needs_no_port() -> None:
    message = unreachable(TmsClient("http://[::1]/api", "t", retries=0))
    assert message == "http://[::1] does not answer: the connection is refused."


def test_a_name_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    message = unreachable(TmsClient(URL, "t", retries=0))
    assert message == "https://tms.example.com does not answer: the name does not resolve."


def test_a_network_that_is_unreachable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", fail)
    message = unreachable(TmsClient("http://127.0.0.1/api", "t", retries=0))
    assert message == "http://127.0.0.1 does not answer: the connection failed: Network is unreachable."


def test_a_server_that_does_not_respond_times_out() -> None:
    with faulty_server(hangs) as url:
        message = unreachable(TmsClient(url, "t", retries=0, read_timeout=0.05))
    assert message.endswith(" does not answer: it timed out.")


def test_http_at_an_https_url_is_a_failed_handshake(foreign: ForeignTms) -> None:
    message = unreachable(TmsClient(foreign.url.replace("http", "https"), "t", retries=0))
    assert "does not answer: the TLS handshake failed: " in message


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("http://me:secret@127.0.0.1:1", "the proxy failed: Connection refused"),
        ("ftp://127.0.0.1:1", "the URL of the proxy in the environment is malformed"),
        ("http://", "the URL of the proxy in the environment is malformed"),
    ],
)
def test_a_proxy_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str, reason: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    message = unreachable(TmsClient(URL, "t", retries=0))
    assert message == f"https://tms.example.com does not answer: {reason}."


def test_a_socks_proxy_without_its_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InvalidSchema("Missing dependencies for SOCKS support.")

    from requests.exceptions import InvalidSchema

    monkeypatch.setattr("requests.adapters.SOCKSProxyManager", fail)
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    message = unreachable(TmsClient(URL, "t", retries=0))
    assert message.endswith("a SOCKS proxy needs pip install 'requests[socks]'.")


def test_certificates_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    message = unreachable(TmsClient("https://127.0.0.1:1/api", "t", retries=0))
    assert message.startswith("https://127.0.0.1:1 cannot be called: ")
    assert "/no/such.pem" in message


@pytest.mark.parametrize(
    ("url", "token"),
    [("no-url", "t"), ("ftp://tms.example.com/api", "t"), (URL, "tms_se\ncret")],
)
def test_a_malformed_url_or_token_is_an_error_that_does_not_show_the_token(url: str, token: str) -> None:
    with TmsClient(url, token, retries=0) as client, pytest.raises(errors.Unreachable) as caught:
        client.describe_service()
    assert "malformed" in str(caught.value)
    assert "tms_se" not in f"{caught.value!r}{caught.value.__cause__!r}{client!r}"


def test_a_token_that_no_header_can_hold_is_malformed() -> None:
    with faulty_server(responds_with("200 OK")) as url:
        message = unreachable(TmsClient(url, "tms_\N{SNOWMAN}", retries=0))
    assert message == f"{url.removesuffix('/api')} cannot be called: the URL or the token is malformed."


def test_no_log_record_has_the_token(waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with (
        sequence(resets, responds_with("503 Busy"), responds_with("200 OK", BODY)) as url,
        TmsClient(url, "tms_secret") as client,
    ):
        client.get_execution("exec_1")
    assert "/api/executions/exec_1" in caplog.text
    assert "tms_secret" not in caplog.text


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again() -> None:
    closed = threading.Event()

    def respond_once(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
        connection.close()  # without having announced it
        closed.set()

    with faulty_server(respond_once) as url, TmsClient(url, "t", retries=0) as client:
        for _ in range(2):
            assert client.get_execution("exec_1").execution_id == "exec_1"
            assert closed.wait(20)
            closed.clear()


@pytest.mark.parametrize("closes", [True, False])
def test_a_client_leaves_no_open_socket(closes: bool) -> None:
    def stays_open(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
        over.wait()

    with faulty_server(stays_open) as url, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        client = TmsClient(url, "t", retries=0)
        client.get_execution("exec_1")
        if closes:
            client.close()
        del client
        gc.collect()
    assert [each for each in seen if issubclass(each.category, ResourceWarning)] == []
