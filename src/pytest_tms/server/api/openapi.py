"""The OpenAPI document, made from the declared calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, get_args

import msgspec

from pytest_tms import calls, wire
from pytest_tms.calls import Call
from pytest_tms.errors import (
    ApiError,
    Forbidden,
    Problem,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
    Unprocessable,
)
from pytest_tms.server.api import openapi_examples as examples
from pytest_tms.server.api import openapi_texts as texts
from pytest_tms.server.api.idempotency import LONGEST_KEY

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}
}
LIMIT_HEADERS = {
    **{
        f"X-RateLimit-{name}": {"description": description, "schema": {"type": "integer"}}
        for name, description in (
            ("Limit", "Requests that one window allows."),
            ("Remaining", "Requests that are left in this window."),
            ("Reset", "When the next window begins, in seconds since 1970."),
            ("Window", "Seconds of a window."),
        )
    },
    "RateLimit-Policy": {
        "description": "The limit by its name: `q` requests in `w` seconds.",
        "schema": {"type": "string"},
        "example": '"executions";q=100;w=3600',
    },
    "RateLimit": {
        "description": "What is left of the limit: `r` requests for the next `t` seconds.",
        "schema": {"type": "string"},
        "example": '"executions";r=95;t=1800',
    },
}
UNCOUNTED = (Unauthorized, Forbidden)
"""The errors of requests that are not let in, and so are not counted."""
OWNERS = {
    "execution_id": (calls.CREATE_EXECUTION, "executionId", "exec", examples.EXECUTION),
    "webhook_id": (calls.CREATE_WEBHOOK, "webhookId", "wh", examples.WEBHOOK),
}
"""The parameters of paths: the call that returns one, its field there, its prefix and an example."""
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and body have one effect and one answer for 24 hours.",
    "schema": {"type": "string", "maxLength": LONGEST_KEY},
}
FREE_OBJECT = "JsonObject"
"""The name of objects whose fields are those that were sent."""
TEXT_OBJECT = "StringMap"
"""The name of objects with any fields whose values are texts."""
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
ENUMERATIONS = {
    "TriggerSource": wire.TriggerSource,
    "ExecutionState": wire.ExecutionState,
    "ShardState": wire.ShardState,
    "SubmittedStatus": wire.SubmittedStatus,
    "TestStatus": wire.TestStatus,
    "EventName": wire.EventName,
    "WebhookStatus": wire.WebhookStatus,
    "DeliveryStatus": wire.DeliveryStatus,
}
"""The named enumerations; a Literal with the same values is a reference to its name."""
ANSWERED: dict[tuple[str, str], Schema] = {
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
    ("TestPage", "tests"): {"type": "array", "items": {"$ref": "TestResult"}},
    ("Webhook", "events"): {"type": "array", "items": {"$ref": "EventName"}},
    ("Webhook", "status"): {"$ref": "WebhookStatus"},
    ("Webhook", "retryPolicy"): {"$ref": "RetryPolicy"},
    ("Webhook", "filters"): {"$ref": "WebhookFilters"},
    ("Delivery", "event"): {"$ref": "EventName"},
    ("Delivery", "status"): {"$ref": "DeliveryStatus"},
}
"""What is sent in fields of answers whose type is open, so that our client reads any documented server."""
DROPPED = ("default", "title", "description")
"""Keywords that are left out: a default makes a field of a request required for some generators."""
TIMES = ("At", "Since", "Until", "timestamp")
"""Endings of the fields of answers that are times."""
WEBHOOK_HEADERS = {
    "webhook-id": ("The id of the delivery, the same at each attempt.", "msg_01k3v9t7j5q1a8x3z6f9b4g2k0"),
    "webhook-timestamp": ("When it was sent, in seconds since 1970.", "1772442904"),
    "webhook-signature": (
        "`v1,` and the base64 of HMAC-SHA256 over id, timestamp and body, joined by dots; after a rotation "
        "one for each of two secrets, divided by a space. See Standard Webhooks.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
}


@cache
def document(suites: Sequence[str], environments: Sequence[str]) -> dict[str, Any]:
    """Return the document, OpenAPI 3.1: every call and every outbound event with its messages.

    ``suites`` and ``environments`` are those that the operator allows.
    """
    paths: dict[str, Any] = {}
    for call in calls.ALL:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Test Management System",
            "version": version("pytest-tms"),
            "description": texts.SERVICE,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/api", "description": "This server."}],
        "tags": [{"name": name, "description": text} for name, text in texts.TAGS.items()],
        "security": [{"token": []}],
        "paths": paths,
        "webhooks": {event: _webhook(event) for event in get_args(wire.EventName)},
        "components": {
            "schemas": _schemas(suites, environments),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token, or for events the token of their execution.",
                }
            },
        },
    }


def _operation(call: Call[Any, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": texts.FIELDS[OWNERS[name][1]],
            "schema": {"type": "string", "pattern": f"^{OWNERS[name][2]}_[0-9a-z]{{26}}$"},
            "example": OWNERS[name][3],
        }
        for name in _names(call)
    ]
    if call.method == "POST" and call.takes is not type(None):
        parameters.append(IDEMPOTENCY_KEY)
    parameters += [
        {"name": each.name, "in": "query", "description": each.description, "schema": each.schema}
        for each in call.query
    ]
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "description": texts.CALLS[call.name],
        "tags": [_tag(call)],
        "parameters": parameters,
        "responses": {
            str(call.status): {
                "description": HTTPStatus(call.status).phrase,
                "content": _json(call.gives, examples.ANSWERS[call.name]),
                "headers": _headers(call, None),
                **({"links": links} if (links := _links(call)) else {}),
            },
            **{
                str(error.status): {
                    "description": (error.__doc__ or "").partition("\n")[0],
                    "content": _json(wire.ErrorAnswer, _error(error)),
                    "headers": _headers(call, error),
                }
                for error in sorted(call.errors, key=lambda error: error.status)
            },
        },
        "security": [{"token": []}] if call.scope else [{}, {"token": []}],
    }
    if call.takes is not type(None):
        operation["requestBody"] = {
            "required": True,
            "content": _json(call.takes, examples.REQUESTS[call.name]),
        }
    return operation


def _webhook(event: str) -> dict[str, Any]:
    payload = wire.OutboundEvent(
        event=event,
        timestamp=examples.NOW,
        execution_id=examples.EXECUTION,
        sequence=1,
        data=examples.EVENTS[event],
    )
    name = _payload(event)
    return {
        "post": {
            "operationId": f"receive_{event.replace('.', '_')}",
            "summary": texts.EVENTS[event],
            "description": f"{texts.EVENTS[event]} {texts.DELIVERED}",
            "tags": ["Webhooks"],
            "parameters": [
                {
                    "name": header,
                    "in": "header",
                    "required": True,
                    "description": text,
                    "schema": {"type": "string"},
                    "example": example,
                }
                for header, (text, example) in WEBHOOK_HEADERS.items()
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"$ref": REFERENCE.format(name=name)},
                        "example": json.loads(msgspec.json.encode(payload)),
                    }
                },
            },
            "responses": {
                "200": {"description": "Delivered, as any other status from 200 to 299."},
                "410": {"description": "Gone: the webhook is disabled."},
                "503": {"description": texts.NOT_DELIVERED},
            },
            "security": [{}],
        }
    }


def _payload(event: str) -> str:
    """Return the name of an event's payload: ExecutionStartedPayload."""
    return "".join(word.title() for word in event.split(".")) + "Payload"


