"""Deliveries of a real server on each database, as subscribers receive them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from pytest_tms import signing
from pytest_tms.server.store.database import Database
from tests.helpers.api import Api, expect_error, expect_success, result
from tests.helpers.processes import wait_for
from tests.helpers.subscribers import ReceivedRequest, Subscribers, cuts, drips, floods, hangs, responds_with
from tests.integration.webhooks.conftest import EVENTS, SECRET, deliveries, subscribe

QUICK = {"maxRetries": 2, "retryDelay": 20, "exponentialBackoff": False}


@pytest.fixture
def name() -> str:
    return uuid4().hex[:10]


def received(subscribers: Subscribers, name: str, number: int) -> list[ReceivedRequest]:
    subscribers.wait_for(lambda: len(subscribers.of(name)) >= number)
    return subscribers.of(name)


def events_of(got: list[ReceivedRequest], execution: dict[str, Any]) -> list[str]:
    return [each.payload["event"] for each in got if each.payload["executionId"] == execution["executionId"]]


def run(api: Api, shards: int = 1, **fields: Any) -> dict[str, Any]:
    execution = api.create(configuration={"shards": shards}, **fields)
    for shard in range(shards):
        api.submit(
            execution, str(shard + 1), tests=[result("a"), result("b", "failed", error="no", file="f.py")]
        )
    return execution


def test_a_run_sends_the_documented_payloads(hooks: Api, subscribers: Subscribers, name: str) -> None:
    subscribe(hooks, subscribers.url(name))
    execution = hooks.create(metadata={"branch": "main"}, provider="github-actions")
    hooks.send(execution, "shard.started", shardId="1")
    response = hooks.submit(execution, tests=[result("a"), result("b", "failed", error="no", file="f.py")])
    assert response["summary"]["webhooksTriggered"] == 2
    subscribers.wait_for(lambda: events_of(subscribers.of(name), execution)[-1:] == ["execution.completed"])
    payloads = {each.payload["event"]: each.payload for each in subscribers.of(name)}
    order = [event for event in events_of(subscribers.of(name), execution) if event != "execution.progress"]
    assert order == ["execution.started", "shard.started", "shard.completed", "execution.completed"]
    started = payloads["execution.started"]["data"]
    assert (started["testSuite"], started["environment"]) == ("all", "dev")
    assert (started["provider"], started["metadata"]) == ("github-actions", {"branch": "main"})
    assert started["configuration"]["shards"] == 1
    shard = payloads["shard.completed"]["data"]
    assert (shard["shardId"], shard["status"]) == ("1", "failed")
    assert shard["artifacts"]["reportUrl"].endswith(f"/reports/{execution['executionId']}/shard-1")
    assert hooks.session.get(shard["artifacts"]["reportUrl"], timeout=20).status_code == 200
    ended = payloads["execution.completed"]["data"]
    assert ended["failedTests"] == [{"title": "b", "file": "f.py", "error": "no", "shard": "1"}]
    assert ended["failedTestsTotal"] == 1
    assert ended["artifacts"]["reportUrl"] == execution["reportUrl"]
    assert ended["results"] == {"total": 2, "passed": 1, "failed": 1, "skipped": 0, "flaky": 0}


def test_the_end_of_a_run_names_what_changed_since_the_previous_one(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribe(hooks, subscribers.url(name), events=["execution.completed"])
    first = hooks.create(metadata={"project": name})
    hooks.submit(first, tests=[result("a", "failed"), result("b", "failed")])
    second = hooks.create(metadata={"project": name})
    new = [result(f"new {number} {'x' * 1000}", "failed") for number in range(20)]
    hooks.submit(second, tests=[result("a", "failed"), result("b"), result("c", retries=1), *new])
    before, after = (got.payload["data"] for got in received(subscribers, name, 2))
    nothing = {"count": 0, "tests": []}
    assert before["changes"] == {
        "comparedWith": None,
        **dict.fromkeys(("newFailures", "knownFailures", "fixed", "flaky", "quarantined"), nothing),
    }
    changes = after["changes"]
    assert changes["comparedWith"] == first["executionId"]
    assert changes["knownFailures"] == {"count": 1, "tests": ["a"]}
    assert (changes["fixed"], changes["flaky"]) == (
        {"count": 1, "tests": ["b"]},
        {"count": 1, "tests": ["c"]},
    )
    assert changes["newFailures"]["count"] == 20
    assert changes["newFailures"]["tests"][0].startswith("new 0 x")
    assert 0 < len(changes["newFailures"]["tests"]) < 10
    assert set(after["results"]) == {"total", "passed", "failed", "skipped", "flaky"}


def test_progress_events_are_sent_periodically_until_the_run_ends(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribe(hooks, subscribers.url(name), events=["execution.progress", "execution.cancelled"])
    execution = hooks.create(configuration={"shards": 2})
    hooks.submit(execution, tests=[result()])
    data = next(
        each.payload["data"]
        for each in received(subscribers, name, 2)
        if each.payload["executionId"] == execution["executionId"]
    )
    assert data["status"] == "running"
    assert data["progress"]["startedAt"]
    assert (data["progress"]["shardsCompleted"], data["progress"]["totalShards"]) == (1, 2)
    assert data["results"]["total"] == 1
    expect_success(hooks.request("DELETE", f"/executions/{execution['executionId']}"), 200)
    subscribers.wait_for(lambda: "execution.cancelled" in events_of(subscribers.of(name), execution))
    assert events_of(subscribers.of(name), execution)[-1] == "execution.cancelled"


def test_a_failed_run_and_a_cancelled_one_send_their_events(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribe(
        hooks, subscribers.url(name), events=["execution.failed", "execution.cancelled", "execution.started"]
    )
    broken, never = hooks.create(), hooks.create()
    hooks.submit(broken, status="error")
    expect_success(hooks.request("DELETE", f"/executions/{never['executionId']}"), 200)
    received(subscribers, name, 3)
    assert events_of(subscribers.of(name), broken) == ["execution.started", "execution.failed"]
    assert events_of(subscribers.of(name), never) == ["execution.cancelled"]


@pytest.mark.slow
def test_a_payload_stays_small_whatever_a_runner_sends(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribe(
        hooks, subscribers.url(name), events=["execution.started", "execution.completed", "shard.completed"]
    )
    nasty = "\x01\u2603" * 2000
    execution = hooks.create(
        configuration={"shards": 60, "x": nasty},
        metadata={"branch": "main", **{str(n): nasty for n in range(3)}},
    )
    for shard in range(60):
        tests = [result(f"{n}{nasty}", "failed", error=nasty, file=nasty) for n in range(5)]
        hooks.submit(execution, f"{shard}{'s' * 180}", tests=tests)
    got = received(subscribers, name, 62)
    assert max(len(each.body) for each in got) < 20_000
    assert got[0].payload["data"]["metadata"] == {"branch": "main"}
    ended = got[-1].payload["data"]
    assert ended["failedTestsTotal"] == 300
    assert ended["shardResultsTotal"] == 60
    assert 0 < len(ended["failedTests"]) <= 100


def test_at_most_a_hundred_failed_tests_are_listed(hooks: Api, subscribers: Subscribers, name: str) -> None:
    subscribe(hooks, subscribers.url(name), events=["execution.completed"])
    hooks.submit(hooks.create(), tests=[result(str(n), "failed") for n in range(300)])
    (got,) = received(subscribers, name, 1)
    assert len(got.payload["data"]["failedTests"]) == 100
    assert got.payload["data"]["failedTestsTotal"] == 300


def test_deliveries_are_signed_and_filtered(hooks: Api, subscribers: Subscribers, name: str) -> None:
    subscribe(hooks, subscribers.url(name), filters={"testSuites": ["smoke"], "environments": ["staging"]})
    run(hooks)
    wanted = run(hooks, testSuite="smoke", environment="staging")
    run(hooks, testSuite="smoke")
    got = received(subscribers, name, 4)
    assert {each.payload["executionId"] for each in got} == {wanted["executionId"]}
    for each in got:
        assert signing.verify(SECRET, each.headers, each.body) == each.headers["webhook-id"]
    assert len({each.headers["webhook-id"] for each in got}) == len(got)


def test_deliveries_are_also_signed_with_the_previous_secret_after_a_rotation(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    webhook = subscribe(hooks, subscribers.url(name), events=["execution.completed"])
    rotated = expect_success(hooks.request("POST", f"/webhooks/{webhook['webhookId']}/rotate", {}), 200)
    assert rotated["secret"].startswith("whsec_")
    run(hooks)
    (got,) = received(subscribers, name, 1)
    assert len(got.headers["webhook-signature"].split()) == 2
    signing.verify(SECRET, got.headers, got.body)
    signing.verify(rotated["secret"], got.headers, got.body)


def test_deliveries_to_a_failing_endpoint_are_retried_in_order_with_the_same_id(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    async def fails_twice(got: ReceivedRequest, writer: Any) -> None:
        code = 500 if len(subscribers.of(name)) <= 2 else 200
        await responds_with(code)(got, writer)

    subscribers.behave[name] = fails_twice
    subscribe(
        hooks, subscribers.url(name), retryPolicy=QUICK, events=["execution.started", "execution.completed"]
    )
    execution = run(hooks)
    got = received(subscribers, name, 4)
    assert events_of(got, execution) == ["execution.started"] * 3 + ["execution.completed"]
    assert len({each.headers["webhook-id"] for each in got}) == 2
    assert len({each.body for each in got}) == 2


def test_a_failed_delivery_is_stored_and_can_be_replayed(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribers.behave[name] = responds_with(500)
    webhook = subscribe(hooks, subscribers.url(name), retryPolicy=QUICK, events=["execution.completed"])
    run(hooks)
    (failed,) = wait_for(lambda: deliveries(hooks, webhook, "failed"))
    assert (failed["attempts"], failed["responseCode"]) == (3, 500)
    assert failed["reason"] == "it responded with 500"
    shown = expect_success(hooks.request("GET", f"/webhooks/{webhook['webhookId']}"), 200)
    assert shown["failingSince"]
    del subscribers.behave[name]
    for unknown in ("msg_nope", "a\x00b"):
        body = {"deliveryId": unknown}
        expect_error(hooks.request("POST", f"/webhooks/{webhook['webhookId']}/replay", body), 404)
    response = expect_success(hooks.request("POST", f"/webhooks/{webhook['webhookId']}/replay", {}), 200)
    assert response["deliveries"] == 1
    wait_for(lambda: deliveries(hooks, webhook, "delivered"))
    assert {each.headers["webhook-id"] for each in subscribers.of(name)} == {failed["deliveryId"]}
    shown = expect_success(hooks.request("GET", f"/webhooks/{webhook['webhookId']}"), 200)
    assert shown["failingSince"] is None


def test_410_disables_a_webhook_until_it_is_activated(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribers.behave[name] = responds_with(410)
    webhook = subscribe(hooks, subscribers.url(name))
    path = f"/webhooks/{webhook['webhookId']}"
    run(hooks)
    wait_for(lambda: hooks.request("GET", path).json()["status"] == "disabled")
    assert hooks.request("GET", path).json()["reason"] == "The endpoint responded with 410 Gone"
    wait_for(lambda: not deliveries(hooks, webhook, "pending"))
    number = len(deliveries(hooks, webhook))
    run(hooks)
    assert len(deliveries(hooks, webhook)) == number
    expect_error(hooks.request("POST", f"{path}/replay", {}), 409)
    del subscribers.behave[name]
    assert expect_success(hooks.request("PATCH", path, {"status": "active"}), 200)["reason"] is None
    execution = run(hooks)
    subscribers.wait_for(lambda: "execution.completed" in events_of(subscribers.of(name), execution))


def test_events_of_a_paused_webhook_are_sent_after_its_activation(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    webhook = subscribe(hooks, subscribers.url(name), events=["execution.completed"])
    path = f"/webhooks/{webhook['webhookId']}"
    assert expect_success(hooks.request("PATCH", path, {"status": "paused"}), 200)["status"] == "paused"
    run(hooks)
    assert [each["status"] for each in deliveries(hooks, webhook)] == ["pending"]
    assert subscribers.of(name) == []
    expect_success(hooks.request("PATCH", path, {"status": "active"}), 200)
    received(subscribers, name, 1)


@pytest.mark.parametrize("code", [429, 502, 504])
def test_retry_after_of_a_busy_endpoint_suspends_its_deliveries(
    hooks: Api, subscribers: Subscribers, name: str, code: int
) -> None:
    subscribers.behave[name] = responds_with(code, Retry_After="3600")
    webhook = subscribe(hooks, subscribers.url(name), events=["execution.completed"])
    run(hooks)
    wait_for(lambda: deliveries(hooks, webhook)[0]["attempts"] == 1)
    run(hooks)
    other = subscribe(hooks, subscribers.url(f"{name}-other"), events=["execution.completed"])
    run(hooks)
    wait_for(lambda: deliveries(hooks, other, "delivered"))
    assert len(subscribers.of(name)) == 1
    assert [each["status"] for each in deliveries(hooks, webhook)] == ["pending"] * 3


def test_a_patch_replaces_the_given_fields_only(hooks: Api, subscribers: Subscribers, name: str) -> None:
    webhook = subscribe(hooks, subscribers.url(f"{name}-old"), filters={"testSuites": ["smoke"]}, mine=1)
    path = f"/webhooks/{webhook['webhookId']}"
    change = {
        "url": subscribers.url(name),
        "events": ["execution.completed"],
        "filters": {"environments": ["dev"]},
        "retryPolicy": QUICK,
    }
    changed = expect_success(hooks.request("PATCH", path, change), 200)
    assert changed == {
        **webhook,
        **change,
        "url": changed["url"],  # which is masked in every answer but the first
        "filters": {"testSuites": None, "environments": ["dev"]},
    }
    assert expect_success(hooks.request("PATCH", path, {}), 200) == changed
    run(hooks)
    run(hooks, environment="staging")
    assert [each.payload["event"] for each in received(subscribers, name, 1)] == ["execution.completed"]
    assert subscribers.of(f"{name}-old") == []
    expect_success(hooks.request("DELETE", path), 200)
    expect_error(hooks.request("GET", path), 404)


@pytest.mark.slow
def test_failing_endpoints_have_a_reason_and_delay_no_other_deliveries(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    bad = {
        "hangs": (hangs, "there was no complete response within 15 s"),
        "drips": (drips, "there was no complete response within 15 s"),
        "cuts": (cuts, "the connection was closed"),
        "redirects": (
            responds_with(302, Location=subscribers.url(f"{name}-target")),
            "it redirects (302); redirects are not followed",
        ),
    }
    made = {}
    for kind, (behave, _) in bad.items():
        subscribers.behave[f"{name}-{kind}"] = behave
        made[kind] = subscribe(hooks, subscribers.url(f"{name}-{kind}"), retryPolicy={"maxRetries": 0})
    subscribers.behave[f"{name}-floods"] = floods
    flooded = subscribe(hooks, subscribers.url(f"{name}-floods"), events=["execution.completed"])
    refusing = subscribe(hooks, "http://127.0.0.1:1/", retryPolicy={"maxRetries": 0})
    good_one = subscribe(hooks, subscribers.url(name), events=["execution.completed"])
    for _ in range(3):
        run(hooks)
    wait_for(lambda: len(deliveries(hooks, good_one, "delivered")) == 3)
    assert not deliveries(hooks, made["hangs"], "failed")  # the others did not wait for it
    wait_for(lambda: len(deliveries(hooks, flooded, "delivered")) == 3)
    for kind, (_, reason) in bad.items():
        failed = wait_for(partial(deliveries, hooks, made[kind], "failed"))
        assert failed[-1]["reason"] == reason
    assert (
        wait_for(lambda: deliveries(hooks, refusing, "failed"))[-1]["reason"] == "the connection was refused"
    )
    assert subscribers.of(f"{name}-target") == []
    for webhook in (*made.values(), flooded, refusing, good_one):
        expect_success(hooks.request("DELETE", f"/webhooks/{webhook['webhookId']}"), 200)


def test_a_validation_returns_the_response_of_the_endpoint(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    webhook = subscribe(hooks, subscribers.url(name))
    path = f"/webhooks/{webhook['webhookId']}/validate"
    response = expect_success(hooks.request("POST", path), 200)
    assert (response["status"], response["responseCode"], response["reason"]) == ("valid", 200, None)
    (got,) = subscribers.of(name)
    signing.verify(SECRET, got.headers, got.body)
    subscribers.behave[name] = responds_with(500)
    response = expect_success(hooks.request("POST", path), 200)
    assert (response["status"], response["responseCode"], response["reason"]) == (
        "invalid",
        500,
        "it responded with 500",
    )
    assert response["responseTime"] >= 0
    shown = expect_success(hooks.request("GET", path.removesuffix("/validate")), 200)
    assert shown["lastValidatedAt"] == response["lastValidatedAt"]
    first = expect_success(hooks.request("POST", path, Idempotency_Key=name), 200)
    del subscribers.behave[name]
    assert expect_success(hooks.request("POST", path, Idempotency_Key=name), 200) == first


def test_secrets_are_shown_once_and_stored_encrypted(hooks: Api, subscribers: Subscribers, name: str) -> None:
    body = {"url": subscribers.url(name), "events": EVENTS[:1], "mine": {"a": 1}}
    first = expect_success(hooks.request("POST", "/webhooks", body, Idempotency_Key=name), 201)
    again = expect_success(hooks.request("POST", "/webhooks", body, Idempotency_Key=name), 201)
    assert first == again
    assert first["secret"].startswith("whsec_")
    assert first["mine"] == {"a": 1}
    shown = expect_success(hooks.request("GET", f"/webhooks/{first['webhookId']}"), 200)
    assert shown["secret"] is None
    assert first["secret"] not in json.dumps(expect_success(hooks.request("GET", "/webhooks"), 200))
    key = hooks.data_dir / "secrets.key"
    assert key.stat().st_mode & 0o777 == 0o600
    for file in hooks.data_dir.glob("*"):
        if file.is_file():
            assert first["secret"].encode() not in file.read_bytes()


def test_a_backlog_is_sent_in_order_while_another_transaction_stays_open(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    """Many deliveries are read at a time, and each execution's are sent in order."""
    events = ["execution.started", "shard.started", "shard.completed", "execution.completed"]
    webhook = subscribe(hooks, subscribers.url(name), events=events)
    path = f"/webhooks/{webhook['webhookId']}"
    expect_success(hooks.request("PATCH", path, {"status": "paused"}), 200)
    executions = [run(hooks) for _ in range(40)]
    database = Database(hooks.database[1] if hooks.database else f"sqlite:///{hooks.data_dir}/tms.sqlite3")
    with database.read() as connection:
        connection.execute(text("SELECT count(*) FROM deliveries"))  # no version of a row is removed now
        expect_success(hooks.request("PATCH", path, {"status": "active"}), 200)
        subscribers.wait_for(lambda: len(subscribers.of(name)) >= len(events) * len(executions), 60)
    database.close()
    for execution in executions:
        assert events_of(subscribers.of(name), execution) == events
