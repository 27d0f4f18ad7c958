"""JUnit XML that this project exported: fields of a result that JUnit XML does not have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_tms import wire

PREFIX = "tms."
"""The beginning of the names of properties that are such fields."""
NODE_ID = f"{PREFIX}nodeId"
FIELDS = {
    "outcome": "outcome",
    "owner": "owner",
    "worker": "worker",
    "startedAt": "started_at",
}


def is_exported(root: Mapping[str, str]) -> bool:
    """Return whether this project wrote the document with this root element."""
    return root.get("name") == "pytest-tms"


def restored(result: wire.TestResult) -> wire.TestResult:
    """Return the result with the fields that its properties hold, and without these properties.

    Its error is that of the last attempt; the element of a failure is the first one.
    """
    properties = dict(result.properties or {})
    names = ("nodeId", "tags", "retries", "parameters", "quarantined", *FIELDS)
    values = {name: properties.pop(f"{PREFIX}{name}", None) for name in names}
    changes: dict[str, Any] = {FIELDS[name]: values[name] for name in FIELDS if isinstance(values[name], str)}
    if tags := values["tags"]:
        changes["tags"] = tags if isinstance(tags, list) else [tags]
    if isinstance(retries := values["retries"], str) and retries.isdecimal() and len(retries) < 16:
        changes["retries"] = int(retries)
    if isinstance(parameters := _json(values["parameters"]), dict):
        changes["parameters"] = parameters
    if result.status == "failed" and values["quarantined"] == "true":
        changes["quarantined"] = True
    if result.status == "failed" and result.attempts:
        changes["error"], changes["longrepr"] = result.attempts[-1].error, result.attempts[-1].longrepr
    return msgspec.structs.replace(result, properties=properties or None, **changes)


def _json(text: object) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
