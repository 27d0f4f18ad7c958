"""What an inbound event says, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_tms.text import counted

MAX_TEXT = 200
"""Characters of a text of the event that are shown."""


def event_summary(data: Mapping[str, Any]) -> str:
    """Return what the ``data`` of an event says; empty if it has nothing but ids."""
    parts = []
    if isinstance(status := data.get("status"), str):
        parts.append(status[:MAX_TEXT])
    if isinstance(results := data.get("results"), Mapping):
        named = [
            f"{results[name]} {name}"
            for name in ("failed", "passed", "skipped")
            if _number(results.get(name))
        ]
        parts.append(", ".join(named))
    if isinstance(tests := data.get("tests"), list) and tests:
        parts.append(f"{counted(len(tests), 'test')} ended")
    if isinstance(running := data.get("running"), list) and running:
        parts.append(f"{len(running)} running")
    if collected := _number(data.get("collected")):
        parts.append(f"{collected} collected")
    if not_run := _number(data.get("notRun")):
        parts.append(f"{not_run} did not run")
    for name in ("reason", "notRunReason", "error", "message"):
        if isinstance(text := data.get(name), str) and text:
            parts.append(text.strip().partition("\n")[0][:MAX_TEXT])
    return " · ".join(part for part in parts if part)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
