"""Webhooks with the format of a chat: registration, one message for each run, and retries."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from tests.helpers.api import Api, expect_success, invalid_fields, result
from tests.helpers.processes import wait_for
from tests.helpers.subscribers import ReceivedRequest, Subscribers, responds_with
from tests.integration.webhooks.conftest import EVENTS, deliveries, subscribe

ENDED = ["execution.completed", "execution.failed", "execution.cancelled"]
FORMATS = ["slack", "teams", "discord"]
SLACK = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXxxxxxxxxxxxx"
SECRETS = {
    "slack": (SLACK, "XXXXXXXXXXXXxxxxxxxxxxxx"),
    "discord": (
        "https://discord.com/api/webhooks/1234567890123456789/aB3-dE6_gH9jK2mN5pQ8sT1vW4yZ7aB3dE6gH9jK2mN5",
        "aB3-dE6_gH9jK2mN5pQ8sT1vW4yZ7aB3dE6gH9jK2mN5",
    ),
    "teams": (
        "https://prod-1.westeurope.logic.azure.com/workflows/0123456789abcdef0123456789abcdef/triggers/manual"
        "/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers&sv=1.0&sig=aB3dE6gH9jK2mN5pQ8sT1vW4yZ7",
        "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7",
    ),
}


@pytest.fixture
def name() -> str:
    return uuid4().hex[:10]


def run(api: Api, project: str, *tests: dict[str, Any], **fields: Any) -> dict[str, Any]:
    execution = api.create(metadata={"project": project, "branch": "main", "commit": "4f2a9c1"})
    api.submit(execution, tests=list(tests), **fields)
    return execution


@pytest.mark.parametrize("format_name", FORMATS)
def test_each_run_is_one_message(hooks: Api, subscribers: Subscribers, name: str, format_name: str) -> None:
    webhook = subscribe(hooks, subscribers.url(name), events=ENDED, format=format_name)
    assert webhook["format"] == format_name
    run(hooks, name, result("known", "failed"), result("fixed", "failed"))
    second = run(
        hooks,
        name,
        result("known", "failed"),
        result("fixed"),
        result("new @everyone <!channel> [x](https://evil.example)", "failed", error="KeyError: 1"),
    )
    broken = run(hooks, name, result("known", "failed"), status="error")
    cancelled = hooks.create(metadata={"project": name})
    expect_success(hooks.request("DELETE", f"/executions/{cancelled['executionId']}"), 200)
    subscribers.wait_for(lambda: len(subscribers.of(name)) >= 4)
    _, after, ended, last = (got.body.decode() for got in subscribers.of(name))
    assert len(subscribers.of(name)) == 4
    assert second["reportUrl"] in after
    for part in ("2 of 3 tests failed", "New failures (1)", "KeyError", "Known failures (1)", "4f2a9c1"):
        assert part in after.replace("\\\\", ""), part
    assert "1 fixed" in after
    assert "the run broke" in ended
    assert broken["reportUrl"] in ended
    assert "cancelled" in last
    assert {got.headers["content-type"] for got in subscribers.of(name)} == {"application/json"}
    shape = {"slack": {"text", "mrkdwn", "unfurl_links", "blocks"}, "teams": {"type", "attachments"}}
    assert set(json.loads(after)) == shape.get(format_name, {"embeds", "allowed_mentions"})


@pytest.mark.parametrize("format_name", FORMATS)
def test_validating_posts_a_test_message(
    hooks: Api, subscribers: Subscribers, name: str, format_name: str
) -> None:
    webhook = subscribe(hooks, subscribers.url(name), events=ENDED, format=format_name)
    path = f"/webhooks/{webhook['webhookId']}/validate"
    assert expect_success(hooks.request("POST", path, {}), 200)["status"] == "valid"
    (got,) = subscribers.of(name)
    assert b"Test message" in got.body


def test_a_chat_that_limits_the_rate_gets_the_message_later(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    busy, accepts = responds_with(429), responds_with(204)

    async def once(got: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await (busy if len(subscribers.of(name)) == 1 else accepts)(got, writer)

    subscribers.behave[name] = once
    webhook = subscribe(
        hooks,
        subscribers.url(name),
        events=ENDED,
        format="discord",
        retryPolicy={"maxRetries": 3, "retryDelay": 20},
    )
    run(hooks, name, result())
    wait_for(lambda: [each["status"] for each in deliveries(hooks, webhook)] == ["delivered"])
    first, second = subscribers.of(name)
    assert first.body == second.body


def test_formats_without_a_message_for_an_event_are_refused(hooks: Api, subscribers: Subscribers) -> None:
    url = subscribers.url("never")
    for format_name in FORMATS:
        body = {"url": url, "events": EVENTS, "format": format_name}
        problems = invalid_fields(hooks.request("POST", "/webhooks", body))
        assert set(problems) == {"events[0]", "events[1]", "events[5]", "events[6]"}
    unknown = {"url": url, "events": ENDED, "format": "irc"}
    assert set(invalid_fields(hooks.request("POST", "/webhooks", unknown))) == {"format"}
    webhook = subscribe(hooks, url, events=ENDED, format="slack")
    path = f"/webhooks/{webhook['webhookId']}"
    change = {"events": ["execution.failed", "shard.started"]}
    assert set(invalid_fields(hooks.request("PATCH", path, change))) == {"events[1]"}
    assert set(invalid_fields(hooks.request("PATCH", path, {"format": "json"}))) == {"format"}
    changed = expect_success(hooks.request("PATCH", path, {"events": ["execution.failed"]}), 200)
    assert (changed["events"], changed["format"]) == (["execution.failed"], "slack")
    plain = subscribe(hooks, url)
    assert plain["format"] == "json"
    expect_success(hooks.request("PATCH", f"/webhooks/{plain['webhookId']}", {"events": EVENTS}), 200)


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_secret_in_the_url_is_masked(hooks: Api, format_name: str) -> None:
    url, secret = SECRETS[format_name]
    webhook = subscribe(hooks, url, events=ENDED, format=format_name)
    path = f"/webhooks/{webhook['webhookId']}"
    shown = hooks.request("GET", path)
    page, listed = hooks.page(path), hooks.page("/webhooks")
    for response in (shown, page, listed):
        assert response.status_code == 200
        assert secret not in response.text
    assert "***" in page.text
    assert f"<b>{format_name}</b>" in page.text
    expect_success(hooks.request("DELETE", path), 200)
