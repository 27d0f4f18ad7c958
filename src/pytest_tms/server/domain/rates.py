"""Rate limits: the documented ones, and the parser of the operator's setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
RATE = re.compile(r"(\d{1,9})/(second|minute|hour|day)")


class Rate(NamedTuple):
    """``amount`` requests in ``window`` seconds."""

    amount: int
    window: int


DOCUMENTED: Mapping[str, Rate] = {
    "executions": Rate(100, 3600),
    "results": Rate(1000, 3600),
    "webhooks": Rate(50, 3600),
    "events": Rate(600, 60),
    "logins": Rate(20, 60),
}
"""The first three for each API token, ``events`` for each execution (docs/protocol.md), ``logins`` for the
wrong tokens that come from one address."""


def parse(text: str) -> dict[str, Rate]:
    """Return the limits of ``documented``, ``off``, or a list like ``executions=200/hour,events=off``.

    Limits that a list does not name are the documented ones.

    Raises:
        ValueError: The text is not valid.
    """
    if text == "off":
        return {}
    rates = dict(DOCUMENTED)
    for word in () if text == "documented" else re.split(r"[,\s]+", text.strip(", ")):
        name, _, value = word.partition("=")
        found = RATE.fullmatch(value)
        if name not in DOCUMENTED or (value != "off" and (found is None or not int(found[1]))):
            raise ValueError(
                f"TMS_SERVER_RATE_LIMITS has {word!r}: write documented, off, or a list such as "
                "executions=100/hour,results=1000/hour,webhooks=50/hour,events=off "
                "(per second, minute, hour or day)"
            )
        if found is None:
            rates.pop(name, None)
        else:
            rates[name] = Rate(int(found[1]), UNITS[found[2]])
    return rates
