"""The OpenAPI document: what generators and readers need of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from jsonschema import Draft202012Validator

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.server.api.openapi import document
from tests.helpers.api import Api, expect_success, result

DOCUMENT = document(wire.SUITES, wire.ENVIRONMENTS)
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
REQUESTS = {"ExecutionRequest", "ResultsSubmission", "Event", "WebhookRequest", "WebhookChange", "SecretRotation",
            "ReplayRequest"}  # fmt: skip


def parts(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in the document with its path, examples left out."""
    if isinstance(value, dict):
        yield path, value
        for name, each in value.items():
            if name not in ("example", "examples"):
                yield from parts(each, f"{path}/{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from parts(each, f"{path}/{number}")


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema, and every schema in one."""
    for path, value in parts(DOCUMENT):
        parent = path.rpartition("/")[0]
        is_schema = path.endswith(("/schema", "/items")) or parent.endswith(
            ("/components/schemas", "/properties", "/anyOf")
        )
        if is_schema:
            yield path, value


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for group in ("paths", "webhooks"):
        for path, methods in DOCUMENT[group].items():
            for method, operation in methods.items():
                yield f"{method} {path}", operation


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_every_schema_has_a_type() -> None:
    seen = 0
    for path, schema in schemas():
        assert {"type", "$ref", "anyOf"} & set(schema), path
        seen += 1
    assert seen > 300


def test_every_array_has_one_schema_for_its_items() -> None:
    arrays = [(path, schema) for path, schema in schemas() if schema.get("type") == "array"]
    assert len(arrays) > 30
    for path, schema in arrays:
        assert isinstance(schema["items"], dict), path
        assert "prefixItems" not in schema, path


def test_every_object_is_a_named_message_and_a_free_one_says_so() -> None:
    for path, schema in schemas():
        if schema.get("type") == "object":
            assert path.startswith("/components/schemas/"), path
            assert path.count("/") == 3, path
            assert schema.get("properties") or schema["additionalProperties"] in (True, {"type": "string"}), (
                path
            )
    for name, field in (
        ("ExecutionRequest", "metadata"),
        ("ExecutionStatus", "metadata"),
        ("TestResult", "properties"),
    ):
        assert "JsonObject" in str(SCHEMAS[name]["properties"][field]), (name, field)


def test_no_schema_has_a_default() -> None:
    for path, schema in schemas():
        assert "default" not in schema, path


def test_requests_require_what_the_integration_document_requires() -> None:
    required = {name: set(SCHEMAS[name].get("required", [])) for name in REQUESTS}
    assert required == {
        "ExecutionRequest": {"testSuite", "environment"},
        "ResultsSubmission": {"executionId", "shardId"},
        "Event": {"event", "executionId"},
        "WebhookRequest": {"url", "events"},
        "WebhookChange": set(),
        "SecretRotation": set(),
        "ReplayRequest": set(),
    }


def test_answers_require_every_field() -> None:
    answered = set()
    for _, operation in operations():
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                name = content["schema"].get("$ref", "").rpartition("/")[2]
                if name and name != "JsonObject":  # of a file
                    answered.add((name, status))
    assert len(answered) > 15
    for name, _ in answered:
        assert set(SCHEMAS[name]["required"]) == set(SCHEMAS[name]["properties"]), name


def test_every_message_field_call_and_parameter_is_described_in_plain_words() -> None:
    texts = [DOCUMENT["info"]["description"]]
    for name, schema in SCHEMAS.items():
        assert schema["description"], name
        for field, each in schema.get("properties", {}).items():
            assert each.get("description"), f"{name}.{field} needs a text in openapi_texts.py"
    for name, operation in operations():
        assert operation["summary"], name
        assert operation["description"].endswith("."), name
        for parameter in operation["parameters"]:
            assert parameter["description"], (name, parameter["name"])
    for _, value in parts(DOCUMENT):
        texts += [
            value[key] for key in ("description", "summary", "title") if isinstance(value.get(key), str)
        ]
    own = r"(?i)python|msgspec|litestar|pydantic|pytest\b|struct|``|\bdict\b|[a-z]+_[a-z]+\b"
    for text in texts:
        assert not re.search(own, text.replace("wh_", "")), text


def test_every_call_has_a_unique_operation_id_a_tag_and_its_security() -> None:
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(tag["description"] for tag in DOCUMENT["tags"])
    ids, used = [], set()
    for name, operation in operations():
        ids.append(operation["operationId"])
        assert set(operation["tags"]) <= tags, name
        used |= set(operation["tags"])
        assert "security" in operation, name
    assert len(ids) == len(set(ids))
    assert {call.name for call in calls.ALL} < set(ids)
    assert used == tags


def test_every_error_has_the_documented_shape_and_an_example() -> None:
    for call in calls.ALL:
        responses = DOCUMENT["paths"][call.path][call.method.lower()]["responses"]
        for error in call.errors:
            content = responses[str(error.status)]["content"]["application/json"]
            assert content["schema"]["$ref"].endswith("/ErrorResponse")
            assert content["example"]["error"]["code"] == error.code


def test_every_example_fits_its_schema_and_has_every_field_of_an_answer() -> None:
    seen = 0
    for path, value in parts(DOCUMENT):
        if path.endswith("/application/json"):
            assert "example" in value, path
            errors = [error.message for error in validator(value["schema"]).iter_errors(value["example"])]
            assert not errors, (path, errors)
            seen += 1
    assert seen > 100


def test_every_outbound_event_has_its_payload_with_an_example() -> None:
    assert set(DOCUMENT["webhooks"]) == set(get_args(wire.EventName))
    for event, methods in DOCUMENT["webhooks"].items():
        operation = methods["post"]
        assert {each["name"] for each in operation["parameters"]} == {
            "webhook-id", "webhook-timestamp", "webhook-signature",
        }  # fmt: skip
        content = operation["requestBody"]["content"]["application/json"]
        assert content["example"]["event"] == event
        payload = SCHEMAS[content["schema"]["$ref"].rpartition("/")[2]]
        assert payload["properties"]["event"]["const"] == event
        assert set(payload["required"]) == set(payload["properties"])
        other = {**content["example"], "event": "other"}
        assert not validator(content["schema"]).is_valid(other)


def test_the_operators_suites_and_environments_are_those_of_the_document() -> None:
    own = document(("nightly",), ("lab", "dev"))["components"]["schemas"]["ExecutionRequest"]["properties"]
    assert (own["testSuite"]["enum"], own["testSuite"]["type"]) == (["nightly"], "string")
    assert own["environment"]["enum"] == ["lab", "dev"]


def test_what_the_server_answers_fits_the_document(api: Api) -> None:
    """Every field that is required is there, in answers of executions in each state."""
    created = api.create(configuration={"shards": 2, "browsers": ["x"]}, metadata={"a": 1}, mine=[1])
    fits = {"ExecutionCreated": [created], "ExecutionStatus": [api.status(created)]}
    fits["EventAccepted"] = [api.send(created, "shard.started", shardId="1")]
    fits["SubmissionAccepted"] = [api.submit(created, tests=[result("t", "failed", mine={})])]
    fits["ExecutionStatus"].append(api.status(created))
    path = f"/executions/{created['executionId']}"
    fits["TestPage"] = [expect_success(api.request("GET", f"{path}/tests"), 200)]
    fits["ExecutionCancelled"] = [expect_success(api.request("DELETE", path), 200)]
    fits["ExecutionStatus"].append(api.status(created))
    webhook = {"url": "https://ci.example.com/x", "events": ["execution.failed"], "mine": 1}
    fits["Webhook"] = [expect_success(api.request("POST", "/webhooks", webhook), 201)]
    at = f"/webhooks/{fits['Webhook'][0]['webhookId']}"
    fits["Webhook"] += [
        expect_success(api.request("PATCH", at, {"status": "paused"}), 200),
        expect_success(api.request("GET", at), 200),
    ]
    fits["WebhookList"] = [expect_success(api.request("GET", "/webhooks"), 200)]
    fits["DeliveryPage"] = [expect_success(api.request("GET", f"{at}/deliveries"), 200)]
    fits["ServiceInfo"] = [expect_success(api.request("GET", "/"), 200)]
    fits["ErrorResponse"] = [api.request("GET", "/nope").json()]
    for name, bodies in fits.items():
        for response in bodies:
            errors = [error.message for error in validator(SCHEMAS[name]).iter_errors(response)]
            assert not errors, (name, errors)
