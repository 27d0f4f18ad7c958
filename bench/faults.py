"""What faults below a server cost: refused requests, lost results (none), and the time until it recovers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from bench.table import table
from tests.helpers.faults import SCENARIOS, run_scenario

HEADER = ["fault", "confirmed", "lost", "refused", "without Retry-After", "recovery (s)", "tracebacks"]


def measure() -> str:
    """The table: one row for each fault."""
    rows = []
    for name, scenario in SCENARIOS.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                with scenario(Path(folder)) as found:
                    outcome = run_scenario(found)
            except pytest.skip.Exception as skipped:
                rows.append([name, str(skipped.msg), *[""] * 5])
                continue
        refused = [each for each in sorted(outcome.statuses.items()) if not each[0].startswith("2")]
        rows.append(
            [
                name,
                f"{outcome.confirmed:,}",
                f"{outcome.lost:,}",
                ", ".join(f"{status}: {number}" for status, number in refused) or "none",
                str(outcome.without_retry_after),
                f"{outcome.recovery:.1f}",
                str(outcome.tracebacks),
            ]
        )
    return f"results of 6 runners under load\n{table(HEADER, rows)}"
