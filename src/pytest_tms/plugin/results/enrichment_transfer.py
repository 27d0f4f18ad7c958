"""The attribute by which reports carry their enrichment from the process that runs a test to the recorder.

It is one attribute of plain values. xdist and pytest-forked transfer it between processes; the recorder
removes it from each report, before plugins that write reports to files see it.
"""

from __future__ import annotations

from typing import Any

import pytest

ATTRIBUTE = "tms"
"""The attribute of a report that holds the enrichment, if there is any."""

FAILURE = "failure"
"""The key of the exception of a phase: ``FailureReader.read``."""

SETUPS = "setups"
"""The key of the setups of shared fixtures that an attempt contains: see ``SharedSetupTimes.take``."""

REPEATS = "repeats"
"""The key of how often a test ran under ``--tms-detect-flaky``, and how often it failed."""

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
"""The keys that describe a test.

``artifacts``, ``properties``, ``unlogged``, ``FAILURE`` and ``SETUPS`` are of one attempt.
"""


def add(report: pytest.TestReport, values: dict[str, Any]) -> None:
    """Add plain values to the enrichment of a report."""
    present = vars(report).get(ATTRIBUTE)
    setattr(report, ATTRIBUTE, {**present, **values} if present else values)