def _schemas(suites: Sequence[str], environments: Sequence[str]) -> dict[str, Schema]:
    """Return every message as generators of clients need it."""
    kinds: list[Any] = [wire.ErrorAnswer, *(type(data) for data in examples.EVENTS.values())]
    for call in calls.ALL:
        kinds += [kind for kind in (call.takes, call.gives) if kind is not type(None)]
    _, found = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    # msgspec names a generic message after its parameters, too: ResultsSubmission_TestResult_.
    found = json.loads(re.sub(r"\b([A-Za-z]+)_[A-Za-z]+_\"", r'\1"', json.dumps(found)))
    requests = {kind.__name__ for kind in _subclasses(wire.Request)}
    for event, data in examples.EVENTS.items():
        found[_payload(event)] = _payload_schema(event, type(data).__name__)
    found["StoredConfiguration"] = _stored_configuration(found["Configuration"])
    schemas = {name: _message(name, schema, is_answer=name not in requests) for name, schema in found.items()}
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


def _stored_configuration(asked: Schema) -> Schema:
    """Return the schema of a configuration in answers: four fields always, and others as they were sent."""
    properties = {**asked["properties"], "testSuite": {"type": "string"}, "environment": {"type": "string"}}
    required = ["shards", "timeout", "testSuite", "environment"]
    properties.update({name: {"type": "integer"} for name in ("shards", "timeout")})
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": True}


