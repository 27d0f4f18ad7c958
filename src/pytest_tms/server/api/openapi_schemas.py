"""Schemas of the messages in the OpenAPI document, generated from their structs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import msgspec

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.server.api import openapi_examples as examples
from pytest_tms.server.api import openapi_texts as texts

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
FREE_OBJECT = "JsonObject"
"""The name of the schema of objects with any fields."""
TEXT_OBJECT = "StringMap"
"""The name of the schema of objects with any fields whose values are strings."""
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
ENUMERATIONS = {
    "TriggerSource": wire.TriggerSource,
    "ExecutionState": wire.ExecutionState,
    "ShardState": wire.ShardState,
    "SubmittedStatus": wire.SubmittedStatus,
    "TestStatus": wire.TestStatus,
    "EventName": wire.EventName,
    "WebhookFormat": wire.WebhookFormat,
    "WebhookStatus": wire.WebhookStatus,
    "DeliveryStatus": wire.DeliveryStatus,
}
"""The named enumerations; a Literal with the same values becomes a reference."""
RESPONSE_TYPES: dict[tuple[str, str], Schema] = {
    ("ExecutionCreated", "status"): {"$ref": "ExecutionState"},
    ("ExecutionCreated", "configuration"): {"$ref": "StoredConfiguration"},
    ("ExecutionStatus", "status"): {"$ref": "ExecutionState"},
    ("ExecutionStatus", "triggerSource"): {"$ref": "TriggerSource"},
    ("ExecutionStatus", "configuration"): {"$ref": "StoredConfiguration"},
    ("ExecutionCancelled", "status"): {"$ref": "ExecutionState"},
    ("ShardResult", "status"): {"$ref": "ShardState"},
    ("ShardSummary", "status"): {"$ref": "ShardState"},
    ("ShardStartedData", "status"): {"$ref": "ShardState"},
    ("ShardCompletedData", "status"): {"$ref": "ShardState"},
    ("ProgressData", "status"): {"$ref": "ExecutionState"},
    ("EndedData", "status"): {"$ref": "ExecutionState"},
    ("EventAccepted", "event"): {"$ref": "EventName"},
    ("EventAccepted", "executionStatus"): {"$ref": "ExecutionState"},
    ("TestPage", "tests"): {"type": "array", "items": {"$ref": "ListedTest"}},
    ("Webhook", "events"): {"type": "array", "items": {"$ref": "EventName"}},
    ("Webhook", "status"): {"$ref": "WebhookStatus"},
    ("Webhook", "format"): {"$ref": "WebhookFormat"},
    ("Webhook", "retryPolicy"): {"$ref": "RetryPolicy"},
    ("Webhook", "filters"): {"$ref": "WebhookFilters"},
    ("Delivery", "event"): {"$ref": "EventName"},
    ("Delivery", "status"): {"$ref": "DeliveryStatus"},
}
"""What this server sends in fields whose declared type is wider, so that the client accepts other servers."""
RENAMED = {"Configuration": "RequestedConfiguration"}
"""Messages with another name in the document: generated clients have a class ``Configuration`` of theirs."""
DROPPED = ("default", "title", "description")
"""Keywords that are removed: some generators require fields that have a default."""
TIMES = ("At", "Since", "Until", "timestamp")
"""Endings of the names of response fields that are times."""


def message_schemas(suites: Sequence[str], environments: Sequence[str]) -> dict[str, Schema]:
    """Return the schemas of all messages, in a form that client generators understand.

    ``suites`` and ``environments`` are those that the operator allows.
    """
    kinds: list[Any] = [wire.ErrorResponse, *(type(data) for data in examples.EVENTS.values())]
    for call in calls.ALL:
        kinds += [kind for kind in (call.takes, call.gives) if kind not in (type(None), bytes)]
    _, found = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    # msgspec appends the parameters of a generic message to its name: ResultsSubmission_TestResult_.
    text = re.sub(r"\b([A-Za-z]+)_[A-Za-z]+_\"", r'\1"', json.dumps(found))
    for name, renamed in RENAMED.items():
        text = text.replace(f'"{name}": {{', f'"{renamed}": {{').replace(f'/{name}"', f'/{renamed}"')
    found = json.loads(text)
    requests = {RENAMED.get(kind.__name__, kind.__name__) for kind in _subclasses(wire.ClientMessage)}
    for event, data in examples.EVENTS.items():
        found[payload_name(event)] = _payload_schema(event, type(data).__name__)
    found["StoredConfiguration"] = _stored_configuration(found["RequestedConfiguration"])
    found["ListedTest"] = _listed_test(found["TestResult"])
    requests.add("ListedTest")
    schemas = {
        name: _message(name, schema, is_response=name not in requests) for name, schema in found.items()
    }
    for name in ("testSuite", "environment"):
        allowed = suites if name == "testSuite" else environments
        described = schemas["ExecutionRequest"]["properties"][name]["description"]
        schemas["ExecutionRequest"]["properties"][name] = {
            "type": "string",
            "enum": list(allowed),
            "description": described,
        }
    for name, literal in ENUMERATIONS.items():
        schemas[name] = {
            "type": "string",
            "enum": list(get_args(literal)),
            "description": texts.ENUMERATIONS[name],
        }
    schemas[TEXT_OBJECT] = {**TEXTS, "description": texts.SCHEMAS[TEXT_OBJECT]}
    schemas[FREE_OBJECT] = {
        "type": "object",
        "description": texts.SCHEMAS[FREE_OBJECT],
        "additionalProperties": True,
    }
    return dict(sorted(schemas.items()))


def _payload_schema(event: str, data: str) -> Schema:
    properties: Schema = {}
    for each in msgspec.structs.fields(wire.OutboundEvent):
        if each.name != "data":
            properties[each.encode_name] = msgspec.json.schema(each.type)
    properties["event"] = {"type": "string", "const": event}
    properties["data"] = {"$ref": REFERENCE.format(name=data)}
    return {"type": "object", "properties": properties}


def _stored_configuration(requested: Schema) -> Schema:
    """Return the schema of a configuration in responses: four fields are always present."""
    properties = {
        **requested["properties"],
        "testSuite": {"type": "string"},
        "environment": {"type": "string"},
    }
    required = ["shards", "timeout", "testSuite", "environment"]
    properties.update({name: {"type": "integer"} for name in ("shards", "timeout")})
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": True}


def _listed_test(submitted: Schema) -> Schema:
    """Return the schema of a test in a list: as it was submitted, with its shard."""
    return {
        "type": "object",
        "properties": {"shardId": {"type": "string"}, **submitted["properties"]},
        "required": ["shardId", *submitted["required"]],
        "additionalProperties": True,
    }


def _message(name: str, schema: Schema, *, is_response: bool) -> Schema:
    """Return a message with descriptions, without defaults; every field of a response is required."""
    properties = {}
    for field, schema_of_field in schema.get("properties", {}).items():
        made = _refined(RESPONSE_TYPES.get((name, field), schema_of_field))
        if is_response and field.endswith(TIMES):
            made = _time(made)
        text = texts.OVERRIDES.get((name, field)) or texts.FIELDS.get(field)
        properties[field] = {**made, "description": text} if text else made
    required = schema.get("required", [])
    if is_response and name != "StoredConfiguration":
        required = [field for field in properties if (name, field) != ("ErrorBody", "hint")]
    described = texts.SCHEMAS.get(name) or texts.EVENTS.get(_event_of(name), "")
    return {
        "type": "object",
        "description": described,
        "properties": properties,
        **({"required": required} if required else {}),
        **({"additionalProperties": True} if schema.get("additionalProperties") else {}),
    }


def _refined(value: Any) -> Any:
    """Return a part of a schema without defaults, and with references for enumerations and free objects."""
    if isinstance(value, list):
        return [_refined(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _refined(each) for key, each in value.items() if key not in DROPPED}
    if "$ref" in made and "/" not in made["$ref"]:
        made["$ref"] = REFERENCE.format(name=made["$ref"])
    if kinds := made.pop("prefixItems", None):  # a tuple; generators do not know "items": false
        made["items"] = kinds[0] if all(kind == kinds[0] for kind in kinds) else {"anyOf": kinds}
    if "enum" in made:
        return _enumeration(made["enum"])
    if made == {"type": "object"}:
        return {"$ref": REFERENCE.format(name=FREE_OBJECT)}
    if made == TEXTS:
        return {"$ref": REFERENCE.format(name=TEXT_OBJECT)}
    return made


def _enumeration(values: list[Any]) -> Schema:
    strings = {str(value) for value in values if value is not None}
    name = next((name for name, kind in ENUMERATIONS.items() if set(get_args(kind)) == strings), "")
    one: Schema = (
        {"$ref": REFERENCE.format(name=name)} if name else {"type": "string", "enum": sorted(strings)}
    )
    return {"anyOf": [one, {"type": "null"}]} if None in values else one


def _time(schema: Schema) -> Schema:
    if "anyOf" in schema:
        return {"anyOf": [_time(each) for each in schema["anyOf"]]}
    return {"type": "string", "format": "date-time"} if schema.get("type") == "string" else schema


def _event_of(name: str) -> str:
    return next((event for event in texts.EVENTS if payload_name(event) == name), "")


def _subclasses(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def payload_name(event: str) -> str:
    """Return the name of an event's payload: ExecutionStartedPayload."""
    return "".join(word.title() for word in event.split(".")) + "Payload"
