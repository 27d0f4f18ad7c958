"""The examples of docs/endpoints.md are executed: each call, in an order in which what it needs is there.

The ids of the examples are replaced by those of this server, and the end of a quarantine by a future day; nothing
else of a request is changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.client.calls import Call
from pytest_tms.server.api import openapi_examples as examples
from pytest_tms.server.api.openapi import document
from tests.helpers.api import Api, running
from tests.helpers.processes import run_tms

DOCUMENT = document(wire.SUITES, wire.ENVIRONMENTS)
CONTENT = b"the content of a file"
FIRST = (
    "describe_service",
    "create_execution",
    "send_event",
    "claim_tests",
    "fix_plan",
    "submit_results",
    "upload_artifact",
)
"""The calls that create what others need."""
LAST = ("validate_webhook", "delete_webhook", "cancel_execution", "delete_execution")
QUERIES = {
    "get_timings": "?testSuite=smoke&environment=staging",
    "list_settled": "?shardId=1",
    "export_execution": "?format=json",
    "compare_executions": "?with={earlier}",
}
REFUSED = {"exchange_id_token": 401, "replay_deliveries": 404}
"""The calls whose example this server refuses: it trusts no issuer, and has not made the delivery."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of its own, with a token for everything."""
    folder = tmp_path_factory.mktemp("examples") / "data"
    with running(folder) as server:
        command = (
            "token",
            "create",
            "--name",
            "all",
            "--scope",
            "admin",
            "--json",
            "--data-dir",
            str(folder),
        )
        yield replace(server, token=json.loads(run_tms(*command).stdout)["token"])


def operation(call: Call[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][call.path][call.method.lower()]
    return found


def test_each_example_is_accepted_and_has_a_response_of_its_schema(api: Api) -> None:
    by_name = {call.name: call for call in calls.ALL}
    others = [name for name in by_name if name not in FIRST + LAST]
    known: dict[str, str] = {"earlier": earlier(api)}
    statuses = {}
    for name in (*FIRST, *others, *LAST):
        call = by_name[name]
        response = send(api, call, known)
        statuses[name] = response.status_code
        content = operation(call)["responses"][str(response.status_code)]["content"]
        kind = response.headers["Content-Type"].partition(";")[0]
        assert kind in content, (name, response.text[:500])
        if kind == "application/json":
            schema = {**content[kind]["schema"], "components": DOCUMENT["components"]}
            problems = [each.message for each in Draft202012Validator(schema).iter_errors(response.json())]
            assert problems == [], name
            learn(name, response.json(), known)
    expected = {call.name: REFUSED.get(call.name, call.status) for call in calls.ALL}
    assert statuses == expected


def earlier(api: Api) -> str:
    """Report the test of the quarantine in its project, and an execution to compare with; return its id."""
    entry = examples.REQUESTS["add_to_quarantine"]
    assert isinstance(entry, wire.QuarantineRequest)
    tests = [
        {"title": "test_open", "nodeId": f"{entry.node_id}{end}", "status": "passed"} for end in ("", "_2")
    ]
    for metadata in ({"project": entry.project}, {}):
        created = api.create(testSuite="smoke", environment="staging", metadata=metadata)
        api.submit(created, tests=tests)
    return str(created["executionId"])


def send(api: Api, call: Call[Any, Any], known: dict[str, str]) -> requests.Response:
    """Send the example of a call with the ids that are known."""
    path = call.path + QUERIES.get(call.name, "")
    path = re.sub(r"{(\w+)}", lambda found: known.get(found[1], "1"), path)
    media = operation(call).get("requestBody", {}).get("content", {})
    body: Any = None
    if "application/json" in media:
        text = json.dumps(media["application/json"]["example"])
        for example, name in ((examples.EXECUTION, "execution_id"), (examples.WEBHOOK, "webhook_id")):
            text = text.replace(example, known.get(name, example))
        body = json.loads(text)
        if call.name == "decide_rename":
            body = {**body, "earlierKey": known["earlier_key"]}
        if call.name == "add_to_quarantine":
            body = {**body, "until": (date.today() + timedelta(days=7)).isoformat()}
    elif media:
        body = CONTENT
    token = "" if call.scope is None else api.token
    return api.request(call.method, path, body, token=token)


def learn(name: str, response: dict[str, Any], known: dict[str, str]) -> None:
    """Keep the ids of a response for the calls after it."""
    if name == "create_execution":
        known["execution_id"] = response["executionId"]
        known["sha256"] = hashlib.sha256(CONTENT).hexdigest()
    elif name == "create_webhook":
        known["webhook_id"] = response["webhookId"]
    elif name == "list_registered_tests":
        keys = [test["key"] for test in response["tests"]]
        known["test_key"], known["earlier_key"] = keys[0], keys[1]
    elif name == "add_to_quarantine":
        known["entry_id"] = response["id"]
