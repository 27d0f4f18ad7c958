"""The OpenAPI document, made from the declared calls."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from pytest_tms import calls, wire
from pytest_tms.calls import Call
from pytest_tms.errors import ApiError, Forbidden, RateLimited, ServiceUnavailable, Unauthorized
from pytest_tms.server.api.once import LONGEST_KEY

RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before trying again", "schema": {"type": "integer"}}
}
LIMIT_HEADERS = {
    f"X-RateLimit-{name}": {"description": description, "schema": {"type": "integer"}}
    for name, description in (
        ("Limit", "Requests that one window allows"),
        ("Remaining", "Requests that are left in this one"),
        ("Reset", "When the next one begins, in seconds since 1970"),
        ("Window", "Seconds of a window"),
    )
}
UNCOUNTED = (Unauthorized, Forbidden)
"""The errors of who is not let in, and so is not counted either."""
QUERY: dict[str, list[dict[str, Any]]] = {
    "list_tests": [
        {"name": "cursor", "in": "query", "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}},
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 100},
        },
        {"name": "status", "in": "query", "schema": {"enum": ["passed", "failed", "skipped"]}},
    ],
    "list_deliveries": [
        {"name": "cursor", "in": "query", "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}},
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 100},
        },
        {"name": "status", "in": "query", "schema": {"enum": ["pending", "delivered", "failed"]}},
    ],
}
"""The query parameters of the calls that have any."""

OWNERS = {
    "execution_id": (calls.CREATE_EXECUTION, "executionId", "exec"),
    "webhook_id": (calls.CREATE_WEBHOOK, "webhookId", "wh"),
}
"""The parameters of paths: the call whose answer gives one, the field that has it, and its prefix."""
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and body have one effect and one answer for 24 hours",
    "schema": {"type": "string", "maxLength": LONGEST_KEY},
}


@cache
def document(suites: Sequence[str], environments: Sequence[str]) -> dict[str, Any]:
    """OpenAPI 3.1: every call with its body, its answer and every documented status.

    ``suites`` and ``environments`` are those that the operator allows.
    """
    kinds: list[Any] = [wire.ErrorAnswer]
    for call in calls.ALL:
        kinds += [kind for kind in (call.takes, call.gives) if kind is not type(None)]
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    asked = components["ExecutionRequest"]["properties"]
    asked["testSuite"] = {"enum": list(suites)}
    asked["environment"] = {"enum": list(environments)}
    paths: dict[str, Any] = {}
    for call in calls.ALL:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Test Management System", "version": version("pytest-tms")},
        "servers": [{"url": "/api"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    # msgspec names a generic struct after its parameters, too: ResultsSubmission_TestResult_.
    readable: dict[str, Any] = json.loads(re.sub(r"\b([A-Za-z]+)_[A-Za-z]+_\"", r'\1"', json.dumps(whole)))
    return readable


def _operation(call: Call[Any, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{OWNERS[name][2]}_[0-9a-z]{{26}}$"},
        }
        for name in _names(call)
    ]
    if call.method == "POST" and call.takes is not type(None):
        parameters.append(IDEMPOTENCY_KEY)
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "parameters": [*parameters, *QUERY.get(call.name, [])],
        "responses": {
            str(call.status): {
                "description": HTTPStatus(call.status).phrase,
                "content": _json(call.gives),
                "headers": _headers(call, None),
                **({"links": links} if (links := _links(call)) else {}),
            },
            **{
                str(error.status): {
                    "description": (error.__doc__ or "").partition("\n")[0],
                    "content": _json(wire.ErrorAnswer),
                    "headers": _headers(call, error),
                }
                for error in call.errors
            },
        },
        "security": [{"token": []}] if call.scope else [],
    }
    if call.takes is not type(None):
        operation["requestBody"] = {"required": True, "content": _json(call.takes)}
    return operation


def _headers(call: Call[Any, Any], error: type[ApiError] | None) -> dict[str, Any]:
    """The headers of an answer; a server whose limits are off sends none of the four."""
    return {
        **(LIMIT_HEADERS if call.limit and error not in UNCOUNTED else {}),
        **(RETRY_AFTER if error in (RateLimited, ServiceUnavailable) else {}),
    }


def _links(creator: Call[Any, Any]) -> dict[str, Any]:
    """The calls that what ``creator`` answers leads to."""
    links: dict[str, dict[str, Any]] = {}
    for name, (owner, field, _) in OWNERS.items():
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
    """The parameters of a call's path."""
    return re.findall(r"{(\w+)}", call.path)


def _json(kind: Any) -> dict[str, Any]:
    (reference,), _ = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    return {"application/json": {"schema": reference}}
