"""The OpenAPI document, made from the declared calls."""

from __future__ import annotations

import json
import re
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from pytest_tms import calls, wire
from pytest_tms.calls import Call
from pytest_tms.errors import ApiError, Forbidden, RateLimited, ServiceUnavailable, Unauthorized

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


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1: every call with its body, its answer and every documented status."""
    kinds: list[Any] = [wire.ErrorAnswer]
    for call in calls.ALL:
        kinds += [kind for kind in (call.takes, call.gives) if kind is not type(None)]
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
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
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", call.path)
    ]
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "parameters": [*parameters, *QUERY.get(call.name, [])],
        "responses": {
            str(call.status): {
                "description": HTTPStatus(call.status).phrase,
                "content": _json(call.gives),
                "headers": _headers(call, None),
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


def _json(kind: Any) -> dict[str, Any]:
    (reference,), _ = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    return {"application/json": {"schema": reference}}
