"""Converts values of JSON reports, which may have any type, to fields of a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_tms import wire
from pytest_tms.cli.formats.bounded_text import clip
from pytest_tms.cli.formats.failure_text import error_of, longrepr_of
from pytest_tms.plugin.results.json_values import json_value
from pytest_tms.text import clean, without_escapes

MAX_TITLE = 10_000
"""Characters of a title."""
MAX_ITEMS = 1000
"""Tags, parameters, steps and properties of one test that are kept."""
MAX_ATTEMPTS = 100
"""Attempts of one test that are kept, the newest."""
MAX_DURATION = 10**12
"""About thirty years in milliseconds; a longer value is not a duration."""
FIRST_MILLISECOND = 10**11
"""Times after 1970 below it are seconds: it is the year 5138 in seconds, and 1973 in milliseconds."""
MAX_TIME = 253_402_300_799_000
"""The end of the year 9999 in milliseconds."""


def text_field(value: object) -> str | None:
    """Return a text, without escape sequences of a terminal; None if it is empty or not a scalar."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(json_value(value))
    return clip(without_escapes(value)) if isinstance(value, str) and value.strip() else None


def title_field(value: object) -> str:
    """Return a title on one line; empty if there is none."""
    return clean(" ".join((text_field(value) or "").split()), limit=MAX_TITLE)


def items(value: object) -> list[Any]:
    """Return the first elements of an array; a value that is not an array is its only element."""
    return every(value)[:MAX_ITEMS]


def every(value: object) -> list[Any]:
    """Return all elements of an array; see ``items``."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects of an array."""
    return [each for each in items(value) if isinstance(each, dict)]


def mapping(value: object) -> dict[str, Any]:
    """Return an object; an empty one if the value is not an object."""
    return value if isinstance(value, dict) else {}


def property_values(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an object as properties, of bounded size."""
    present = {name: each for name, each in value.items() if each not in (None, "", [], {})}
    found: dict[str, Any] = json_value(present)
    return found


def tag(name: str) -> str:
    """Return a tag with the leading ``@`` that results have."""
    return name if name.startswith("@") else f"@{name}"


def milliseconds_field(value: object) -> int | None:
    """Return a duration that is written in milliseconds; None if the value cannot be one."""
    number = _number(value)
    return None if number is None or not 0 <= number < MAX_DURATION else round(number)


def duration_between(start: object, stop: object) -> int | None:
    """Return the milliseconds between two times; None if one is missing, or the second is the earlier one."""
    first, last = _milliseconds_of_time(start), _milliseconds_of_time(stop)
    return None if first is None or last is None else milliseconds_field(last - first)


def time_field(value: object) -> str | None:
    """Return a time after 1970, in milliseconds or seconds, as the API writes it."""
    milliseconds = _milliseconds_of_time(value)
    return None if milliseconds is None else wire.timestamp(wire.moment(milliseconds))


def failure_fields(message: object, trace: object) -> tuple[str | None, str | None]:
    """Return ``error`` and ``longrepr`` of a message and a traceback."""
    summary = (text_field(message) or "").strip()
    body = (text_field(trace) or "").strip("\r\n")
    error = error_of(summary, body)
    return error, clip(longrepr_of(summary, body, error)) or None


def _milliseconds_of_time(value: object) -> int | None:
    number = _number(value)
    if number is None or not 0 < number <= MAX_TIME:
        return None
    return round(number if number >= FIRST_MILLISECOND else number * 1000)


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