def _message(name: str, schema: Schema, *, is_answer: bool) -> Schema:
    """Return a message with descriptions, without defaults; every field of an answer is required."""
    properties = {}
    for field, given in schema.get("properties", {}).items():
        made = _refined(ANSWERED.get((name, field), given))
        if is_answer and field.endswith(TIMES):
            made = _time(made)
        text = texts.OVERRIDES.get((name, field)) or texts.FIELDS.get(field)
        properties[field] = {**made, "description": text} if text else made
    required = schema.get("required", [])
    if is_answer and name != "StoredConfiguration":
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
    made = {
        key: _refined(each) for key, each in value.items() if key not in ("default", "title", "description")
    }
    if "$ref" in made and "/" not in made["$ref"]:
        made["$ref"] = REFERENCE.format(name=made["$ref"])
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
    return next((event for event in texts.EVENTS if _payload(event) == name), "")


def _subclasses(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def _error(error: type[ApiError]) -> wire.ErrorAnswer:
    """Return an example of an error."""
    details = []
    if issubclass(error, Unprocessable):
        details = [Problem("testSuite", "Must be one of: smoke, regression, api, ui, all")]
    return wire.ErrorAnswer(
        error=wire.ErrorBody(
            code=error.code,
            message=error().message,
            details=details,
            request_id="req_01k3v9w9m7s3c0z5b8h1d6j4n2",
            timestamp=examples.NOW,
        )
    )


def _tag(call: Call[Any, Any]) -> str:
    if call == calls.SEND_EVENT:
        return "Events"
    if call == calls.SUBMIT_RESULTS:
        return "Results"
    first = call.path.strip("/").partition("/")[0]
    return {"executions": "Executions", "webhooks": "Webhooks"}.get(first, "Service")


def _headers(call: Call[Any, Any], error: type[ApiError] | None) -> dict[str, Any]:
    """Return the headers of an answer; a server whose limits are off sends none of them."""
    return {
        **(LIMIT_HEADERS if call.limit and error not in UNCOUNTED else {}),
        **(RETRY_AFTER if error in (RateLimited, ServiceUnavailable) else {}),
    }


def _links(creator: Call[Any, Any]) -> dict[str, Any]:
    """Return the calls to which the answer of ``creator`` leads."""
    links: dict[str, dict[str, Any]] = {}
    for name, (owner, field, *_) in OWNERS.items():
        for call in calls.ALL if owner == creator else ():
            link: dict[str, Any] = {}
            if name in _names(call):
                link["parameters"] = {name: f"$response.body#/{field}"}
            if field == "executionId" and call in (calls.SEND_EVENT, calls.SUBMIT_RESULTS):
                link["requestBody"] = {field: f"$response.body#/{field}"}
            if link:
                links[call.name] = {"operationId": call.name, **link}
    return links


def _names(call: Call[Any, Any]) -> list[str]:
    """Return the parameters of a call's path."""
    return re.findall(r"{(\w+)}", call.path)


def _json(kind: Any, example: msgspec.Struct) -> dict[str, Any]:
    name = getattr(kind, "__origin__", kind).__name__
    return {
        "application/json": {
            "schema": {"$ref": REFERENCE.format(name=name)},
            "example": json.loads(msgspec.json.encode(example)),
        }
    }
