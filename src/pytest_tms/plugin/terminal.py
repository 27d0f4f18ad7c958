"""Writes the end of a session to the terminal: the wait for the TMS, and the summary."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import pytest

from pytest_tms.plugin.session.summary import Summary
from pytest_tms.text import counted, describe_changes

MAX_NAMES = 10
"""Names of one kind that the terminal lists, unless ``-v`` is given."""


Colours = dict[str, bool]


class Notices:
    """Writes sentences to the terminal while the session runs, if it has a terminal."""

    def __init__(self, config: pytest.Config, url: str) -> None:
        """``url`` is that of the TMS, without credentials."""
        self._config = config
        self._url = url

    def write(self, sentence: str) -> None:
        """Write a sentence on a line of its own."""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if terminal is None:
            return
        terminal.ensure_newline()
        # Over xdist, pytest does not know of the dots on the line.
        if self._config.get_terminal_writer().width_of_current_line:
            terminal.write_line("")
        terminal.write_line(f"tms: {sentence}")

    def write_wait(self, seconds: float, purpose: str) -> None:
        """Write that the session waits for the TMS, for at most ``seconds``, and for what."""
        self.write(f"waiting for {self._url} {purpose}, at most {seconds:g} s; Ctrl-C skips this")


def write_summary(
    terminal: pytest.TerminalReporter, summary: Summary, warnings: Sequence[str] = (), *, verbosity: int = 0
) -> None:
    """Write one line if all went well, else a block; with ``-qq`` only problems."""
    lines = [*_quarantined(summary, verbosity), *_problems(summary, warnings, verbosity)]
    if not lines and not summary.not_run:
        if verbosity > -2:
            for line, colours in [*_changes(summary, verbosity), *_queue(summary)]:
                terminal.write_line(f"tms: {line}", **colours)
            terminal.write_line(f"tms: {_outcome(summary)}", green=bool(summary.results))
        return
    terminal.write_sep("=", "tms")
    outcome = (_outcome(summary), {"bold": True})
    for line, colours in [
        outcome,
        *_changes(summary, verbosity),
        *_queue(summary),
        *lines,
        *_not_run(summary, verbosity),
    ]:
        terminal.write_line(line, **colours)


def _outcome(summary: Summary) -> str:
    """Return the first line: where the results are."""
    if summary.is_offline:
        command = f"tms replay {shlex.quote(str(summary.kept_in))}"
        return f"offline, {counted(summary.results, 'result')} kept; send with: {command}"
    if not summary.report_url:
        return f"not reported: {counted(summary.results, 'result')}"
    if summary.undelivered:
        return f"{summary.delivered} of {counted(summary.results, 'result')} reported: {summary.report_url}"
    return f"{counted(summary.results, 'result')} reported: {summary.report_url}"


def _changes(summary: Summary, verbosity: int) -> Iterator[tuple[str, Colours]]:
    """Yield how many failures are new, and which, if the TMS knows an earlier run."""
    changes = summary.changes
    if changes is None:
        return
    failed = changes.new_failures.count + changes.known_failures.count + changes.quarantined.count
    shards = [shard for shard, _, _ in summary.shards]
    where = ""
    if summary.is_part:
        where = (
            f" in shard {shards[0]}"
            if len(shards) == 1
            else f" in {counted(len(shards), 'shard')} of this job"
        )
    yield f"{failed} failed{where}: {describe_changes(changes)}", {}
    names = [_printable(test.node_id or test.title) for test in changes.new_failures.tests]
    shown = names if verbosity > 0 else names[:MAX_NAMES]
    for name in shown:
        yield f"new failure: {name}", {"red": True}
    if more := changes.new_failures.count - len(shown):
        how = " (-v lists more)" if len(shown) < len(names) else ""
        yield f"… and {counted(more, 'more new failure')}{how}", {}


def _queue(summary: Summary) -> Iterator[tuple[str, Colours]]:
    if summary.queue:
        yield summary.queue, {}


def _printable(text: str) -> str:
    """Return a text on one line, without control characters."""
    return "".join(each if each.isprintable() else " " for each in text)


def _problems(summary: Summary, warnings: Sequence[str], verbosity: int) -> Iterator[tuple[str, Colours]]:
    yellow, red = {"yellow": True}, {"red": True}
    if summary.required:
        yield f"exit status 1: {summary.required}", red
    if summary.problem and not summary.is_offline:
        yield f"problem: {summary.problem}", yellow
    if summary.kept_in is not None and not summary.is_offline:
        kept = summary.undelivered - len(summary.refused)
        count = f"{counted(kept, 'result')} kept" if kept > 0 else "kept"
        yield f"{count}; send with: tms replay {shlex.quote(str(summary.kept_in))}", {"bold": True}
    elif summary.kept_in is None and (lost := summary.undelivered - len(summary.refused)) > 0:
        yield f"{counted(lost, 'result')} lost", red
    for name in _some(summary.refused, verbosity):
        yield f"refused: {name}", yellow
    for sentence in dict.fromkeys([*summary.warnings, *warnings]):
        yield f"warning: {sentence}", yellow
    if summary.repeated is not None:
        for name, times, failed in summary.repeated.flaky[: None if verbosity > 0 else MAX_NAMES]:
            yield f"flaky: {_printable(name)} failed in {failed} of {times} runs", yellow
        flaky = len(summary.repeated.flaky)
        if summary.repeated.tests:
            repeated = counted(summary.repeated.tests, "new or changed test")
            yield f"repeated: {repeated}, {flaky or 'none'} flaky", {}
    runs, tests = summary.backlog
    if runs:
        yield f"backlog: {counted(runs, 'earlier run')} delivered ({counted(tests, 'result')})", {}
    if summary.waiting:
        yield f"backlog: {counted(summary.waiting, 'earlier run')} being sent in the background", {}


def _quarantined(summary: Summary, verbosity: int) -> Iterator[tuple[str, Colours]]:
    """Yield the failed tests in quarantine, and whether the session passes because of that."""
    number = len(summary.quarantined)
    if summary.is_passed_by_quarantine and not summary.required:
        failed = "the only failed test is" if number == 1 else f"all {number} failed tests are"
        yield f"exit status 0: {failed} in quarantine", {"green": True}
    names = [
        _printable(
            f"{each.node_id} failed, in quarantine until {each.until} ({each.reason}; owner: {each.owner})"
        )
        for each in summary.quarantined
    ]
    for name in _some(names, verbosity):
        yield name, {"yellow": True}


def _not_run(summary: Summary, verbosity: int) -> Iterator[tuple[str, Colours]]:
    if summary.not_run:
        tests = f"{summary.not_run} of {counted(summary.collected, 'test')}"
        yield f"{tests} did not run: {summary.not_run_reason}", {}
        for name in _some(summary.running, verbosity):
            yield f"was running: {name}", {}
        if verbosity > 0:
            for name in summary.not_started:
                yield f"did not run: {name}", {}


def _some(names: Sequence[str], verbosity: int) -> Iterator[str]:
    listed = names if verbosity > 0 else names[:MAX_NAMES]
    yield from listed
    if more := len(names) - len(listed):
        yield f"… and {more} more (-v lists all)"
