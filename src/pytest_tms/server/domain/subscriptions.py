"""Validation of webhooks: problems of their fields, each with a remedy."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pytest_tms import wire
from pytest_tms.errors import Problem
from pytest_tms.signing import PREFIX

MASK = "***"
"""Replaces a secret that is not shown."""
MIN_SECRET = 16
"""Bytes of the shortest plain secret."""
MIN_DISTINCT = 6
"""The least number of different characters of a plain secret."""
KEY_BYTES = range(24, 65)
"""Bytes of a secret in the form of Standard Webhooks."""
MAX_HEADERS = 20
MAX_HEADER_BYTES = 8_000
"""Bytes of all headers, names and values together."""
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?", re.ASCII)
RESERVED_HEADERS = re.compile(
    r"(content-|webhook-|proxy-|transfer-encoding$|host$|connection$|keep-alive$|te$|trailer$|upgrade$|expect$"
    r"|user-agent$|date$)"
)
"""Headers, in lower case, that the server sets, or that belong to the connection."""

_IN_FILTERS = 'put it into filters, such as {"testSuites": ["smoke"], "environments": ["staging"]}'
_IN_HEADERS = 'send it by headers, such as {"Authorization": "Bearer …"}'
_IN_RETRY = "put it into retryPolicy: maxRetries, retryDelay, exponentialBackoff"
_PAUSE = 'a webhook is active at first; PATCH it with {"status": "paused"} to pause it'
_REMEDIES = {
    **dict.fromkeys(("active", "enabled", "disabled", "paused", "isactive"), _PAUSE),
    **dict.fromkeys(("method", "httpmethod", "verb"), "deliveries are always POST"),
    **dict.fromkeys(
        ("contenttype", "payload", "template", "payloadtemplate", "body", "preset", "type"),
        "deliveries are JSON; format chooses json, slack, teams or discord for a new webhook",
    ),
    **dict.fromkeys(
        (
            *("auth", "authentication", "authorization", "basicauth", "bearertoken", "accesstoken", "token"),
            *(
                "apikey",
                "username",
                "user",
                "password",
                "credentials",
                "header",
                "customheaders",
                "httpheaders",
            ),
        ),
        _IN_HEADERS,
    ),
    "format": "a webhook keeps its format: delete it and create another one",
    **dict.fromkeys(("timeout", "timeoutms", "timeoutseconds"), "deliveries wait 15 s for a response"),
    **dict.fromkeys(
        (
            "insecuressl",
            "insecure",
            "verifyssl",
            "sslverify",
            "sslverification",
            "enablesslverification",
            "verify",
        ),
        "certificates are always verified; SSL_CERT_FILE names private authorities to the server",
    ),
    **dict.fromkeys(
        ("retry", "retries", "maxretries", "retrydelay", "exponentialbackoff", "backoff"), _IN_RETRY
    ),
    **dict.fromkeys(
        (
            "filter",
            "testsuite",
            "testsuites",
            "suite",
            "suites",
            "environment",
            "environments",
            "branch",
            "branches",
        ),
        _IN_FILTERS,
    ),
    **dict.fromkeys(("event", "eventtypes", "topics", "triggers"), "put it into events"),
    **dict.fromkeys(("ratelimit", "rate"), "TMS_SERVER_WEBHOOK_RATE sets it for the whole server"),
    **dict.fromkeys(("secrets", "signingsecret", "hmacsecret"), "put it into secret"),
}
_NESTED = {
    "filters": ("testSuites", "environments"),
    "retryPolicy": ("maxRetries", "retryDelay", "exponentialBackoff"),
}


def unused_fields(document: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[Problem]:
    """Yield the problems of fields that look like settings of a webhook but would never be used.

    Other unknown fields are stored and returned.
    """
    for name in document:
        if name in known:
            continue
        plain = re.sub(r"[^a-z]", "", name.lower())
        remedy = _REMEDIES.get(plain)
        if plain == "status":
            remedy = _PAUSE
        elif plain == "secret":
            remedy = "POST /webhooks/{webhookId}/rotate changes the secret"
        spelled = next((each for each in known if each.lower() == plain), None)
        if spelled is not None and name != spelled:
            remedy = f"write {spelled}"
        if remedy is not None:
            yield Problem(name, f"Would not be used: {remedy}")
    for field, names in _NESTED.items():
        value = document.get(field)
        for name in value if isinstance(value, dict) else ():
            if name not in names:
                yield Problem(f"{field}.{name}", f"Would not be used: {field} has only {', '.join(names)}")


def unknown_filters(
    document: Mapping[str, Any], suites: tuple[str, ...], environments: tuple[str, ...]
) -> Iterator[Problem]:
    """Yield the problems of filters that no execution can match."""
    filters = document.get("filters")
    if not isinstance(filters, dict):
        return
    for name, allowed, setting in (
        ("testSuites", suites, "TMS_SERVER_SUITES"),
        ("environments", environments, "TMS_SERVER_ENVIRONMENTS"),
    ):
        values = filters.get(name)
        for number, value in enumerate(values if isinstance(values, list) else ()):
            if isinstance(value, str) and value and value not in allowed:
                yield Problem(
                    f"filters.{name}[{number}]",
                    f"Must be one of: {', '.join(allowed)}. The server's {setting} lists them",
                )


def event_problems(format_name: object, events: object) -> Iterator[Problem]:
    """Yield the problems of events for which the format of a webhook has no message."""
    if format_name not in get_args(wire.WebhookFormat) or format_name == "json":
        return
    for number, event in enumerate(events if isinstance(events, list) else ()):
        if event in get_args(wire.EventName) and event not in wire.ENDED_EVENTS:
            yield Problem(
                f"events[{number}]",
                f"Has no message in the format {format_name}: use {', '.join(wire.ENDED_EVENTS)}",
            )


def secret_problem(secret: str) -> str | None:
    """Return the problem of a secret, None if there is none. It does not contain the secret."""
    leave_out = "or leave it out, and the server creates one"
    if secret != secret.strip():
        return "Must not begin or end with white space: remove it"
    if not secret.isprintable():
        return f"Must not contain control characters: use letters, digits and punctuation, {leave_out}"
    if secret.startswith(PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            return (
                f"Must be base64 with its padding after {PREFIX}: use `openssl rand -base64 32`, {leave_out}"
            )
        if len(key) not in KEY_BYTES:
            return (
                f"Must be {KEY_BYTES[0]} to {KEY_BYTES[-1]} bytes as base64 after {PREFIX}, not {len(key)}: "
                f"use `openssl rand -base64 32`, {leave_out}"
            )
        return None
    if len(secret.encode()) < MIN_SECRET or len(set(secret)) < MIN_DISTINCT:
        return (
            f"Is too weak: use {MIN_SECRET} characters or more, {MIN_DISTINCT} of them different, {leave_out}"
        )
    return None


def header_problems(headers: object, known: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the problems of custom headers, without their values; ``known`` are those of the webhook."""
    if not isinstance(headers, dict):
        return
    if len(headers) > MAX_HEADERS:
        yield Problem("headers", f"Must be at most {MAX_HEADERS} headers")
    size = sum(len(name) + len(value) for name, value in headers.items() if isinstance(value, str))
    if size > MAX_HEADER_BYTES:
        yield Problem("headers", f"Must be at most {MAX_HEADER_BYTES:,} bytes together")
    seen: set[str] = set()
    for name, value in headers.items():
        path = f"headers.{name[:100]}"
        lower = name.lower()
        if not HEADER_NAME.fullmatch(name):
            yield Problem(path, "Must be a header's name: letters, digits and dashes, at most 100")
        elif RESERVED_HEADERS.match(lower):
            yield Problem(path, "Is set by the server, or belongs to the connection: choose another name")
        elif lower in seen:
            yield Problem(path, "Is given twice: names of headers are the same in any case")
        elif value == MASK and name not in known:
            yield Problem(path, f"Must be the value itself: {MASK} stands for one that is not shown")
        elif isinstance(value, str) and not HEADER_VALUE.fullmatch(value):
            yield Problem(
                path, "Must be printable ASCII that does not begin or end with a space, and not be empty"
            )
        seen.add(lower)
