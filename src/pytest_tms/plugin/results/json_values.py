"""Converts values from tests and plugins to values that JSON and execnet can represent. No pytest imports."""

from __future__ import annotations

import math
from typing import Any

from pytest_tms.text import clean, text_of

MAX_TEXT = 10_000
"""Characters of one text."""
MAX_PARAMETER = 200
"""Characters of a parameter that is a text."""
MAX_VALUES = 1000
"""Values in all lists and dicts of one value, which may contain itself."""
MAX_DEPTH = 6
"""The depth of nested lists and dicts."""
MAX_SECONDS = 7 * 24 * 3600
"""The longest duration that is valid; frozen and patched clocks give years."""
MAX_INTEGER = 2**53
"""Whole numbers from here on are text: not every JSON reader keeps them exactly."""


def json_value(value: object, *, described: bool = True) -> Any:
    """Return ``value`` as None, bool, number, text, list or dict.

    NaN, infinity and very large integers become their text. Of any other object its ``str()`` is kept, or,
    if not ``described``, only its type: a user's ``__repr__`` may be slow or huge.
    """
    return _JsonValue(described).of(value, MAX_DEPTH)


def parameter(value: object) -> Any:
    """Return a test's parameter: a scalar, or the name of its type."""
    if issubclass(type(value), str):
        return clean(text_of(value), limit=MAX_PARAMETER)
    if isinstance(value, (list, tuple, dict)):
        return f"<{type(value).__name__}>"
    return json_value(value, described=False)


class _JsonValue:
    def __init__(self, described: bool) -> None:
        self._described = described
        self._left = MAX_VALUES

    def of(self, value: Any, depth: int) -> Any:
        kind = type(value)  # isinstance uses the value's __class__, which may be wrong or raise
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            return clean(text_of(value), limit=MAX_TEXT)
        if issubclass(kind, int):
            number = int.__int__(value)
            return number if -MAX_INTEGER < number < MAX_INTEGER else clean(text_of(number), limit=MAX_TEXT)
        if issubclass(kind, float):
            fraction = float.__float__(value)
            return fraction if math.isfinite(fraction) else repr(fraction)
        if issubclass(kind, (list, tuple, dict)):
            return self._collection(value, depth - 1)
        if not self._described:
            return f"<{kind.__name__}>"
        return clean(text_of(value), limit=MAX_TEXT)

    def _collection(self, value: Any, depth: int) -> Any:
        name = f"<{type(value).__name__}>"
        if depth <= 0 or self._left <= 0:
            return name
        try:  # a copy, since another thread may change it
            if issubclass(type(value), dict):
                pairs = list(dict.items(value))[: self._take(dict.__len__(value))]
                return {clean(text_of(key), limit=MAX_TEXT): self.of(each, depth) for key, each in pairs}
            base: Any = list if issubclass(type(value), list) else tuple
            items = list(base.__iter__(value))[: self._take(base.__len__(value))]
            return [self.of(each, depth) for each in items]
        except RuntimeError:
            return name

    def _take(self, wanted: int) -> int:
        taken = min(wanted, self._left)
        self._left -= taken
        return taken


def seconds(value: object) -> float | None:
    """Return a duration if it is valid: a number from 0 to ``MAX_SECONDS``; else None."""
    if type(value) is not float and (not isinstance(value, (int, float)) or isinstance(value, bool)):
        return None
    return value if 0 <= value <= MAX_SECONDS else None


def milliseconds(value: object) -> int | None:
    """Return seconds as whole milliseconds; None for an invalid duration."""
    duration = seconds(value)
    return None if duration is None else round(1000 * duration)
