"""What the terminal shows: one header line, and one block at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from pytest_tms import wire

SHOWN = 10
"""Names of one kind that the terminal lists."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run: ``collected = delivered + kept + refused + lost + not_run``.

    ``results`` are the tests that have one; ``kept_in`` is the folder of what is on disk and not delivered.
    ``refused`` names what the TMS does not take, ``running`` what ran when the run was stopped,
    ``left_out`` what had not begun.
    ``earlier`` are the runs that were left here and are delivered now, and their tests.
    """

    report_url: str
    shards: Sequence[tuple[str, str, wire.GivenCounts]]
    collected: int
    results: int
    delivered: int
    refused: Sequence[str]
    kept_in: Path | None
    stopped_by: str
    running: Sequence[str]
    left_out: Sequence[str]
    trouble: Sequence[str]
    earlier: tuple[int, int]

    @property
    def not_run(self) -> int:
        """How many collected tests have no result."""
        return self.collected - self.results

    @property
    def undelivered(self) -> int:
        """How many results the TMS does not have."""
        return self.results - self.delivered


def write_summary(terminal: pytest.TerminalReporter, summary: Summary, noted: Sequence[str] = ()) -> None:
    """Write the block at the end: link, shards, ledger, trouble."""
    terminal.write_sep("=", "tms")
    if summary.report_url:
        terminal.write_line(f"report  {summary.report_url}", bold=True)
    for shard_id, status, counts in summary.shards:
        terminal.write_line(f"shard   {shard_id} {status}: {describe(counts)}")
    terminal.write_line(f"ledger  {ledger(summary)}", yellow=bool(summary.undelivered))
    if summary.not_run:
        terminal.write_line(f"not run {summary.not_run}: {summary.stopped_by}")
    for name in summary.running[:SHOWN]:
        terminal.write_line(f"running {name} when the run stopped")
    for name in summary.left_out[:SHOWN]:
        terminal.write_line(f"not run {name}")
    if more := len(summary.left_out[SHOWN:]):
        terminal.write_line(f"not run … and {more} more")
    for name in summary.refused[:SHOWN]:
        terminal.write_line(f"refused {name}", yellow=True)
    runs, tests = summary.earlier
    if runs:
        terminal.write_line(f"earlier {runs} run{'s' * (runs > 1)} kept here, now delivered: {tests} tests")
    for sentence in dict.fromkeys([*summary.trouble, *noted]):
        terminal.write_line(f"trouble {sentence}", yellow=True)
    if summary.kept_in is not None:
        terminal.write_line(f"send    tms replay {summary.kept_in}", bold=True)


def ledger(summary: Summary) -> str:
    """Where every collected test went."""
    kept = 0 if summary.kept_in is None else summary.undelivered - len(summary.refused)
    lost = summary.undelivered - len(summary.refused) - kept
    parts = [f"{summary.delivered} delivered", f"{kept} kept on disk"]
    if summary.refused:
        parts.append(f"{len(summary.refused)} refused")
    if lost > 0:
        parts.append(f"{lost} lost")
    return f"{summary.collected} collected = {' + '.join(parts)} + {summary.not_run} not run"


def describe(counts: wire.GivenCounts | wire.Counts) -> str:
    """Counts in words, without those that are zero."""
    named = (("failed", counts.failed), ("passed", counts.passed), ("skipped", counts.skipped))
    parts = [f"{number} {name}" for name, number in named if number]
    flaky = f" ({counts.flaky} flaky)" if counts.flaky else ""
    return (", ".join(parts) or "no tests") + flaky
