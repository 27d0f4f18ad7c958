"""POST and PATCH /webhooks: unusable values are refused with a remedy, and secrets are not shown."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests

from pytest_tms.server.domain.egress import masked
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result
from tests.helpers.processes import wait_for
from tests.helpers.subscribers import Subscribers, hangs, responds_with
from tests.integration.webhooks.conftest import EVENTS, SECRET, deliveries, subscribe

HOOK = {"url": "https://ci.example.com/hooks", "events": EVENTS}
STRONG = base64.b64encode(bytes(range(32))).decode()
BAD: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "no events": ({"events": []}, "events", ("Must name at least one event: ", "execution.completed")),
    "an unknown suite": (
        {"filters": {"testSuites": ["smoke", "smok"]}},
        "filters.testSuites[1]",
        ("smoke, regression, api, ui, all", "TMS_SERVER_SUITES"),
    ),
    "an unknown environment": (
        {"filters": {"environments": ["prod"]}},
        "filters.environments[0]",
        ("dev, staging, production", "TMS_SERVER_ENVIRONMENTS"),
    ),
    "an unknown filter": (
        {"filters": {"branches": ["main"]}},
        "filters.branches",
        ("testSuites, environments",),
    ),
    "a misspelt policy": ({"retryPolicy": {"max_retries": 1}}, "retryPolicy.max_retries", ("maxRetries",)),
    "a leading space": (
        {"url": " https://ci.example.com/"},
        "url",
        ("begin or end with white space", "remove"),
    ),
    "a trailing line": ({"url": "https://ci.example.com/\n"}, "url", ("begin or end with white space",)),
    "a space inside": ({"url": "https://ci.example.com/a b"}, "url", ("%20",)),
    "plain http": ({"url": "http://ci.example.com/"}, "url", ("TMS_SERVER_ALLOW_INSECURE_WEBHOOKS",)),
    "this machine": ({"url": "https://localhost/"}, "url", ("TMS_SERVER_ALLOW_INSECURE_WEBHOOKS",)),
    "loopback": ({"url": "https://127.0.0.1/"}, "url", ("TMS_SERVER_ALLOW_INSECURE_WEBHOOKS",)),
    "a private address": ({"url": "https://10.0.0.1/"}, "url", ("TMS_SERVER_WEBHOOK_SUBNETS",)),
    "a user in the URL": ({"url": "https://me:pass@ci.example.com/"}, "url", ("headers",)),
    "a masked URL": ({"url": "https://ci.example.com/?token=***"}, "url", ("whole URL",)),
    "active": ({"active": False}, "active", ("paused",)),
    "another method": ({"method": "PUT"}, "method", ("POST",)),
    "a content type": ({"contentType": "form"}, "contentType", ("JSON",)),
    "credentials": ({"authorization": "Bearer x"}, "authorization", ("headers",)),
    "a misspelt field": ({"retry_policy": {"maxRetries": 1}}, "retry_policy", ("retryPolicy",)),
    "suites beside filters": ({"testSuites": ["smoke"]}, "testSuites", ("filters",)),
    "too many headers": ({"headers": {f"X-{n}": "x" for n in range(21)}}, "headers", ("20",)),
    "a header of ours": ({"headers": {"Webhook-Id": "x"}}, "headers.Webhook-Id", ("another name",)),
    "the host": ({"headers": {"host": "x"}}, "headers.host", ("another name",)),
    "the length": ({"headers": {"Content-Length": "1"}}, "headers.Content-Length", ("another name",)),
    "a header with a line": ({"headers": {"X-A": "a\r\nX-B: b"}}, "headers.X-A", ("printable",)),
    "no header name": ({"headers": {"X A": "a"}}, "headers.X A", ("name",)),
    "a header twice": ({"headers": {"X-A": "a", "x-a": "b"}}, "headers.x-a", ("twice",)),
    "a masked header": ({"headers": {"X-A": "***"}}, "headers.X-A", ("not shown",)),
}
WEAK = {
    "a word": "secret",
    "a known password": "hunter2",
    "digits": "12345678",
    "one character": "a" * 40,
    "a line at its end": "webhook_secret_key\n",
    "no base64": "whsec_!!!!",
    "base64 of the web": "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    "base64 without padding": "whsec_" + STRONG.rstrip("="),
    "too few bytes": "whsec_" + base64.b64encode(b"x" * 23).decode(),
    "too many bytes": "whsec_" + base64.b64encode(b"x" * 65).decode(),
}


@pytest.mark.parametrize(("body", "field", "words"), BAD.values(), ids=BAD.keys())
def test_an_unusable_webhook_is_refused_with_a_remedy(
    sqlite_api: Api, body: dict[str, Any], field: str, words: tuple[str, ...]
) -> None:
    expect_success(sqlite_api.request("POST", "/webhooks", HOOK), 201)
    webhook = expect_success(sqlite_api.request("GET", "/webhooks"), 200)["webhooks"][0]["webhookId"]
    for method, path, whole in (
        ("POST", "/webhooks", {**HOOK, **body}),
        ("PATCH", f"/webhooks/{webhook}", body),
    ):
        found = {
            each["field"]: each["message"]
            for each in expect_error(sqlite_api.request(method, path, whole), 422)["details"]
        }
        assert list(found) == [field]
        assert all(word in found[field] for word in words), found


@pytest.mark.parametrize("secret", WEAK.values(), ids=WEAK.keys())
def test_a_weak_or_malformed_secret_is_refused_and_not_repeated(sqlite_api: Api, secret: str) -> None:
    webhook = expect_success(sqlite_api.request("POST", "/webhooks", HOOK), 201)["webhookId"]
    for path, body in (
        ("/webhooks", {**HOOK, "secret": secret}),
        (f"/webhooks/{webhook}/rotate", {"secret": secret}),
    ):
        response = sqlite_api.request("POST", path, body)
        (problem,) = expect_error(response, 422)["details"]
        assert problem["field"] == "secret"
        assert json.dumps(secret)[1:-1] not in response.text.replace("secret", "") or secret == "secret"


@pytest.mark.parametrize(
    "secret", [SECRET, "whsec_" + STRONG, "whsec_" + base64.b64encode(b"x" * 24).decode()]
)
def test_documented_and_standard_secrets_are_accepted(sqlite_api: Api, secret: str) -> None:
    expect_success(sqlite_api.request("POST", "/webhooks", {**HOOK, "secret": secret}), 201)


def test_unknown_fields_of_a_webhook_are_stored_and_returned(sqlite_api: Api) -> None:
    made = expect_success(
        sqlite_api.request("POST", "/webhooks", {**HOOK, "description": "CI", "owner": {"team": "qa"}}), 201
    )
    shown = expect_success(sqlite_api.request("GET", f"/webhooks/{made['webhookId']}"), 200)
    assert (shown["description"], shown["owner"]) == ("CI", {"team": "qa"})


def test_what_describes_a_webhook_is_bounded_with_what_is_stored(sqlite_api: Api) -> None:
    assert invalid_fields(sqlite_api.request("POST", "/webhooks", {**HOOK, "notes": "x" * 70_000})) == {
        "notes"
    }
    made = expect_success(sqlite_api.request("POST", "/webhooks", {**HOOK, "notes": "x" * 40_000}), 201)
    path = f"/webhooks/{made['webhookId']}"
    assert invalid_fields(sqlite_api.request("PATCH", path, {"owner": "x" * 30_000})) == {"notes"}
    assert "owner" not in expect_success(sqlite_api.request("GET", path), 200)
    expect_success(
        sqlite_api.request("PATCH", path, {"notes": "y" * 60_000}), 200
    )  # in place of what there was


def test_custom_headers_are_sent_stored_encrypted_and_shown_masked(
    hooks: Api, subscribers: Subscribers
) -> None:
    name = f"headers-{hooks.data_dir.parent.name}"
    headers = {"Authorization": "Bearer s3cr3t-token", "X-Team": "quality-assurance"}
    response = hooks.request(
        "POST", "/webhooks", {"url": subscribers.url(name), "events": EVENTS, "headers": headers}
    )
    webhook = expect_success(response, 201)
    masks = dict.fromkeys(headers, "***")
    path = f"/webhooks/{webhook['webhookId']}"
    page = hooks.page(path).text
    assert "Authorization: ***" in page
    for shown in (
        response.text,
        hooks.request("GET", path).text,
        hooks.request("GET", "/webhooks").text,
        page,
    ):
        assert "s3cr3t" not in shown
        assert "quality-assurance" not in shown
    assert webhook["headers"] == masks
    stored = [file.read_bytes() for file in hooks.data_dir.iterdir() if file.is_file()]
    assert not any(b"s3cr3t" in each for each in stored)
    expect_success(hooks.request("POST", f"{path}/validate", {}), 200)
    changed = expect_success(
        hooks.request("PATCH", path, {"headers": {**masks, "X-Team": "support-team"}}), 200
    )
    assert changed["headers"] == masks
    hooks.submit(hooks.create(), tests=[result()])
    subscribers.wait_for(lambda: len(subscribers.of(name)) > 1)
    first, later = subscribers.of(name)[0], subscribers.of(name)[-1]
    assert first.headers["authorization"] == later.headers["authorization"] == "Bearer s3cr3t-token"
    assert (first.headers["x-team"], later.headers["x-team"]) == ("quality-assurance", "support-team")
    expect_success(hooks.request("PATCH", path, {"headers": {}}), 200)
    assert expect_success(hooks.request("GET", path), 200)["headers"] == {}


SECRETS = {
    "https://ci.example.com/hooks?token=abc&x=1": "https://ci.example.com/hooks?token=***&x=***",
    "https://ci.example.com/hooks?abc": "https://ci.example.com/hooks?***",
    "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX": "https://hooks.slack.com/services/T00000000/B00000000/***",
    "https://discord.com/api/webhooks/123456789012345678/AbCd-Ef_Gh1jKlMnOpQrStUvWx": "https://discord.com/api/webhooks/***/***",
    "https://x.webhook.office.com/webhookb2/6ba7b810-9dad-11d1-80b4-00c04fd430c8": "https://x.webhook.office.com/webhookb2/***",
    "https://me:pw@ci.example.com/a": "https://***@ci.example.com/a",
    "https://ci.example.com/ci-events-receiver-2/executions": "https://ci.example.com/ci-events-receiver-2/executions",
    "https://ci.example.com:8443/": "https://ci.example.com:8443/",
    "https://ci.example.com/#abc": "https://ci.example.com/#***",
}


@pytest.mark.parametrize(("url", "shown"), SECRETS.items())
def test_secrets_in_a_url_are_masked_and_the_rest_is_readable(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_a_url_with_secrets_is_whole_for_its_creator_and_masked_for_all_others(sqlite_api: Api) -> None:
    url = "https://hooks.slack.com/services/T00000000/B00000000/ABCDEFGHIJKLMNOPQRSTUVWX?token=s3cr3t"
    made = expect_success(sqlite_api.request("POST", "/webhooks", {**HOOK, "url": url}), 201)
    assert made["url"] == url
    path = f"/webhooks/{made['webhookId']}"
    for shown in (
        sqlite_api.request("GET", path).text,
        sqlite_api.request("GET", "/webhooks").text,
        sqlite_api.request("PATCH", path, {"status": "paused"}).text,
        sqlite_api.page("/webhooks").text,
        sqlite_api.page(path).text,
        sqlite_api.output(),
    ):
        assert "s3cr3t" not in shown
        assert "ABCDEFGHIJKLMNOPQRSTUVWX" not in shown


def test_each_event_of_an_execution_has_the_next_number_in_every_attempt(
    hooks: Api, subscribers: Subscribers
) -> None:
    name = f"sequence-{hooks.data_dir.parent.name}"
    events = [event for event in EVENTS if event != "execution.progress"]
    subscribers.behave[name] = responds_with(500)
    policy = {"maxRetries": 5, "retryDelay": 1}
    subscribe(hooks, subscribers.url(name), events=events, retryPolicy=policy)
    other = subscribe(hooks, subscribers.url(f"{name}-ends"), events=["execution.completed"])
    execution = hooks.create(configuration={"shards": 2})
    hooks.submit(execution, "1", tests=[result()])
    subscribers.wait_for(lambda: len(subscribers.of(name)) > 1)
    assert {got.payload["sequence"] for got in subscribers.of(name)} == {1}
    del subscribers.behave[name]
    hooks.submit(execution, "2", tests=[result()])
    wait_for(lambda: deliveries(hooks, other, "delivered"))
    subscribers.wait_for(lambda: subscribers.of(name)[-1].payload["event"] == "execution.completed")
    sent = {got.payload["sequence"]: got.payload["event"] for got in subscribers.of(name)}
    assert list(sent) == sorted(sent)
    numbers = [number for number in sent if sent[number] != "execution.progress"]
    assert numbers == sorted(numbers)
    assert len(set(sent.values())) == 4
    (end,) = subscribers.of(f"{name}-ends")
    assert sent[end.payload["sequence"]] == "execution.completed"


@pytest.mark.slow
def test_validations_of_a_silent_endpoint_delay_no_other_request(
    hooks: Api, subscribers: Subscribers
) -> None:
    name = f"silent-{hooks.data_dir.parent.name}"
    subscribers.behave[name] = hangs
    webhook = subscribe(hooks, subscribers.url(name))

    def validate() -> requests.Response:
        with requests.Session() as session:
            return replace(hooks, session=session).request(
                "POST", f"/webhooks/{webhook['webhookId']}/validate", {}
            )

    with ThreadPoolExecutor(66) as pool:
        waiting = [pool.submit(validate) for _ in range(66)]
        subscribers.wait_for(lambda: len(subscribers.of(name)) == 66, seconds=60)
        under_way = sum(not each.done() for each in waiting)
        expect_success(hooks.request("GET", "/webhooks"), 200)
        assert hooks.page("/").status_code == 200
        assert sum(not each.done() for each in waiting) == under_way > 0
        assert {expect_success(each.result(), 200)["status"] for each in waiting} == {"invalid"}
