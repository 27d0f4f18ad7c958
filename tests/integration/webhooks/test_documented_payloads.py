"""docs/webhooks.md: the payloads are those that the server sends, and the receivers accept its signatures."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from pytest_tms import signing
from tests.helpers.api import Api, expect_success, result
from tests.helpers.subscribers import Subscribers
from tests.integration.webhooks.conftest import EVENTS, SECRET, subscribe

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")
FREE = ("configuration", "metadata")
"""Objects whose fields the runner chooses."""


def test_every_documented_payload_has_the_fields_of_the_one_that_is_sent(
    hooks: Api, subscribers: Subscribers
) -> None:
    documented = {
        each["event"]: each for each in map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    }
    assert set(documented) == {*EVENTS, "webhook.test"}
    name = f"documented-{hooks.data_dir.parent.name}"
    webhook = subscribe(hooks, subscribers.url(name))
    expect_success(hooks.request("POST", f"/webhooks/{webhook['webhookId']}/validate", {}), 200)
    failing = [result("a"), result("b", "failed", error="no", file="f.py")]
    completed, failed, cancelled = (hooks.create(configuration={"shards": 2}) for _ in range(3))
    for execution in (completed, failed, cancelled):
        hooks.submit(execution, "1", tests=failing)
    subscribers.wait_for(
        lambda: any(got.payload["event"] == "execution.progress" for got in subscribers.of(name))
    )
    hooks.submit(completed, "2", tests=failing)
    hooks.submit(failed, "2", status="error", tests=failing)
    expect_success(hooks.request("DELETE", f"/executions/{cancelled['executionId']}"), 200)
    subscribers.wait_for(lambda: {got.payload["event"] for got in subscribers.of(name)} == set(documented))
    sent = {got.payload["event"]: got.payload for got in subscribers.of(name)}
    assert {event: shape(each) for event, each in sent.items()} == {
        event: shape(each) for event, each in documented.items()
    }
    headers = set(subscribers.of(name)[0].headers)
    assert headers >= set(re.findall(r"^\| `(webhook-\w+)` \|", PAGE, re.MULTILINE)) != set()


def shape(value: Any) -> Any:
    """Return the names of the fields of a payload."""
    if isinstance(value, dict):
        return {name: "free" if name in FREE else shape(each) for name, each in value.items()}
    are_objects = isinstance(value, list) and value and isinstance(value[0], dict)
    return [shape(value[0])] if are_objects else None


@pytest.mark.parametrize("receiver", ["receive", "receive_with_the_standard_library"])
def test_the_documented_receivers_accept_signed_deliveries_only(receiver: str) -> None:
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(code.replace("whsec_…", SECRET), names)
    body = b'{"event": "webhook.test"}'
    headers = signing.sign([SECRET], "msg_1", int(time.time()), body)
    if receiver == "receive":
        seen: set[str] = set()
        assert names[receiver](headers, body, seen) == 204
        assert seen == {"msg_1"}
        assert names[receiver](headers, body + b" ", seen) == 401
    else:
        assert names[receiver](headers, body) == {"event": "webhook.test"}
        with pytest.raises(WebhookVerificationError):
            names[receiver](headers, body + b" ")
