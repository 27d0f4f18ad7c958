"""Idempotency-Key: one effect and one answer, however often and however many at once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from pytest_tms.client import calls
from pytest_tms.errors import InFlight
from pytest_tms.server.jobs.expiry import ExpiryJob
from pytest_tms.server.services.expiry import BATCH
from pytest_tms.server.store import idempotency_keys
from pytest_tms.server.store.database import Database
from tests.helpers.api import (
    KEY,
    Api,
    expect_error,
    expect_success,
    invalid_fields,
    running,
    upgraded_database,
)
from tests.helpers.processes import TmsServer
from tests.integration.server.test_tokens import stored


def post(tms: TmsServer, path: str, body: Mapping[str, object], key: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {tms.token}", "Idempotency-Key": key}
    return requests.post(f"{tms.url}{path}", json=body, headers=headers, timeout=30)


CREATE = {"testSuite": "smoke", "environment": "dev"}


def test_the_same_key_and_body_give_the_first_answer_again(tms: TmsServer) -> None:
    first = post(tms, "/executions", CREATE, "first-1")
    second = post(tms, "/executions", CREATE, "first-1")
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()


def test_the_token_of_a_recalled_execution_still_opens_it(tms: TmsServer) -> None:
    post(tms, "/executions", CREATE, "token-1")
    created = post(tms, "/executions", CREATE, "token-1").json()
    event = {"event": "execution.started", "executionId": created["executionId"]}
    headers = {"Authorization": f"Bearer {created['webhookToken']}"}
    assert requests.post(created["webhookUrl"], json=event, headers=headers, timeout=30).status_code == 202


def test_another_body_under_the_same_key_is_refused(tms: TmsServer) -> None:
    assert post(tms, "/executions", CREATE, "other-1").status_code == 201
    expect_error = post(tms, "/executions", {**CREATE, "environment": "staging"}, "other-1")
    assert expect_error.status_code == 422
    assert expect_error.json()["error"]["details"][0]["field"] == "Idempotency-Key"


def test_many_at_once_create_one_execution(tms: TmsServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: post(tms, "/executions", CREATE, "many-1"), range(16)))
    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["executionId"] for response in responses}) == 1


def test_a_submission_sent_twice_is_one_submission(tms: TmsServer) -> None:
    execution = post(tms, "/executions", CREATE, "sub-1").json()["executionId"]
    body = {"executionId": execution, "shardId": "1", "tests": [{"title": "t", "status": "passed"}]}
    first, second = (post(tms, "/results", body, "sub-2") for _ in range(2))
    assert first.json()["submissionId"] == second.json()["submissionId"]


def test_a_webhook_that_was_deleted_since_is_answered_as_it_was_at_first(tms: TmsServer) -> None:
    body = {"url": "https://ci.example.com/", "events": ["execution.started"], "mine": 1}
    first = post(tms, "/webhooks", body, "gone-1")
    requests.delete(
        f"{tms.url}/webhooks/{first.json()['webhookId']}",
        headers={"Authorization": f"Bearer {tms.token}"},
        timeout=30,
    ).raise_for_status()
    again = post(tms, "/webhooks", body, "gone-1")
    assert again.status_code == 201
    assert again.json() == first.json()


def test_a_refused_request_frees_its_key(tms: TmsServer) -> None:
    assert post(tms, "/executions", {"testSuite": "smoke"}, "free-1").status_code == 422
    assert post(tms, "/executions", CREATE, "free-1").status_code == 201


def test_an_execution_token_is_not_kept(tms: TmsServer) -> None:
    created = post(tms, "/executions", CREATE, "secret-1").json()
    stored = b"".join(path.read_bytes() for path in tms.data_dir.glob("tms.sqlite3*"))
    assert created["executionId"].encode() in stored
    assert created["webhookToken"].encode() not in stored


POSTS = [call for call in calls.ALL if call.method == "POST" and call != calls.EXCHANGE_ID_TOKEN]
WEBHOOK = {"url": "https://ci.invalid/hooks", "events": ["execution.completed"]}


def request_of(call: calls.Call[Any, Any], api: Api) -> tuple[str, dict[str, Any]]:
    """The path and a body of a call."""
    created = api.create()
    execution = created["executionId"]
    if call == calls.DELETE_EXECUTION:  # one that runs is not deleted
        api.send(created, "execution.completed")
    webhook = expect_success(api.request("POST", "/webhooks", WEBHOOK), 201)["webhookId"]
    bodies: dict[str, dict[str, Any]] = {
        "create_execution": CREATE,
        "submit_results": {"executionId": execution, "shardId": "1"},
        "send_event": {"event": "execution.started", "executionId": execution},
        "claim_tests": {"runner": "r", "shardId": "1", "number": 1, "tests": [{"nodeId": "t.py::t"}]},
        "create_webhook": WEBHOOK,
        "add_to_quarantine": {
            "nodeId": "t.py::idempotent",
            "reason": "r",
            "owner": "o",
            "until": str(date.today() + timedelta(days=3)),
        },
    }
    if call == calls.ADD_TO_QUARANTINE:
        api.submit(created, tests=[{"title": "t", "status": "failed", "nodeId": "t.py::idempotent"}])
    return call.path.format(execution_id=execution, webhook_id=webhook), bodies.get(call.name, {})


@pytest.mark.parametrize("call", POSTS, ids=lambda call: call.name)
def test_every_post_has_one_answer_for_a_key_and_one_body(api: Api, call: calls.Call[Any, Any]) -> None:
    path, body = request_of(call, api)
    key = f"every-{call.name}"
    token = stored(api, call.scope) if call.scope in ("admin", "quarantine:write") else None

    def send(body: dict[str, Any], key: str) -> requests.Response:
        return api.request("POST", path, body, token=token, Idempotency_Key=key)

    first, again = (expect_success(send(body, key), call.status) for _ in range(2))
    assert first == again
    assert invalid_fields(send({**body, "x": 1}, key)) == {"Idempotency-Key"}
    assert invalid_fields(send(body, "x" * 256)) == {"Idempotency-Key"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def replicas(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Api]]:
    """Two server processes on one database of each kind, asked with one token."""
    folder = tmp_path_factory.mktemp("replicas")
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'shared.sqlite3'}"
        if request.param == "postgresql":
            url = stack.enter_context(upgraded_database())
        one, other = (
            stack.enter_context(running(folder / name, "--database-url", url, TMS_SERVER_KEYS=KEY))
            for name in ("one", "other")
        )
        yield [one, replace(other, token=one.token)]


@pytest.mark.parametrize("call", ["create_execution", "submit_results", "create_webhook"])
def test_many_at_once_over_two_processes_make_one_thing(replicas: list[Api], call: str) -> None:
    path, body = request_of(next(each for each in POSTS if each.name == call), replicas[0])

    def post(number: int) -> dict[str, Any]:
        api = replicas[number % 2]
        with requests.Session() as session:
            response = replace(api, session=session).request(
                "POST", path, body, Idempotency_Key=f"race-{call}"
            )
        return expect_success(response, 201)

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(post, range(16)))
    name = {
        "create_execution": "executionId",
        "submit_results": "submissionId",
        "create_webhook": "webhookId",
    }
    assert len({response[name[call]] for response in responses}) == 1


@pytest.mark.slow
def test_one_whose_first_goes_on_too_long_is_409_and_may_ask_again(tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg")
    with (
        upgraded_database() as url,
        running(tmp_path / "data", "--database-url", f"{url}?options=-c%20lock_timeout%3D200") as api,
        psycopg.connect(url.replace("+psycopg", "")) as elsewhere,
    ):
        owner = hashlib.sha256(api.token.encode()).hexdigest()
        elsewhere.execute(
            "INSERT INTO idempotent_responses (token_hash, key, request_hash, response, created_at) VALUES (%s, 'slow', '', '', 0)",
            [owner],
        )
        response = api.request("POST", "/executions", CREATE, Idempotency_Key="slow")
        assert expect_error(response, 409)["code"] == "CONFLICT"
        assert response.headers["Retry-After"] == "1"
        elsewhere.rollback()
        expect_success(api.request("POST", "/executions", CREATE, Idempotency_Key="slow"), 201)


def test_no_secret_is_kept_with_an_answer(tms: TmsServer) -> None:
    created = post(tms, "/webhooks", WEBHOOK, "webhook-secret").json()
    rotated = post(tms, f"/webhooks/{created['webhookId']}/rotate", {}, "rotate-secret").json()
    again = post(tms, f"/webhooks/{created['webhookId']}/rotate", {}, "rotate-secret").json()
    assert rotated["secret"] == again["secret"] != created["secret"]
    stored = b"".join(path.read_bytes() for path in tms.data_dir.glob("tms.sqlite3*"))
    assert b"rotate-secret" in stored
    assert created["secret"].encode() not in stored
    assert rotated["secret"].encode() not in stored


def test_an_answer_is_kept_for_24_hours_and_then_the_key_is_new(empty_database: Database) -> None:
    with empty_database.write() as connection:
        assert idempotency_keys.reserve(connection, "me", "key", "request", 0) is None
        idempotency_keys.keep(connection, "me", "key", "answer")
    with empty_database.write() as connection:
        assert idempotency_keys.is_known(connection, "me", "key", idempotency_keys.RETENTION)
        assert idempotency_keys.reserve(connection, "me", "key", "request", idempotency_keys.RETENTION) == (
            "request",
            "answer",
        )
        later = idempotency_keys.RETENTION + 1
        assert not idempotency_keys.is_known(connection, "me", "key", later)
        assert idempotency_keys.reserve(connection, "me", "key", "other", later) is None
        idempotency_keys.keep(connection, "me", "key", "another answer")
        assert idempotency_keys.reserve(connection, "me", "key", "other", later) == (
            "other",
            "another answer",
        )


def test_the_cleanup_job_deletes_what_has_expired_and_nothing_else(empty_database: Database) -> None:
    now = time.time_ns() // 1_000_000
    expired = now - idempotency_keys.RETENTION - 60_000
    number = 2 * BATCH + 1
    with empty_database.write() as connection:
        for key in range(number):
            assert idempotency_keys.reserve(connection, "me", f"old {key}", "request", expired) is None
        assert idempotency_keys.reserve(connection, "me", "new", "request", now) is None
        idempotency_keys.keep(connection, "me", "new", "answer")
    with empty_database.read() as connection:
        assert len(idempotency_keys.expired(connection, now, 10 * number)) == number
    ExpiryJob(empty_database).run()
    with empty_database.read() as connection:
        assert idempotency_keys.expired(connection, now, 1) == []
        assert idempotency_keys.is_known(connection, "me", "new", now)


def test_a_claim_is_in_flight_until_it_is_answered_freed_or_forsaken(empty_database: Database) -> None:
    def claim(now: int) -> tuple[str, str] | None:
        with empty_database.write() as connection:
            return idempotency_keys.reserve(connection, "me", "key", "request", now)

    assert claim(0) is None
    with pytest.raises(InFlight):
        claim(idempotency_keys.RESERVATION_TIMEOUT)
    with empty_database.write() as connection:
        assert not idempotency_keys.is_known(connection, "me", "key", 0)
        idempotency_keys.release(connection, "me", "key")
    assert claim(0) is None
    assert claim(idempotency_keys.RESERVATION_TIMEOUT + 1) is None  # whoever had it died
    with pytest.raises(InFlight):
        claim(idempotency_keys.RESERVATION_TIMEOUT + 2)
