"""What the terminal shows: one header line, and one block at the end."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import pytest

from pytest_tms import wire


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A finished run. ``collected = delivered + undelivered + not_run``."""

    report_url: str
    shards: Sequence[tuple[str, str, wire.Counts]]
    collected: int
    delivered: int
    undelivered: int
    trouble: Sequence[str]

    @property
    def not_run(self) -> int:
        """How many collected tests have no result."""
        return max(0, self.collected - self.delivered - self.undelivered)


class Off:
    """A run that was to report and cannot: says why, and does nothing else."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def pytest_report_header(self) -> str:
        """Say it before the tests."""
        return f"tms: not reporting: {self._reason}"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Say it again after them, where it is read."""
        yield
        terminalreporter.write_sep("=", "tms")
        terminalreporter.write_line(f"not reported: {self._reason}", yellow=True)


def write_summary(terminal: pytest.TerminalReporter, summary: Summary) -> None:
    """Write the block at the end: link, shards, ledger, trouble."""
    terminal.write_sep("=", "tms")
    terminal.write_line(f"report  {summary.report_url}", bold=True)
    for shard_id, status, counts in summary.shards:
        terminal.write_line(f"shard   {shard_id} {status}: {describe(counts)}")
    ledger = f"{summary.collected} collected = {summary.delivered} delivered"
    if summary.undelivered:
        ledger += f" + {summary.undelivered} not delivered"
    terminal.write_line(f"ledger  {ledger} + {summary.not_run} not run", yellow=bool(summary.undelivered))
    for sentence in summary.trouble:
        terminal.write_line(f"trouble {sentence}", yellow=True)


def describe(counts: wire.Counts) -> str:
    """Counts in words, without those that are zero."""
    parts = [
        f"{number} {name}"
        for name, number in (
            ("failed", counts.failed),
            ("passed", counts.passed),
            ("skipped", counts.skipped),
        )
        if number
    ]
    flaky = f" ({counts.flaky} flaky)" if counts.flaky else ""
    return (", ".join(parts) or "no tests") + flaky
