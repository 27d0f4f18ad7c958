"""Every field that a runner, an owner or a subscriber fills, on every page, in a real browser under the CSP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.e2e.test_browser import PAGES
from tests.helpers.api import Api, expect_success, running
from tests.helpers.processes import wait_for
from tests.helpers.subscribers import ReceivedRequest, subscribing
from tests.integration.server.test_result_page import number_of
from tests.integration.server.test_tokens import stored
from tests.integration.webhooks.conftest import deliveries

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog

pytestmark = pytest.mark.browser
VECTORS = (
    "<script>window.owned='{0}'</script>",
    "\"'><img src=x onerror=window.owned='{0}'>",
    "<svg/onload=window.owned='{0}'>",
    "</title></style></textarea></pre></option></template><script>window.owned='{0}'</script>",
    "javascript:window.owned='{0}'//",
    "' autofocus onfocus=window.owned='{0}' x='",
    "<iframe srcdoc='<script>parent.owned=1</script>'></iframe>",
    "<meta http-equiv=refresh content='0;url=data:text/html,owned'>",
    "<base href=//evil.example/><link rel=stylesheet href=//evil.example/{0}>",
    "--><!--<![CDATA[<form action=//evil.example><button>{0}",
    "\u202e\u2066&lt;script&gt;{{{{7*7}}}}${{7*7}}",
)
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event => window.violations.push(event.violatedDirective));
"""
SHOWN = {
    "branch", "commit", "buildNumber", "triggeredBy", "title", "file", "error", "longrepr", "stdout",
    "owner", "framePath", "function", "section", "sectionText", "worker", "subtest", "tags", "shardId", "logs",
    "case", "reason", "quarantineOwner",
}  # fmt: skip
"""Fields of a runner that some page shows."""


def texts(vector: str) -> Any:
    """What each field says: its own name, then the vector."""

    class Texts(dict[str, str]):
        def __missing__(self, name: str) -> str:
            self[name] = f"@{name}@ {vector.format(name)}"
            return self[name]

    return Texts()


def execution(api: Api, text: Any) -> str:
    """The id of an execution that says something hostile in each of its fields."""
    names = ("branch", "commit", "buildNumber", "triggeredBy", "other")
    created = api.create(
        provider=text["provider"],
        configuration={"shards": 2, "browsers": [text["browsers"]], text["key"]: text["value"]},
        metadata={**{name: text[name] for name in names}, text["key"]: text["value"]},
        **{text["key"]: text["value"]},
    )
    plain = (
        "title",
        "file",
        "error",
        "nodeId",
        "outcome",
        "startedAt",
        "worker",
        "longrepr",
        "stdout",
        "stderr",
        "log",
    )
    test = {
        **{name: text[name] for name in plain},
        "status": "failed",
        "tags": [text["tags"]],
        "parameters": {text["key"]: text["value"]},
        "properties": {text["key"]: text["value"], "id": [text["case"]]},
        "artifacts": [{name: text[name] for name in ("name", "kind", "path")}],
        "attempts": [
            {name: text[name] for name in ("outcome", "error", "longrepr", "startedAt", "stdout")}
            for _ in range(2)
        ],
        "owner": text["owner"],
        "exceptionType": text["exceptionType"],
        "frames": [{"path": text["framePath"], "line": 1, "function": text["function"], "isOwn": True}],
        "sections": [{"name": text["section"], "text": text["sectionText"]}],
        "subtests": [{"title": text["subtest"], "status": "failed", "error": text["error"]}],
    }
    shard = text["shardId"]
    api.send(created, "execution.progress", shardId=shard, running=[text["running"]], tests=[test])
    api.send(
        created,
        "shard.completed",
        shardId=shard,
        status=text["status"],
        metadata={text["key"]: text["value"]},
    )
    files = {kind: [text[kind]] for kind in ("screenshots", "videos", "traces", "logs")}
    api.submit(
        created, shard, provider=text["provider"], tests=[test], artifacts={**files, text["key"]: ["x"]}
    )
    api.send(created, "execution.cancelled", reason=text["reason"])
    return str(created["executionId"])


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that sends to this machine."""
    folder = tmp_path_factory.mktemp("xss") / "data"
    with running(folder, TMS_SERVER_ALLOW_INSECURE_WEBHOOKS="1", TMS_SERVER_SUITES="all") as api:
        yield api


@pytest.mark.slow
@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_no_field_of_a_user_runs_on_any_page(api: Api, browser: Browser, vector: str) -> None:
    text = texts(vector)

    async def respond(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 500 {vector.format('phrase')}\r\nX-Y: {vector}\r\n\r\n".encode())
        writer.close()

    with subscribing() as subscribers:
        address = f"{quote(text['path'], safe='')}?q={quote(text['query'], safe='')}"
        subscribers.behave[address] = respond
        body = {
            "url": subscribers.url(address),
            "events": ["execution.cancelled"],
            "retryPolicy": {"maxRetries": 0},
            text["key"]: text["value"],
        }
        hook = expect_success(api.request("POST", "/webhooks", body), 201)
        execution_id = execution(api, text)
        wait_for(lambda: deliveries(api, hook, "failed"), 10)
    quarantined = {
        "nodeId": text["nodeId"],
        "reason": text["reason"],
        "owner": text["quarantineOwner"],
        "until": str(date.today() + timedelta(days=2)),
    }
    writer_token = stored(api, "quarantine:write")
    expect_success(api.request("POST", "/quarantine", quarantined, token=writer_token), 201)
    # Filters name only suites that the operator lists, so that they hold nothing of a stranger.
    expect_success(
        api.request("PATCH", f"/webhooks/{hook['webhookId']}", {"filters": {"testSuites": ["all"]}}), 200
    )
    strange = quote(text["strange"], safe="")
    paths = [path.format(execution_id, hook=hook["webhookId"]) for path in PAGES]
    one = f"/runs/{execution_id}/tests/{number_of(api, {'executionId': execution_id}, '')}"
    cases = expect_success(api.request("GET", "/cases?limit=200"), 200)["cases"]
    paths += [f"/cases/{cases[-1]['key']}", f"/tests/{cases[-1]['tests'][0]['key']}"]
    paths += [one, f"{one}?attempt=1", f"{one}?attempt=1&compare=2", f"{one}?shard={strange}"]
    paths += [
        f"{paths[1]}?after={strange}",
        f"/runs/{strange}",
        f"/webhooks/{strange}",
        f"/login?to=/{strange}",
    ]
    listed = expect_success(api.request("GET", f"/webhooks/{hook['webhookId']}/deliveries"), 200)
    paths.append(f"/webhooks/{hook['webhookId']}/deliveries/{listed['deliveries'][0]['deliveryId']}")
    context = browser.new_context(viewport={"width": 360, "height": 740})
    context.add_init_script(WATCH)
    tab = context.new_page()
    wrong: list[str] = []

    def refuse(dialog: Dialog) -> None:
        wrong.append(dialog.message)
        dialog.dismiss()

    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", refuse)
    tab.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(api.root) else None)
    seen = ""
    for path in paths:
        tab.goto(f"{api.root}{path}")
        tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        assert tab.evaluate("[window.owned, window.violations]") == [None, []], path
        assert (
            tab.locator("script:not([src^='/static/tms.']), iframe, object, embed, img, base").count() == 0
        ), path
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= 360, path
        assert tab.url.startswith(api.root)
        seen += tab.locator("body").inner_text()
    assert wrong == []
    assert {name for name in text if f"@{name}@" in seen} >= SHOWN
    context.close()
