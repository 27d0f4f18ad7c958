"""The findings of `tms doctor`, and functions that make text of unknown origin safe to print."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Findings:
    """The results of the checks, without secrets.

    ``problems`` are errors, ``notes`` may be intended. ``clock_skew`` is the number of seconds by which the
    clock of this machine is ahead of the clock of the TMS.
    """

    verdict: str = ""
    rootdir: str = ""
    settings: list[dict[str, Any]] = field(default_factory=list)
    tms: dict[str, Any] | None = None
    token: dict[str, Any] | None = None
    clock_skew: int | None = None
    capabilities: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the findings as the command prints them with ``--json``."""
        found = asdict(self)
        return {**found, "clockSkew": found.pop("clock_skew")}


class NotReporting(Exception):
    """The reason why a run cannot report."""


def printable(text: str) -> str:
    """Return ``text`` on one line, without control characters and lone surrogates."""
    text = re.sub(r"\x1b\[[\d;]*m", "", text.encode("utf-8", "backslashreplace").decode())
    return "".join(each if each.isprintable() else " " for each in text)


def mask_credentials(text: str) -> str:
    """Return ``text`` with the credentials of URLs masked."""
    return re.sub(r"//[^/@\s]*@", "//********@", text)


def describe_clock(skew: int) -> str:
    """Return how the clocks of this machine and of the TMS differ."""
    if abs(skew) <= 2:
        return "the clock here agrees with the clock of the TMS"
    return f"the clock here is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the clock of the TMS"
