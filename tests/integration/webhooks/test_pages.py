"""The pages of webhooks."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from tests.helpers.api import Api, expect_success
from tests.helpers.processes import wait_for
from tests.helpers.subscribers import Subscribers, responds_with
from tests.integration.server.test_authentication import Visit
from tests.integration.server.test_pages import Page, page
from tests.integration.webhooks.conftest import SECRET, deliveries, subscribe
from tests.integration.webhooks.test_delivery import run

ENDED = ["execution.completed"]
NEVER = {"maxRetries": 0}


@pytest.fixture
def name() -> str:
    return uuid4().hex[:10]


def words(api: Api, path: str) -> str:
    return " ".join(page(api, path).words.split())


def test_the_owner_sees_that_an_endpoint_was_disabled_and_activates_it(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribers.behave[name] = responds_with(410)
    webhook = subscribe(hooks, subscribers.url(name), events=ENDED)
    path = f"/webhooks/{webhook['webhookId']}"
    run(hooks)
    wait_for(lambda: hooks.request("GET", path).json()["status"] == "disabled")
    said = r"disabled since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC (· )?The endpoint responded with 410 Gone"
    assert re.search(said, words(hooks, "/webhooks"))
    assert re.search(said, words(hooks, path))
    visit = Visit(hooks.root)
    assert "Send failed deliveries again" not in visit.see(path).text
    assert visit.send(f"{path}/replay").status_code == 409
    visit.see(path)
    assert visit.send(f"{path}/activate").headers["Location"] == path
    shown = hooks.request("GET", path).json()
    assert (shown["status"], shown.get("reason"), shown.get("failingSince")) == ("active", None, None)
    assert re.search(r"active since \d{4}", words(hooks, path))


def test_the_owner_sees_why_deliveries_failed_and_sends_them_again(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribers.behave[name] = responds_with(500)
    webhook = subscribe(hooks, subscribers.url(name), events=ENDED, retryPolicy=NEVER)
    path = f"/webhooks/{webhook['webhookId']}"
    execution = run(hooks)
    wait_for(lambda: deliveries(hooks, webhook, "failed"))
    assert re.search(rf"{name} execution\.completed failing since \d{{4}}", words(hooks, "/webhooks"))
    shown = page(hooks, path)
    assert "it responded with 500 1" in " ".join(shown.words.split())
    assert f"/runs/{execution['executionId']}" in shown.links()
    assert "No deliveries." in words(hooks, f"{path}?status=delivered")
    del subscribers.behave[name]
    visit = Visit(hooks.root)
    visit.see(path)
    assert visit.send(f"{path}/replay").headers["Location"] == path
    wait_for(lambda: deliveries(hooks, webhook, "delivered"))
    assert "Send failed deliveries again" not in words(hooks, path)


def test_a_webhook_is_paused_and_activated_on_its_page(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    webhook = subscribe(hooks, subscribers.url(name), events=ENDED)
    path, visit = f"/webhooks/{webhook['webhookId']}", Visit(hooks.root)
    visit.see(path)
    assert visit.send(f"{path}/pause").status_code == 303
    run(hooks)
    assert "paused since" in words(hooks, path)
    assert [each["status"] for each in deliveries(hooks, webhook)] == ["pending"]
    assert visit.send(f"{path}/activate").status_code == 303
    subscribers.wait_for(lambda: subscribers.of(name))


@pytest.mark.slow
def test_deliveries_are_paged_without_a_gap(hooks: Api, subscribers: Subscribers, name: str) -> None:
    webhook = subscribe(hooks, subscribers.url(name), events=["shard.started"])
    path = f"/webhooks/{webhook['webhookId']}"
    expect_success(hooks.request("PATCH", path, {"status": "paused"}), 200)
    execution = hooks.create(configuration={"shards": 300})
    for shard in range(230):
        hooks.send(execution, "shard.started", shardId=str(shard))
    at, sizes = f"{path}?status=pending", []
    while at:
        shown: Page = page(hooks, at)
        sizes.append(shown.count("tr") - 1)
        at = next((link for link in shown.links() if "before=" in link), "")
    assert sizes == [100, 100, 30]
    hooks.request("DELETE", path)


def test_the_pages_show_no_secret(hooks: Api, subscribers: Subscribers, name: str) -> None:
    webhook = subscribe(hooks, f"{subscribers.url(name)}?key=hunter3", events=ENDED)
    for path in ("/webhooks", f"/webhooks/{webhook['webhookId']}"):
        text = hooks.page(path).text
        assert name in text
        assert not [secret for secret in (SECRET, "hunter3") if secret in text]


@pytest.mark.parametrize("path", ["/webhooks/wh_nope", "/webhooks/a%00b"])
def test_an_unknown_webhook_is_a_404_page(hooks: Api, path: str) -> None:
    response = hooks.page(path)
    assert response.status_code == 404
    assert "<h1>Not found</h1>" in response.text


def test_a_delivery_has_a_page_with_its_payload_and_is_sent_again(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    address = f"{name}?key=hunter3"
    subscribers.behave[address] = responds_with(500)
    webhook = subscribe(hooks, subscribers.url(address), events=ENDED, retryPolicy=NEVER)
    execution = run(hooks)
    wait_for(lambda: deliveries(hooks, webhook, "failed"))
    path = next(
        link for link in page(hooks, f"/webhooks/{webhook['webhookId']}").links() if "deliveries" in link
    )
    shown = words(hooks, path)
    assert "it responded with 500" in shown
    assert f'"executionId": "{execution["executionId"]}"' in shown
    assert "hunter3" not in shown
    del subscribers.behave[address]
    visit = Visit(hooks.root)
    visit.see(path)
    assert visit.send(f"{path}/replay").headers["Location"] == path
    wait_for(lambda: deliveries(hooks, webhook, "delivered"))
    assert "delivered" in words(hooks, path)
    assert hooks.page(f"/webhooks/{webhook['webhookId']}/deliveries/del_nope").status_code == 404
