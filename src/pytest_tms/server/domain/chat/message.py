"""The content of a message about an ended run, before it is written in a format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_tms import wire
from pytest_tms.server.domain.executions import Execution
from pytest_tms.text import describe_changes, describe_since

LINES = 10
"""Tests of each list."""
MAX_NAME = 150
"""Characters of the name of a test; its end is kept, which names the function."""
MAX_ERROR = 150
"""Characters of an error."""
MAX_FACT = 100
"""Characters of the name of a suite, an environment, a branch or a commit, and of a title."""
MAX_REASON = 300
"""Characters of the reason for the end of a run."""


@dataclass(frozen=True, kw_only=True)
class MessageList:
    """A list of tests: ``count`` is the number of all. A line is a name and what there is to say about it."""

    title: str
    count: int
    lines: Sequence[tuple[str, str]]

    def first(self, number: int) -> tuple[Sequence[tuple[str, str]], int]:
        """Return the first lines, and how many tests are not among them."""
        shown = self.lines[:number]
        return shown, self.count - len(shown)


@dataclass(frozen=True, kw_only=True)
class RunMessage:
    """A message: ``title`` and ``facts`` are lines of plain text, ``url`` is the page of the run or empty."""

    title: str
    is_good: bool
    facts: Sequence[str] = ()
    lists: Sequence[MessageList] = field(default_factory=list)
    url: str = ""


def test_message() -> RunMessage:
    """Return what is sent to validate a webhook."""
    return RunMessage(
        title="Test message",
        is_good=True,
        facts=["This channel will receive a message at the end of each run."],
    )


test_message.__test__ = False  # type: ignore[attr-defined]  # pytest collects names that begin so


def run_message(
    execution: Execution,
    changes: wire.RunChanges,
    failed: Sequence[wire.FailedTest],
    *,
    branch: str,
    commit: str,
    not_run: int,
    url: str,
) -> RunMessage:
    """Return the message about an ended run, with its new failures first.

    ``failed`` are its first failed tests. They are listed if the run has no earlier one to compare with.
    """
    counts = execution.results
    place = f"{_fact(execution.test_suite)} on {_fact(execution.environment)}"
    where = [
        f"{name} {_fact(value)}" for name, value in (("branch", branch), ("commit", commit[:12])) if value
    ]
    numbers = [f"{counts.passed:,} passed", f"{counts.failed:,} failed", f"{counts.skipped:,} skipped"]
    if counts.flaky:
        numbers.append(f"{counts.flaky:,} flaky")
    if not_run:
        numbers.append(f"{not_run:,} did not run")
    facts = [" · ".join(where), ", ".join(numbers)]
    if changes.compared_with and (words := describe_changes(changes)):
        facts.append(f"Since the previous run: {words}")
    if execution.reason and execution.status != "completed":
        facts.append(plain(execution.reason, MAX_REASON))
    return RunMessage(
        title=f"{place}: {_verdict(execution, changes.quarantined.count)}",
        is_good=execution.status == "completed" and counts.failed <= changes.quarantined.count,
        facts=[fact for fact in facts if fact],
        lists=[each for each in _lists(changes, failed, counts.failed) if each.count],
        url=url,
    )


def plain(text: str, limit: int) -> str:
    """Return a text on one line, without characters that do not print; of a long one, its beginning."""
    text = " ".join("".join(each if each.isprintable() else " " for each in text[: 10 * limit]).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _verdict(execution: Execution, quarantined: int) -> str:
    counts = execution.results
    failed = max(0, counts.failed - quarantined)
    apart = f", {quarantined:,} in quarantine" if quarantined else ""
    if execution.status == "cancelled":
        return "cancelled"
    if execution.status == "failed":
        return "the run broke" + (f", {failed:,} tests failed" if failed else "") + apart
    if failed:
        return f"{failed:,} of {counts.total:,} tests failed{apart}"
    return f"{counts.passed:,} of {counts.total:,} tests passed{apart}" if counts.total else "no tests"


def _lists(changes: wire.RunChanges, failed: Sequence[wire.FailedTest], total: int) -> Sequence[MessageList]:
    new = [(_name(test.node_id or test.title), _error(test.error)) for test in changes.new_failures.tests]
    known = [
        (_name(test.node_id or test.title), f"since {describe_since(test.since)}" if test.since else "")
        for test in changes.known_failures.tests
    ]
    apart = {(test.title, test.file) for test in changes.quarantined.tests}
    others = [
        (_name(test.title), _error(test.error)) for test in failed if (test.title, test.file) not in apart
    ]
    quarantined = [(_name(test.node_id or test.title), "") for test in changes.quarantined.tests]
    flaky = [(_name(test.node_id or test.title), "") for test in changes.flaky.tests]
    first = 0 if changes.compared_with else max(0, total - changes.quarantined.count)
    return [
        MessageList(title="New failures", count=changes.new_failures.count, lines=new),
        MessageList(title="Failures", count=first, lines=others),
        MessageList(title="Known failures", count=changes.known_failures.count, lines=known),
        MessageList(title="In quarantine", count=changes.quarantined.count, lines=quarantined),
        MessageList(title="Flaky", count=changes.flaky.count, lines=flaky),
    ]


def _name(text: str) -> str:
    name = plain(text[-MAX_NAME:], MAX_NAME) or "?"
    return f"…{name}" if len(text) > MAX_NAME else name


def _error(text: str | None) -> str:
    return plain(next((line for line in (text or "").splitlines() if line.strip()), ""), MAX_ERROR)


def _fact(text: str) -> str:
    return plain(text, MAX_FACT)
