"""Parses durations as test runners write them, in any locale and unit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

MAX_LENGTH = 64
MAX_SECONDS = 1e9
"""About thirty years; a longer value is not a duration."""

UNITS = {
    "d": 86_400.0,
    "day": 86_400.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "milli": 1e-3,
    "millisecond": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "usec": 1e-6,
    "micro": 1e-6,
    "microsecond": 1e-6,
    "ns": 1e-9,
    "nsec": 1e-9,
    "nano": 1e-9,
    "nanosecond": 1e-9,
}
_ISO = re.compile(r"p(?:(?P<d>[\d.,]+)d)?(?:t(?:(?P<h>[\d.,]+)h)?(?:(?P<m>[\d.,]+)m)?(?:(?P<s>[\d.,]+)s)?)?")
_CLOCK = re.compile(r"(?:(?P<d>\d+)[. ])?(?:(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d+(?:[.,]\d+)?)")
_AMOUNT = re.compile(r"(?P<number>[\d.,' ]*\d(?:e[+-]?\d+)?) ?(?P<unit>[a-zµ]+)\.?(?: |, |(?=\d)|$)")
_GROUPING = re.compile(r"[.,' _]")
_GROUPS = re.compile(r"[+-]?\d{1,3}(?:,\d{2,3})*,\d{3}")
_CHARACTERS = str.maketrans(
    {"\u00a0": " ", "\u202f": " ", "\u2009": " ", "’": "'", "٫": ".", "٬": "'", "−": "-", "μ": "µ"}
)


def milliseconds(text: str | None) -> int | None:
    """Return a duration in whole milliseconds; a number without a unit is seconds.

    None if the text is not a duration, or is negative or longer than ``MAX_SECONDS``.
    """
    seconds = _seconds(text or "")
    return None if seconds is None or not 0 <= seconds < MAX_SECONDS else round(seconds * 1000)


def _seconds(text: str) -> float | None:
    if len(text) > MAX_LENGTH:
        return None
    text = " ".join(text.translate(_CHARACTERS).lower().split())
    if (number := _number(text)) is not None:
        return number
    for pattern in (_ISO, _CLOCK):
        found = pattern.fullmatch(text)
        if found and any(found.groups()):
            parts = [(_number(part), UNITS[unit]) for unit, part in found.groupdict().items() if part]
            return _sum(parts)
    amounts = list(_AMOUNT.finditer(text))
    if not amounts or sum(len(each[0]) for each in amounts) != len(text):
        return None
    return _sum([(_number(each["number"]), _unit(each["unit"])) for each in amounts])


def _unit(name: str) -> float | None:
    return UNITS.get(name) or UNITS.get(name.removesuffix("s"))


def _sum(parts: Sequence[tuple[float | None, float | None]]) -> float | None:
    total = 0.0
    for number, unit in parts:
        if number is None or unit is None:
            return None
        total += number * unit
    return total


def _number(text: str) -> float | None:
    """Read ``1.5``, ``1,5``, ``1,234.5``, ``1.234,5``, ``1 234,5`` or ``1'234.5``.

    The last of points and commas separates the decimals, unless it occurs several times.
    """
    decimal = "," if text.rfind(",") > text.rfind(".") else "."
    if text.count(decimal) > 1:
        decimal = ""
    whole, point, decimals = text.partition(decimal) if decimal else (text, "", "")
    groups = _GROUPING.split(whole)
    if len(groups) > 1 and not _GROUPS.fullmatch(",".join(groups)):
        return None
    try:
        number = float("".join(groups) + point.replace(",", ".") + decimals)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
