"""The OpenAPI document, generated from the declared calls."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from importlib.metadata import metadata, version
from typing import Any, get_args

import msgspec

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.client.calls import Call
from pytest_tms.errors import (
    ApiError,
    Forbidden,
    Problem,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
    Unprocessable,
)
from pytest_tms.exports.formats import FORMATS
from pytest_tms.server.api import openapi_examples as examples
from pytest_tms.server.api import openapi_texts as texts
from pytest_tms.server.api.openapi_schemas import REFERENCE, message_schemas, payload_name
from pytest_tms.server.services.idempotency import MAX_KEY

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
"""The errors of requests that are refused before they are counted."""
OWNERS = {
    "execution_id": (calls.CREATE_EXECUTION, "executionId", "exec", examples.EXECUTION),
    "webhook_id": (calls.CREATE_WEBHOOK, "webhookId", "wh", examples.WEBHOOK),
}
"""The parameters of paths: the call that returns one, its field in the response, its prefix, an example."""
HASH = {
    "name": "sha256",
    "in": "path",
    "required": True,
    "description": texts.FIELDS["sha256"],
    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "example": examples.HASH,
}
TEST_KEY = {
    "name": "test_key",
    "in": "path",
    "required": True,
    "description": texts.FIELDS["key"],
    "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"},
    "example": "17",
}
ENTRY_ID = {
    "name": "entry_id",
    "in": "path",
    "required": True,
    "description": "The id of the entry.",
    "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"},
    "example": "5",
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "For 24 hours, repeating the request has no further effect and returns the same response.",
    "schema": {"type": "string", "maxLength": MAX_KEY},
}
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
            "contact": {"name": "The pytest-tms developers", "url": _project_url("Issues")},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/api", "description": "This server."}],
        "tags": [{"name": name, "description": text} for name, text in texts.TAGS.items()],
        "security": [{"token": []}],
        "paths": paths,
        "webhooks": {event: _webhook(event) for event in get_args(wire.EventName)},
        "components": {
            "schemas": message_schemas(suites, environments),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token, or for events the token of their execution.",
                }
            },
        },
    }


def _project_url(name: str) -> str:
    """Return a URL of the project by its name in pyproject.toml."""
    lines: list[str] = metadata("pytest-tms").get_all("Project-URL") or []
    return dict(line.split(", ", 1) for line in lines)[name]


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
        if name in OWNERS
    ]
    if "sha256" in _names(call):
        parameters.append(HASH)
    if "test_key" in _names(call):
        parameters.append(TEST_KEY)
    if "entry_id" in _names(call):
        parameters.append(ENTRY_ID)
    if call.method == "POST" and call.takes is not type(None):
        parameters.append(IDEMPOTENCY_KEY)
    parameters += [
        {
            "name": each.name,
            "in": "query",
            "description": each.description,
            "schema": each.schema,
            **({"required": True} if each.is_required else {}),
        }
        for each in call.query
    ]
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "description": texts.CALLS[call.name],
        "tags": [_tag(call)],
        "parameters": parameters,
        "responses": {
            **{
                str(status): {
                    "description": description,
                    "content": _content(call),
                    "headers": _headers(call, None),
                    **({"links": links} if (links := _links(call)) else {}),
                }
                for status, description in _successes(call)
            },
            **{
                str(error.status): {
                    "description": (error.__doc__ or "").partition("\n")[0],
                    "content": _json(wire.ErrorResponse, _error(error)),
                    "headers": _headers(call, error),
                }
                for error in sorted(call.errors, key=lambda error: error.status)
            },
        },
        "security": [{"token": []}] if call.scope else [{}, {"token": []}],
    }
    if call.takes is bytes:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    elif call.takes is not type(None):
        operation["requestBody"] = {
            "required": True,
            "content": _json(call.takes, examples.REQUESTS[call.name]),
        }
    return operation


def _successes(call: Call[Any, Any]) -> list[tuple[int, str]]:
    """Return the success statuses of a call, each with its description."""
    return [*([(200, call.found)] if call.found else []), (call.status, HTTPStatus(call.status).phrase)]


def _webhook(event: str) -> dict[str, Any]:
    payload = wire.OutboundEvent(
        event=event,
        timestamp=examples.NOW,
        execution_id=examples.EXECUTION,
        sequence=1,
        data=examples.EVENTS[event],
    )
    name = payload_name(event)
    return {
        "post": {
            "operationId": f"receive_{event.replace('.', '_')}",
            "summary": texts.EVENTS[event],
            "description": f"{texts.EVENTS[event]} {texts.DELIVERED}",
            "tags": ["Deliveries"],  # of their own: generators make one file of each tag
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


def _error(error: type[ApiError]) -> wire.ErrorResponse:
    """Return an example of an error."""
    details = []
    if issubclass(error, Unprocessable):
        details = [Problem("testSuite", "Must be one of: smoke, regression, api, ui, all")]
    return wire.ErrorResponse(
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
    return first.capitalize() if first.capitalize() in texts.TAGS else "Service"


def _headers(call: Call[Any, Any], error: type[ApiError] | None) -> dict[str, Any]:
    """Return the headers of a response; a server without rate limits does not send theirs."""
    return {
        **(LIMIT_HEADERS if call.limit and error not in UNCOUNTED else {}),
        **(RETRY_AFTER if error in (RateLimited, ServiceUnavailable) else {}),
    }


def _links(creator: Call[Any, Any]) -> dict[str, Any]:
    """Return links from the response of ``creator`` to the calls that take its id.

    Links to calls whose body has the id have no ``requestBody``: an object is allowed there, but OpenAPI
    Generator refuses the whole document because of it.
    """
    links: dict[str, dict[str, Any]] = {}
    for name, (owner, field, *_) in OWNERS.items():
        for call in calls.ALL if owner == creator else ():
            if name in _names(call):
                parameters = {name: f"$response.body#/{field}"}
                links[call.name] = {"operationId": call.name, "parameters": parameters}
            elif field == "executionId" and call == calls.SUBMIT_RESULTS:
                links[call.name] = {"operationId": call.name, "description": texts.LINKED_BODY}
    return links


def _names(call: Call[Any, Any]) -> list[str]:
    """Return the parameters of a call's path."""
    return re.findall(r"{(\w+)}", call.path)


def _content(call: Call[Any, Any]) -> dict[str, Any]:
    """Return the content of a call's success: a message, or a file in one of several types."""
    if call == calls.EXPORT_CASES:
        return {"text/csv": {"schema": {"type": "string"}}}
    if call == calls.READ_ARTIFACT:
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if call.gives is not bytes:
        return _json(call.gives, examples.ANSWERS[call.name])
    types = sorted({each.content_type.partition(";")[0] for each in FORMATS.values()} - {"application/json"})
    execution = json.loads(msgspec.json.encode(examples.ANSWERS[calls.GET_EXECUTION.name]))
    return {
        "application/json": {
            "schema": {"$ref": REFERENCE.format(name="JsonObject")},
            "example": {"execution": execution, "tests": []},
        },
        **{name: {"schema": {"type": "string"}} for name in types},
    }


def _json(kind: Any, example: msgspec.Struct) -> dict[str, Any]:
    name = getattr(kind, "__origin__", kind).__name__
    return {
        "application/json": {
            "schema": {"$ref": REFERENCE.format(name=name)},
            "example": json.loads(msgspec.json.encode(example)),
        }
    }
