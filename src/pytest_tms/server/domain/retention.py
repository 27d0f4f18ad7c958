"""Retention: for how long a server keeps what it stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_tms.server.domain.durations import format_duration, parse_duration

PERIODS = ("results", "artifacts", "events")
SYNTAX = "use results=, artifacts=, events= and keep-branch=, such as results=90d, keep-branch=main:365d"


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Milliseconds after which executions, files and events are deleted; None keeps them.

    ``branches`` are those whose executions are kept for another time, None for as long as the server exists.
    """

    results: int | None = None
    artifacts: int | None = None
    events: int | None = None
    branches: tuple[tuple[str, int | None], ...] = ()

    def __str__(self) -> str:
        """Return the text that ``parse_retention`` reads."""
        return ", ".join(self._entries())

    def _entries(self) -> Iterator[str]:
        for name in PERIODS:
            if (period := getattr(self, name)) is not None:
                yield f"{name}={format_duration(period)}"
        for branch, period in self.branches:
            yield f"keep-branch={branch}" + ("" if period is None else f":{format_duration(period)}")

    def is_expired(self, branch: str, created_at: int, now: int) -> bool:
        """Return whether an execution of a branch that was created at a time is to be deleted."""
        period = dict(self.branches).get(branch, self.results)
        return self.results is not None and period is not None and created_at < now - period


def parse_retention(text: str) -> Retention:
    """Return the retention that a text describes, for example ``results=90d, keep-branch=main:365d``.

    Raises:
        ValueError: It is not valid. The message is the end of a sentence about it.
    """
    periods: dict[str, int] = {}
    branches: dict[str, int | None] = {}
    for entry in filter(None, (each.strip() for each in text.split(","))):
        name, is_set, value = (part.strip() for part in entry.partition("="))
        if name == "keep-branch" and value:
            branch, has_period, period = value.partition(":")
            known, number = branch in branches, parse_duration(period) if has_period else None
            branches[branch] = number
        elif name in PERIODS and is_set:
            known = name in periods
            periods[name] = parse_duration(value)
        else:
            raise ValueError(f"{entry[:100]!r} is not known: {SYNTAX}")
        if known:
            raise ValueError(f"{entry[:100]!r} sets a value again: write it once")
    if branches and "results" not in periods:
        raise ValueError("keep-branch has no effect without results=: add, for example, results=90d")
    return Retention(**periods, branches=tuple(branches.items()))
