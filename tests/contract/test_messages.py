"""Every JSON block of the document: what it sends is accepted, and what it answers is what we answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.contract.conftest import Api
from tests.helpers.document import Document
from tests.helpers.processes import TmsServer, run_tms

ENDPOINTS = (
    "Create Test Execution",
    "Get Execution Status",
    "Cancel Execution",
    "Register Webhook",
    "Validate Webhook",
    "Submit Test Results",
)
TAKES_A_BODY = ("Create Test Execution", "Register Webhook", "Submit Test Results")
EVENTS = ("Execution Started", "Shard Completed", "Execution Completed")
ERROR = "Error Response Format"


def test_every_json_block_of_the_document_is_held_against_the_server(document: Document) -> None:
    assert {(block.heading, block.label) for block in document.blocks if block.language == "json"} == {
        *((heading, "Response") for heading in ENDPOINTS),
        *((heading, "Request Body") for heading in TAKES_A_BODY),
        *((heading, "") for heading in (*EVENTS, ERROR)),
    }


class TestExecutions:
    def test_every_documented_request_is_accepted_and_answered_as_documented(
        self, document: Document, api: Api
    ) -> None:
        method, path = document.endpoint("Create Test Execution")
        for body in variants(document, "Create Test Execution"):
            response = api.request(method, path, body)
            assert response.status_code == 201, response.text
            created = response.json()
            check(created, documented_response(document, "Create Test Execution"))
            assert created["webhookUrl"] == f"{api.url}/webhooks/executions/{created['executionId']}"
            for name in ("testSuite", "environment"):
                assert created["configuration"][name] == body[name]
            status = api.status(created["executionId"])
            for name in ("testSuite", "environment", "provider", "triggerSource", "metadata"):
                assert status[name] == body[name]
            assert status["configuration"].items() >= body["configuration"].items()

    def test_a_status_has_what_is_documented(self, document: Document, api: Api) -> None:
        execution = api.create(configuration={"shards": 4})
        for heading in EVENTS:
            api.send(execution, json.loads(document.block(heading, "json")))
        method, path = document.endpoint("Get Execution Status")
        response = api.request(method, path.format(executionId=execution["executionId"]))
        assert response.status_code == 200
        check(response.json(), documented_response(document, "Get Execution Status"))

    def test_a_cancelled_execution_is_answered_as_documented_and_stays_cancelled(
        self, document: Document, api: Api
    ) -> None:
        execution_id = api.create()["executionId"]
        method, path = document.endpoint("Cancel Execution")
        response = api.request(method, path.format(executionId=execution_id))
        assert response.status_code == 200
        check(response.json(), documented_response(document, "Cancel Execution"))
        assert api.status(execution_id)["status"] == "cancelled"


class TestResults:
    def test_every_documented_request_is_accepted_and_answered_as_documented(
        self, document: Document, api: Api
    ) -> None:
        method, path = document.endpoint("Submit Test Results")
        for body in variants(document, "Submit Test Results"):
            execution_id = api.create()["executionId"]
            response = api.request(method, path, body | {"executionId": execution_id})
            assert response.status_code == 201, response.text
            check(response.json(), documented_response(document, "Submit Test Results"))
            assert response.json()["executionId"] == execution_id
            assert api.status(execution_id)["results"] == body["results"]


class TestWebhooks:
    def test_every_documented_request_is_accepted_and_answered_as_documented(
        self, document: Document, api: Api
    ) -> None:
        response = self.register(document, api)
        assert response.status_code == 201, response.text
        check(response.json(), documented_response(document, "Register Webhook"))

    def test_a_validation_is_answered_as_documented(self, document: Document, api: Api) -> None:
        webhook_id = self.register(document, api).json()["webhookId"]
        method, path = document.endpoint("Validate Webhook")
        response = api.request(method, path.format(webhookId=webhook_id))
        assert response.status_code == 200, response.text
        check(response.json(), documented_response(document, "Validate Webhook"))

    def register(self, document: Document, api: Api) -> requests.Response:
        method, path = document.endpoint("Register Webhook")
        (body,) = variants(document, "Register Webhook")
        return api.request(method, path, body)


class TestEvents:
    @pytest.mark.parametrize("heading", EVENTS)
    def test_a_documented_payload_is_accepted(self, document: Document, api: Api, heading: str) -> None:
        response = api.send(api.create(), json.loads(document.block(heading, "json")))
        assert response.json()["event"] == json.loads(document.block(heading, "json"))["event"]

    def test_the_payloads_together_tell_the_documented_run(self, document: Document, api: Api) -> None:
        execution = api.create(configuration={"shards": 4})
        payloads = [json.loads(document.block(heading, "json")) for heading in EVENTS]
        for payload in payloads:
            api.send(execution, payload)
        status = api.status(execution["executionId"])
        assert status["status"] == "completed"
        assert status["results"] == payloads[-1]["data"]["results"]
        shard = next(shard for shard in status["shardResults"] if shard["shardId"] == "1")
        assert shard["status"] == payloads[1]["data"]["status"]
        assert shard["results"] == payloads[1]["data"]["results"]
        assert shard["duration"] == payloads[1]["data"]["duration"]

    def test_every_event_type_of_the_table_is_accepted_and_may_be_repeated(
        self, document: Document, api: Api
    ) -> None:
        assert len(document.events) == 7
        for name in document.events:
            execution = api.create()
            for _ in range(2):
                api.send(execution, {"event": name, "data": {"shardId": "1"}})


class TestErrors:
    def test_a_bad_suite_is_answered_with_the_documented_error(self, document: Document, api: Api) -> None:
        method, path = document.endpoint("Create Test Execution")
        body = next(variants(document, "Create Test Execution")) | {"testSuite": "nightly"}
        response = api.request(method, path, body)
        documented = json.loads(document.block(ERROR, "json"))
        assert response.status_code == 422
        check(response.json(), documented)
        for name in ("code", "message", "details"):
            assert response.json()["error"][name] == documented["error"][name]

    def test_every_status_code_of_the_table_is_sent(
        self, document: Document, api: Api, limited: Api, tms: TmsServer
    ) -> None:
        """Except 500, which no request should cause, and 503, which only an overloaded server sends."""
        execution = api.create()
        path = f"/executions/{execution['executionId']}"
        method, create = document.endpoint("Create Test Execution")
        body = next(variants(document, "Create Test Execution"))
        options = ("--name", "reader", "--scope", "executions:read", "--data-dir", str(tms.data_dir))
        reader = run_tms("token", "create", *options, "--json")
        sent = {
            api.request("GET", path).status_code,
            api.request(method, create, body).status_code,
            api.session.post(
                api.url + create, b"{", headers={"Authorization": f"Bearer {api.token}"}, timeout=30
            ).status_code,
            api.request("GET", path, token="unknown").status_code,
            api.request(method, create, body, token=json.loads(reader.stdout)["token"]).status_code,
            api.request("GET", "/executions/exec_unknown").status_code,
            api.request(method, create, {}).status_code,
        }
        api.send(execution, {"event": "execution.completed", "data": {"status": "completed"}})
        sent.add(api.request("DELETE", path).status_code)
        refused = (limited.request(method, create, {}).status_code for _ in range(200))
        sent.add(next(status for status in refused if status == 429))
        listed = set(map(int, re.findall(r"^\| (\d{3}) \|", document.text, re.MULTILINE)))
        assert listed - {500, 503} == sent

    @pytest.mark.parametrize("heading", ENDPOINTS)
    @pytest.mark.parametrize("token", ["", "unknown"], ids=["without a token", "with an unknown token"])
    def test_every_endpoint_refuses_a_caller(
        self, document: Document, api: Api, heading: str, token: str
    ) -> None:
        method, path = document.endpoint(heading)
        body = next(variants(document, heading)) if heading in TAKES_A_BODY else None
        response = api.request(method, re.sub(r"\{\w+\}", "any", path), body, token=token)
        assert response.status_code == 401
        documented = json.loads(document.block(ERROR, "json"))
        check(response.json(), {"error": documented["error"] | {"details": []}})

    def test_an_executions_own_token_opens_its_webhook_and_nothing_else(
        self, document: Document, api: Api
    ) -> None:
        execution = api.create()
        own = execution["webhookToken"]
        api.send(execution, {"event": "execution.started"})
        method, path = document.endpoint("Get Execution Status")
        response = api.request(method, path.format(executionId=execution["executionId"]), token=own)
        assert response.status_code in (401, 403)
        response = api.request("POST", api.create()["webhookUrl"], {"event": "execution.started"}, token=own)
        assert response.status_code in (401, 403)


class TestLimits:
    def test_every_limit_of_the_table_is_ours(self, document: Document, limited: Api) -> None:
        rows = re.findall(r"^\| `(/\w+)` \| (\d+) requests \| per hour \|", document.text, re.MULTILINE)
        assert len(rows) == 3
        for path, amount in rows:
            response = limited.request("POST", path, {})
            assert response.headers["X-RateLimit-Limit"] == amount
            assert response.headers["X-RateLimit-Window"] == "3600"

    def test_a_limited_answer_carries_the_documented_headers(self, document: Document, limited: Api) -> None:
        documented = dict(
            line.split(": ", 1) for line in document.block("Rate Limit Headers", "http").splitlines()
        )
        method, path = document.endpoint("Create Test Execution")
        response = limited.request(method, path, next(variants(document, "Create Test Execution")))
        sent = {name: int(response.headers[name]) for name in documented}
        assert sent["X-RateLimit-Limit"] == int(documented["X-RateLimit-Limit"])
        assert sent["X-RateLimit-Window"] == int(documented["X-RateLimit-Window"])
        assert 0 <= sent["X-RateLimit-Remaining"] < sent["X-RateLimit-Limit"]


def documented_response(document: Document, heading: str) -> Any:
    return json.loads(document.block(heading, "json", "Response"))


def variants(document: Document, heading: str) -> Iterator[dict[str, Any]]:
    """The documented body, once for every alternative of its ``a|b|c`` strings."""
    body = json.loads(document.block(heading, "json", "Request Body"))
    for number in range(max(map(len, _alternatives(body)), default=1)):
        yield _choose(body, number)


def _alternatives(value: Any) -> list[list[str]]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in _alternatives(item)]
    if isinstance(value, list):
        return [found for item in value for found in _alternatives(item)]
    return [value.split("|")] if isinstance(value, str) else []


def _choose(value: Any, number: int) -> Any:
    if isinstance(value, dict):
        return {name: _choose(item, number) for name, item in value.items()}
    if isinstance(value, list):
        return [_choose(item, number) for item in value]
    if isinstance(value, str):
        alternatives = value.split("|")
        return alternatives[min(number, len(alternatives) - 1)]
    return value


def check(response: Any, documented: Any, path: str = "answer") -> None:
    """Every documented field is there, of the documented kind, and one of its alternatives if it has any."""
    assert type(response) is type(documented), f"{path} is {response!r}, not like {documented!r}"
    if isinstance(documented, dict):
        for name, value in documented.items():
            assert name in response, f"{path} has no {name}"
            check(response[name], value, f"{path}.{name}")
    elif isinstance(documented, list):
        assert response or not documented, f"{path} is empty"
        for number, item in enumerate(response):
            check(item, documented[0], f"{path}[{number}]")
    elif isinstance(documented, str):
        assert "|" not in documented or response in documented.split("|"), f"{path} is {response!r}"
        if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", documented):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", response), (
                f"{path} is {response!r}"
            )
        if prefix := re.match(r"(exec|sub|wh|req|wh_token)_", documented):
            assert response.startswith(prefix[0]), f"{path} is {response!r}"
