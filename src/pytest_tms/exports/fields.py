"""Reads fields of a test, which may have any JSON value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_tms.text import clean

CHUNK_BYTES = 1 << 16
"""Bytes that are collected before they are yielded."""


def text(test: Mapping[str, Any], name: str) -> str:
    """Return a field as text; empty if it is missing."""
    value = test.get(name)
    return "" if value is None else as_text(value)


def as_text(value: object) -> str:
    """Return a JSON value as text: a string as it is, another value as JSON."""
    return clean(value) if isinstance(value, str) else clean(json.dumps(value, ensure_ascii=False))


def number(test: Mapping[str, Any], name: str) -> int | None:
    """Return a field as a whole number; None if it is not a number."""
    value = test.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return round(value)
    except (OverflowError, ValueError):  # infinite, or not a number
        return None


def objects(test: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of an array; an empty list if the field is not an array."""
    value = test.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def texts(test: Mapping[str, Any], name: str) -> list[str]:
    """Return the texts of an array; an empty list if the field is not an array."""
    value = test.get(name)
    return [clean(each) for each in value if isinstance(each, str)] if isinstance(value, list) else []


def mapping(test: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object; an empty one if the field is not an object."""
    value = test.get(name)
    return value if isinstance(value, dict) else {}


def status_of(test: Mapping[str, Any]) -> str:
    """Return passed, failed or skipped; a test without one of these has failed."""
    status = test.get("status")
    return status if status in ("passed", "failed", "skipped") else "failed"


def title_of(test: Mapping[str, Any]) -> str:
    """Return the title on one line."""
    return " ".join((text(test, "title") or text(test, "nodeId") or "(a test without a title)").split())


def is_quarantined(test: Mapping[str, Any]) -> bool:
    """Return whether the test failed in quarantine, so that it did not fail its run."""
    return test.get("quarantined") is True and status_of(test) == "failed"


def retries_of(test: Mapping[str, Any]) -> int:
    """Return how often the test was repeated."""
    return max(0, number(test, "retries") or 0)


def in_chunks(parts: Iterator[str]) -> Iterator[bytes]:
    """Encode parts as UTF-8 and yield them in chunks of about ``CHUNK_BYTES``."""
    kept: list[str] = []
    length = 0
    for part in parts:
        kept.append(part)
        length += len(part)
        if length >= CHUNK_BYTES:
            yield "".join(kept).encode("utf-8", "backslashreplace")
            kept, length = [], 0
    if kept:
        yield "".join(kept).encode("utf-8", "backslashreplace")
