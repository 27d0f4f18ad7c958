"""What the process that runs a test adds to its reports, for the process that follows them.

It is one attribute of plain values. xdist and pytest-forked carry it from process to process; the recorder
takes it off each report, before plugins that write reports down see it.
"""

from __future__ import annotations

from typing import Any

import pytest

ATTRIBUTE = "tms"
"""The attribute of a report that carries the enrichment, if there is any."""

DESCRIPTION = (
    "tags",
    "parameters",
    "marks",
    "id",
    "title",
    "owner",
    "copy",
    "attempt",
    "group",
)
"""What describes a test; the rest (``artifacts``, ``properties``, ``unlogged``) is what a try left."""


def add(report: pytest.TestReport, values: dict[str, Any]) -> None:
    """Add plain values to what a report carries."""
    carried = vars(report).get(ATTRIBUTE)
    setattr(report, ATTRIBUTE, {**carried, **values} if carried else values)
