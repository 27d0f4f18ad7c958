"""Limits of JSON bodies, checked before they are decoded: nesting and number of values."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from pytest_tms.errors import Problem, TooLarge, Unprocessable

MAX_DEPTH = 100
"""Levels of lists and objects in a body; well below the recursion limits of JSON decoders."""
MAX_VALUES = 5_000_000
"""Values of a body; a value of two bytes in JSON may take some 70 bytes of memory."""

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_values(body: bytes) -> None:
    """Check the number of values of a body.

    Raises:
        TooLarge: There are too many.
        msgspec.DecodeError: The body is large and is not valid JSON.
    """
    if len(body) <= MAX_VALUES or _values(body) <= MAX_VALUES:
        return
    msgspec.json.decode(body, type=msgspec.Raw)  # every string is terminated: removing them is fast
    if _values(_STRINGS.sub(b"", body)) > MAX_VALUES:
        raise TooLarge(f"The body has more than {MAX_VALUES:,} values: split it into several requests.")


def check_depth(texts: Iterable[str], path: str, around: int = 0) -> None:
    """Check the nesting of JSON texts that are ``around`` levels below the top of a body.

    ``path`` is their path in the body, with ``{}`` for the index. Only texts with enough brackets to be too
    deep are examined.

    Raises:
        Unprocessable: A text is nested too deeply.
    """
    most = MAX_DEPTH - around
    for number, text in enumerate(texts):
        if text.count("[") + text.count("{") > most and _is_deeper(text.encode(), most):
            raise too_deep(path.format(number))


def too_deep(path: str = "") -> Unprocessable:
    """Return the error for a body, or the part of it at ``path``, that is nested too deeply."""
    return Unprocessable(details=[Problem(path, f"Must be nested at most {MAX_DEPTH} levels deep")])


def _is_deeper(text: bytes, most: int) -> bool:
    brackets = _STRINGS.sub(b"", text).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(most):
        brackets = brackets.replace(b"[]", b"")  # the innermost level of all
    return bool(brackets)


def _values(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")
