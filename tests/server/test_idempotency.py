"""Idempotency-Key: one effect and one answer, however often and however many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import requests

from tests.conftest import Tms


def post(tms: Tms, path: str, body: dict[str, object], key: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {tms.token}", "Idempotency-Key": key}
    return requests.post(f"{tms.url}{path}", json=body, headers=headers, timeout=30)


CREATE = {"testSuite": "smoke", "environment": "dev"}


def test_the_same_key_and_body_give_the_first_answer_again(tms: Tms) -> None:
    first = post(tms, "/executions", CREATE, "first-1")
    second = post(tms, "/executions", CREATE, "first-1")
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()


def test_the_token_of_a_recalled_execution_still_opens_it(tms: Tms) -> None:
    post(tms, "/executions", CREATE, "token-1")
    created = post(tms, "/executions", CREATE, "token-1").json()
    event = {"event": "execution.started", "executionId": created["executionId"]}
    headers = {"Authorization": f"Bearer {created['webhookToken']}"}
    assert requests.post(created["webhookUrl"], json=event, headers=headers, timeout=30).status_code == 202


def test_another_body_under_the_same_key_is_refused(tms: Tms) -> None:
    assert post(tms, "/executions", CREATE, "other-1").status_code == 201
    refused = post(tms, "/executions", {**CREATE, "environment": "staging"}, "other-1")
    assert refused.status_code == 422
    assert refused.json()["error"]["details"][0]["field"] == "Idempotency-Key"


def test_many_at_once_create_one_execution(tms: Tms) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(tms, "/executions", CREATE, "many-1"), range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["executionId"] for answer in answers}) == 1


def test_a_submission_sent_twice_is_one_submission(tms: Tms) -> None:
    execution = post(tms, "/executions", CREATE, "sub-1").json()["executionId"]
    body = {"executionId": execution, "shardId": "1", "tests": [{"title": "t", "status": "passed"}]}
    first, second = (post(tms, "/results", body, "sub-2") for _ in range(2))
    assert first.json()["submissionId"] == second.json()["submissionId"]


def test_a_webhook_that_was_deleted_since_is_answered_as_it_was_at_first(tms: Tms) -> None:
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


def test_a_refused_request_frees_its_key(tms: Tms) -> None:
    assert post(tms, "/executions", {"testSuite": "smoke"}, "free-1").status_code == 422
    assert post(tms, "/executions", CREATE, "free-1").status_code == 201


def test_an_execution_token_is_not_kept(tms: Tms) -> None:
    created = post(tms, "/executions", CREATE, "secret-1").json()
    stored = b"".join(path.read_bytes() for path in tms.data_dir.glob("tms.sqlite3*"))
    assert created["executionId"].encode() in stored
    assert created["webhookToken"].encode() not in stored
