"""The shape of a body, looked at before it becomes objects: how deep it is, and of how many values."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from pytest_tms.errors import Problem, TooLarge, Unprocessable

DEEPEST = 100
"""Levels of lists and objects in a body. More than people write, and far from where interpreters give up."""
MOST_VALUES = 5_000_000
"""Values of a body: each may take some 70 bytes of memory where it took two on the wire."""

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_values(body: bytes) -> None:
    """Raise TooLarge where a body has too many values; msgspec's errors where that body is no JSON."""
    if len(body) <= MOST_VALUES or _values(body) <= MOST_VALUES:
        return
    msgspec.json.decode(body, type=msgspec.Raw)  # so that every string ends, and taking them out is quick
    if _values(_STRINGS.sub(b"", body)) > MOST_VALUES:
        raise TooLarge(f"The body has more than {MOST_VALUES:,} values: submit less at once.")


def check_depth(texts: Iterable[str], path: str, around: int = 0) -> None:
    """Raise Unprocessable where one of many JSON texts, ``around`` levels down in a body, is too deep.

    What has few brackets cannot be, so that most texts are only counted.
    """
    most = DEEPEST - around
    for number, text in enumerate(texts):
        if text.count("[") + text.count("{") > most and _is_deeper(text.encode(), most):
            raise too_deep(path.format(number))


def too_deep(path: str = "") -> Unprocessable:
    """What to raise for a body, or a part of it, that is too deep."""
    return Unprocessable(details=[Problem(path, f"Must be nested at most {DEEPEST} levels deep")])


def _is_deeper(text: bytes, most: int) -> bool:
    brackets = _STRINGS.sub(b"", text).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(most):
        brackets = brackets.replace(b"[]", b"")  # the innermost level of all
    return bool(brackets)


def _values(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")
