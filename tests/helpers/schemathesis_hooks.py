"""Rules that Schemathesis cannot read in the OpenAPI document; the command `st` loads this module."""

from __future__ import annotations

import json
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st

RULES = re.compile(
    r"executionId: Must be \S+, as in the URL"
    r"|data\.shardId: Is required"
    r"|(data\.)?results\.total: Must be passed \+ failed \+ skipped, which is \d+"
    r"|(data\.)?results\.flaky: Must be at most passed, which it is a part of"
    r"|secret: .*"
    r"|headers(\.[\s\S]*)?: .*"
    r"|[\s\S]*: Would not be used: .*"
    r"|url: .*"
    r"|events\[\d+\]: Has no message in the format \w+: .*"
    r"|filters\.(testSuites|environments)(\[\d+\])?: .*"
    r"|(data\.)?(metadata|configuration): (With what is stored: )?Must be at most 64 KB as JSON, .*"
    r"|events\[\d+\]: Has no message in the format \w+: .*"
    r"|cases\[\d+\]\.id: (Must not be blank|The plan has .* twice)"
    r"|tests: Is required in the first request of a runner"
    r"|sha256: The body has the SHA-256 \w+: send the file again"
    r"|Idempotency-Key: Must be a new one: this one was used with another body"
)
"""Rules between fields, and about earlier requests, which a schema cannot express."""

# An address of this machine that refuses at once, so that no case waits for a name to be looked up.
schemathesis.openapi.format(
    "uri", st.from_regex(r"https://127\.0\.0\.1:[1-9](/[a-z0-9/=&%+.-]{0,20})?", fullmatch=True)
)


def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Return whether to report a failure."""
    kind = type(failure).__name__
    if kind == "RejectedPositiveData" and response.status_code == 422:
        problems = json.loads(response.content)["error"]["details"]
        return not all(RULES.fullmatch(f"{each['field']}: {each['message']}") for each in problems)
    # A key that was used before is answered with the webhook of then, which may be deleted since.
    if kind == "EnsureResourceAvailability" and failure.created_with == "POST /webhooks":
        return False
    # By the contract DELETE cancels an execution, which stays to be read.
    return not (kind == "UseAfterFree" and case.path.startswith("/executions"))


def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Add the bodies of links, which the document describes in words only: see ``_links`` in the server's openapi.py."""
    for response in raw_schema["paths"]["/executions"]["post"]["responses"].values():
        for name in {"send_event", "submit_results"} & set(response.get("links", {})):
            response["links"][name]["requestBody"] = {"executionId": "$response.body#/executionId"}


schemathesis.hook(filter_failure)
schemathesis.hook(before_load_schema)
