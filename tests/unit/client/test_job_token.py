"""JobToken: exchanged before the first call, and again before it expires or once it is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
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
