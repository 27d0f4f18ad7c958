"""JobToken: exchanged before the first call, and again before it expires or once it is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator

import pytest
import requests
import responses

from pytest_tms import JobToken, TmsClient, wire
from pytest_tms.errors import IdTokenError, Unauthorized, Unreachable

URL = "https://tms.example.com/api"


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def mock() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def issue(mock: responses.RequestsMock, *texts: str, seconds: int = 3600) -> None:
    for text in texts:
        mock.post(f"{URL}/auth/token", json={"token": text, "expiresIn": seconds}, status=201)


def tokens_of(mock: responses.RequestsMock) -> list[str]:
    """The tokens that the calls carried."""
    return [
        each.request.headers.get("Authorization", "") for each in mock.calls if each.request.method == "GET"
    ]


def test_it_is_exchanged_once_for_all_calls_of_all_clients(mock: responses.RequestsMock) -> None:
    audiences: list[str] = []
    issued: list[str] = []

    def fetch(audience: str) -> str:
        audiences.append(audience)
        return "an.id.token"

    issue(mock, "tms_a")
    mock.get(f"{URL}/executions/x", json={"executionId": "x"})
    token = JobToken(URL, fetch, on_issued=issued.append)
    for _ in range(2):
        with TmsClient(URL, token) as client:
            client.get_execution("x")
            client.get_execution("x")
    assert audiences == ["https://tms.example.com"]
    assert issued == ["tms_a"]
    assert tokens_of(mock) == ["Bearer tms_a"] * 4
    assert json.loads(mock.calls[0].request.body or b"") == {"idToken": "an.id.token"}
    assert "Authorization" not in mock.calls[0].request.headers
    assert "tms_a" not in repr(token)


def test_it_is_replaced_before_it_expires(mock: responses.RequestsMock) -> None:
    clock = Clock()
    issue(mock, "tms_a", "tms_b")
    token = JobToken(URL, lambda _: "id", clock=clock)
    assert token.text() == "tms_a"
    clock.now = 3299
    assert token.text() == "tms_a"
    clock.now = 3301
    assert token.text() == "tms_b"


def test_a_token_that_is_still_valid_is_used_if_it_cannot_be_replaced(mock: responses.RequestsMock) -> None:
    clock = Clock()
    issue(mock, "tms_a")
    mock.post(f"{URL}/auth/token", json={"error": {"message": "The ID token has expired."}}, status=401)
    token = JobToken(URL, lambda _: "id", clock=clock)
    token.text()
    clock.now = 3400
    assert token.text() == "tms_a"
    assert token.text() == "tms_a"
    assert len(mock.calls) == 2
    clock.now = 3601
    with pytest.raises(IdTokenError, match=r"refuses the ID token of this job: The ID token has expired\."):
        token.text()


def test_a_refused_token_is_replaced_and_the_call_sent_again_once(mock: responses.RequestsMock) -> None:
    issue(mock, "tms_a", "tms_b")
    mock.get(f"{URL}/executions/x", json={"error": {"message": "revoked"}}, status=401)
    mock.get(f"{URL}/executions/x", json={"executionId": "x"})
    with TmsClient(URL, JobToken(URL, lambda _: "id")) as client:
        assert client.get_execution("x").execution_id == "x"
    assert tokens_of(mock) == ["Bearer tms_a", "Bearer tms_b"]


def test_a_call_that_is_refused_twice_raises(mock: responses.RequestsMock) -> None:
    issue(mock, "tms_a", "tms_b")
    mock.get(f"{URL}/executions/x", json={"error": {"message": "revoked"}}, status=401)
    with TmsClient(URL, JobToken(URL, lambda _: "id")) as client, pytest.raises(Unauthorized):
        client.get_execution("x")
    assert len(tokens_of(mock)) == 2


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("HEAD", lambda client, sha256: client.has_artifact("x", sha256)),
        ("GET", lambda client, sha256: client.read_artifact("x", sha256)),
        ("PUT", lambda client, sha256: client.upload_artifact("x", sha256, b"the content")),
    ],
    ids=["has", "read", "upload"],
)
def test_calls_of_files_are_sent_again_with_another_token(
    mock: responses.RequestsMock, method: str, call: Callable[[TmsClient, str], object]
) -> None:
    sha256 = hashlib.sha256(b"the content").hexdigest()
    issue(mock, "tms_a", "tms_b")
    url = f"{URL}/executions/x/artifacts/{sha256}" + ("/content" if method == "GET" else "")
    stored = json.dumps({"sha256": sha256, "size": 11})
    mock.add(method, url, status=401)
    mock.add(method, url, body="" if method == "HEAD" else stored, status=201 if method == "PUT" else 200)
    with TmsClient(URL, JobToken(URL, lambda _: "id")) as client:
        call(client, sha256)
    sent = [each.request.headers["Authorization"] for each in mock.calls if each.request.method == method]
    assert sent == ["Bearer tms_a", "Bearer tms_b"]


def test_a_refused_file_is_sent_again_from_where_it_was(mock: responses.RequestsMock) -> None:
    sha256 = hashlib.sha256(b"content").hexdigest()
    read: list[bytes] = []

    def accept(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        assert isinstance(request.body, bytes)  # ``responses`` has read the file
        read.append(request.body)
        message = {"error": {"message": "expired"}} if len(read) == 1 else {"sha256": sha256, "size": 7}
        return (401 if len(read) == 1 else 201), {}, json.dumps(message)

    issue(mock, "tms_a", "tms_b")
    mock.add_callback("PUT", f"{URL}/executions/x/artifacts/{sha256}", callback=accept)
    file = io.BytesIO(b"the content")
    file.seek(4)
    with TmsClient(URL, JobToken(URL, lambda _: "id")) as client:
        client.upload_artifact("x", sha256, file)
    assert read == [b"content", b"content"]


def test_a_refused_pipe_is_sent_once(mock: responses.RequestsMock) -> None:
    issue(mock, "tms_a")
    url = f"{URL}/executions/x/artifacts/{'0' * 64}"
    mock.put(url, json={"error": {"message": "expired"}}, status=401)
    reading, writing = os.pipe()
    os.close(writing)
    with (
        os.fdopen(reading, "rb") as pipe,
        TmsClient(URL, JobToken(URL, lambda _: "id")) as client,
        pytest.raises(Unauthorized),
    ):
        client.upload_artifact("x", "0" * 64, pipe)
    assert len(mock.calls) == 2


def test_a_token_of_an_execution_needs_no_exchange(mock: responses.RequestsMock) -> None:
    mock.post(f"{URL}/webhooks/executions/x", json={}, status=202)
    with TmsClient(URL, JobToken(URL, lambda _: "id")) as client:
        event = wire.Event(event="execution.started", execution_id="x")
        client.send_event(event, webhook_token="wh_token_x")
    assert mock.calls[0].request.headers["Authorization"] == "Bearer wh_token_x"


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (404, {"message": "Not found"}, "does not exchange ID tokens: set TMS_API_TOKEN"),
        (403, {"message": "ref differs.", "hint": "Ask."}, r"ID token of GitLab: ref differs\. Ask\."),
        (401, {"message": "It has expired."}, r"It has expired\. Check the ID token"),
        (201, {}, "has no API token"),
    ],
)
def test_a_refusal_says_what_to_do(
    mock: responses.RequestsMock, status: int, error: dict[str, str], message: str
) -> None:
    mock.post(f"{URL}/auth/token", json={"error": error} if error else {}, status=status)
    token = JobToken(URL, lambda _: "secret.id.token", name="GitLab")
    with TmsClient(URL, token) as client, pytest.raises(IdTokenError, match=message) as caught:
        client.get_execution("x")
    assert "secret.id.token" not in str(caught.value)


def test_a_server_that_does_not_respond_is_unreachable() -> None:
    url = "http://127.0.0.1:1/api"
    with TmsClient(url, JobToken(url, lambda _: "id", retries=0)) as client, pytest.raises(Unreachable):
        client.get_execution("x")
