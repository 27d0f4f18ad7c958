"""What the terminal shows: the link before the tests, and the outcome of the reporting after them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from pytest_tms import wire

MAX_NAMES = 10
"""Names of one kind that the terminal lists, unless ``-v`` asks for all."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run: ``collected`` is ``results`` and what did not run.

    ``results`` are the tests that have one; of these ``delivered`` are in the TMS. ``kept_in`` is the file or
    folder that holds the others, None if nothing is kept. ``refused`` names what the TMS does not accept,
    ``running`` what ran when the run was stopped, ``left_out`` what had not begun. ``backlog`` are earlier
    runs that were delivered now, and their tests; ``waiting`` are those that are still being sent.
    ``problem`` is why not everything was delivered, ``warnings`` are other sentences.
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
    problem: str
    warnings: Sequence[str]
    backlog: tuple[int, int] = (0, 0)
    waiting: int = 0
    is_offline: bool = False
    required: str = ""

    @property
    def not_run(self) -> int:
        """How many collected tests have no result."""
        return self.collected - self.results

    @property
    def undelivered(self) -> int:
        """How many results the TMS does not have."""
        return self.results - self.delivered


Colours = dict[str, bool]


def write_summary(
    terminal: pytest.TerminalReporter, summary: Summary, warnings: Sequence[str] = (), *, verbosity: int = 0
) -> None:
    """Write one line if all went well, else a block; with ``-qq`` only what went wrong."""
    lines = list(_problems(summary, warnings, verbosity))
    if not lines and not summary.not_run:
        if verbosity > -2:
            terminal.write_line(f"tms: {_outcome(summary)}", green=bool(summary.results))
        return
    terminal.write_sep("=", "tms")
    for line, colours in [(_outcome(summary), {"bold": True}), *lines, *_not_run(summary, verbosity)]:
        terminal.write_line(line, **colours)


def _outcome(summary: Summary) -> str:
    """Where the results are."""
    if summary.is_offline:
        command = f"tms replay {shlex.quote(str(summary.kept_in))}"
        return f"offline, {_count(summary.results, 'result')} kept; send with: {command}"
    if not summary.report_url:
        return f"not reported: {_count(summary.results, 'result')}"
    if summary.undelivered:
        return f"{summary.delivered} of {_count(summary.results, 'result')} reported: {summary.report_url}"
    return f"{_count(summary.results, 'result')} reported: {summary.report_url}"


def _problems(summary: Summary, warnings: Sequence[str], verbosity: int) -> Iterator[tuple[str, Colours]]:
    yellow, red = {"yellow": True}, {"red": True}
    if summary.required:
        yield f"exit status 1: {summary.required}", red
    if summary.problem and not summary.is_offline:
        yield f"problem: {summary.problem}", yellow
    if summary.kept_in is not None and not summary.is_offline:
        kept = summary.undelivered - len(summary.refused)
        what = f"{_count(kept, 'result')} kept" if kept > 0 else "kept"
        yield f"{what}; send with: tms replay {shlex.quote(str(summary.kept_in))}", {"bold": True}
    elif summary.kept_in is None and (lost := summary.undelivered - len(summary.refused)) > 0:
        yield f"{_count(lost, 'result')} lost", red
    for name in _some(summary.refused, verbosity):
        yield f"refused: {name}", yellow
    for sentence in dict.fromkeys([*summary.warnings, *warnings]):
        yield f"warning: {sentence}", yellow
    runs, tests = summary.backlog
    if runs:
        yield f"backlog: {_count(runs, 'earlier run')} delivered ({_count(tests, 'result')})", {}
    if summary.waiting:
        yield f"backlog: {_count(summary.waiting, 'earlier run')} being sent in the background", {}


def _not_run(summary: Summary, verbosity: int) -> Iterator[tuple[str, Colours]]:
    if summary.not_run:
        yield (
            f"{summary.not_run} of {_count(summary.collected, 'test')} did not run: {summary.stopped_by}",
            {},
        )
        for name in _some(summary.running, verbosity):
            yield f"was running: {name}", {}
        if verbosity > 0:
            for name in summary.left_out:
                yield f"did not run: {name}", {}


def _some(names: Sequence[str], verbosity: int) -> Iterator[str]:
    shown = names if verbosity > 0 else names[:MAX_NAMES]
    yield from shown
    if more := len(names) - len(shown):
        yield f"… and {more} more (-v names them)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def describe(counts: wire.GivenCounts | wire.Counts) -> str:
    """Return counts in words, without those that are zero."""
    named = (("failed", counts.failed), ("passed", counts.passed), ("skipped", counts.skipped))
    parts = [f"{number} {name}" for name, number in named if number]
    flaky = f" ({counts.flaky} flaky)" if counts.flaky else ""
    return (", ".join(parts) or "no tests") + flaky
