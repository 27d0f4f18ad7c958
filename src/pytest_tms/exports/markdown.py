"""Markdown: a summary for CI systems, with the failing tests first, within a limit of bytes."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_tms.exports.fields import is_quarantined, number, retries_of, status_of, text, title_of
from pytest_tms.text import describe_changes, describe_since, first_line, shorten, stopped_early
from pytest_tms.wire.executions import ExecutionStatus
from pytest_tms.wire.history import ChangedTests, RunChanges

COMMENT_LIMIT = 1 << 16
"""Bytes of a summary unless a limit is given. GitHub allows so many characters in a comment."""
MAX_FAILURES = 1000
"""Failing tests that are listed."""
MAX_OTHERS = 200
"""Flaky, skipped and slow tests that are listed of each kind."""
MAX_TRACEBACK = 4000
"""Characters of a traceback; its end is kept."""
MAX_COMMENT_TRACEBACK = 1500
"""Characters of a traceback in a summary that is short enough for a comment."""
RESERVED = 4
"""The part of the limit, as 1/n, that is left to names once it is too short for more errors."""
NOTE_BYTES = 200
"""Bytes that are reserved for the note about what the limit leaves out."""
QUARANTINED = "in quarantine"
"""What follows the name of a failed test that did not fail the run."""
MENTION = re.compile(r"[@#](?=[A-Za-z0-9])", re.ASCII)
"""Where GitHub and others would link a person or an issue, even after a backslash."""
SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&@$])")


def write_markdown(
    execution: ExecutionStatus,
    tests: Iterable[Mapping[str, Any]],
    *,
    changes: RunChanges | None = None,
    limit: int = COMMENT_LIMIT,
) -> Iterator[bytes]:
    """Yield a summary of at most ``limit`` bytes, which is short enough for a comment unless more are given.

    It has the verdict and the counts, then the tests that failed (with ``changes`` the new failures first),
    that did not run, are flaky, were fixed or skipped. What does not fit is left out in whole parts, a failed
    test first without its error, and a note says how many. The first line is a marker by which a later
    summary of the same suite and environment replaces this one; see ``marker``.
    """
    remaining = limit - NOTE_BYTES
    left_out = shortened = 0
    length = MAX_TRACEBACK if limit > COMMENT_LIMIT else MAX_COMMENT_TRACEBACK
    for forms in _parts(execution, tests, changes, length):
        for position, form in enumerate(forms, 1):
            encoded = form.encode("utf-8", "backslashreplace")
            reserved = limit // RESERVED if position < len(forms) else 0
            if len(encoded) <= remaining - reserved:
                remaining -= len(encoded)
                shortened += position > 1
                yield encoded
                break
        else:
            left_out += 1
    if left_out or shortened:
        what = [f"{shortened} tracebacks"] * bool(shortened) + [f"{left_out} more entries"] * bool(left_out)
        note = f"\n_{' and '.join(what)} do not fit here: see the report._\n".encode()
        if len(note) <= remaining + NOTE_BYTES:
            yield note


def marker(execution: ExecutionStatus) -> str:
    """Return the line that identifies summaries of a suite and an environment; Markdown does not show it."""
    names = [name.replace("-", "_") for name in (execution.test_suite, execution.environment)]
    return f"<!-- pytest-tms: {re.sub(r'[<>]', '', ' '.join(' '.join(names).split()))} -->"


def _parts(
    execution: ExecutionStatus,
    tests: Iterable[Mapping[str, Any]],
    changes: RunChanges | None,
    length: int,
) -> Iterator[tuple[str, ...]]:
    """Yield the parts in their order, each in its complete form and in shorter ones, if it has any.

    ``length`` is the number of characters of a traceback.
    """
    counts = execution.results
    if execution.execution_id:
        yield (f"{marker(execution)}\n",)
    suite = _inline(execution.test_suite or "Tests")
    yield (f"## {suite} on {_inline(execution.environment)}: {_verdict(execution, changes)}\n\n",)
    yield (
        f"{counts.total:,} tests: {counts.failed:,} failed, {counts.passed:,} passed, "
        f"{counts.skipped:,} skipped, {counts.flaky:,} flaky\n",
    )
    if changes is not None and (words := describe_changes(changes)):
        yield (f"\nSince the previous run: {words}\n",)
    if execution.artifacts.report_url:
        yield (f"\n[Report](<{_url(execution.artifacts.report_url)}>)\n",)
    if execution.reason:
        yield (f"\n{_inline(execution.reason)}\n",)
    found = _Found(changes, length)
    for index, test in enumerate(tests):
        found.add(index, test)
    yield from found.failures(counts.failed)
    for text_ in _not_run(execution):
        yield (text_,)
    yield from _list("Flaky", found.flaky)
    yield from _list("Fixed", [f"- {_inline(name)}\n" for name in _names(changes.fixed if changes else None)])
    yield from _list("Skipped", found.skipped)
    slowest = [f"- {name}: {duration / 1000:.2f} s\n" for duration, _, name in sorted(found.slow)[::-1]]
    yield from _list("Slowest", slowest)


class _Found:
    """The tests that a summary lists, collected from all tests of an execution."""

    def __init__(self, changes: RunChanges | None, length: int) -> None:
        self.flaky: list[str] = []
        self.skipped: list[str] = []
        self.slow: list[tuple[int, int, str]] = []
        self._length = length
        self._failed = 0
        self._new = set(_names(changes.new_failures if changes else None))
        self._known = (
            {test.node_id or test.title: test.since for test in changes.known_failures.tests}
            if changes
            else {}
        )
        self._failures: dict[str, list[tuple[str, ...]]] = {"new": [], "known": [], "": [], QUARANTINED: []}

    def add(self, index: int, test: Mapping[str, Any]) -> None:
        """Add a test, the next one in order."""
        status, duration = status_of(test), number(test, "duration") or 0
        if status == "failed":
            self._failed += 1
            self._add_failure(test)
        elif status == "skipped" and len(self.skipped) < MAX_OTHERS:
            self.skipped.append(_row(test))
        elif status == "passed" and retries_of(test) and len(self.flaky) < MAX_OTHERS:
            self.flaky.append(_row(test))
        if duration > 0:
            heapq.heappush(self.slow, (duration, -index, _name(test)))
            if len(self.slow) > 10:
                heapq.heappop(self.slow)

    def _add_failure(self, test: Mapping[str, Any]) -> None:
        name = text(test, "nodeId") or title_of(test)
        kind = "new" if name in self._new else "known" if name in self._known else ""
        kind = QUARANTINED if is_quarantined(test) else kind
        if len(self._failures[kind]) < MAX_FAILURES:
            since = self._known.get(name)
            self._failures[kind].append(
                _failure(test, self._length, f"since {describe_since(since)}" if since else "")
            )

    def failures(self, total: int) -> Iterator[tuple[str, ...]]:
        """Yield the failed tests; ``total`` is their number, if only the first were added."""
        is_compared = bool(self._failures["new"] or self._failures["known"])
        listed = sum(map(len, self._failures.values()))
        failed = max(self._failed, total) - len(self._failures[QUARANTINED])
        for kind, found in self._failures.items():
            plural = "s" * (len(found) != 1)
            heading = f"{len(found):,} {kind or 'other'} failure{plural}"
            if kind == QUARANTINED:
                heading = f"{len(found):,} failure{plural} {QUARANTINED}"
            elif not kind and not is_compared:
                heading = f"{failed:,} failed"
            if found:
                yield (f"\n### {heading}\n\n",)
                yield from found
        if listed and (more := max(self._failed, total) - listed) > 0:
            yield (f"\n{more:,} more tests failed.\n",)


def _verdict(execution: ExecutionStatus, changes: RunChanges | None) -> str:
    """Return the state in words; of a completed execution, whether its tests passed."""
    if execution.status != "completed":
        return execution.status
    apart = changes.quarantined.count if changes is not None else 0
    failed = max(0, execution.results.failed - apart)
    words = f"{failed:,} failed" if failed else "passed"
    return f"{words}, {apart:,} {QUARANTINED}" if apart else words


def _names(some: ChangedTests | None) -> list[str]:
    return [test.node_id or test.title for test in some.tests[:MAX_OTHERS]] if some else []


def _not_run(execution: ExecutionStatus) -> Iterator[str]:
    progress = execution.progress
    if progress.tests_not_run:
        yield f"\n### Did not run\n\n{stopped_early(progress.tests_not_run, progress.tests_expected)}\n\n"
    for shard in execution.shard_results:
        if shard.not_run_reason:
            yield f"Shard {_inline(shard.shard_id)}: {_inline(shard.not_run_reason)}\n\n"
        running = dict.fromkeys(test.node_id for test in shard.in_flight)
        for name in list(dict.fromkeys([*running, *shard.not_run_tests]))[:MAX_OTHERS]:
            yield f"- {_inline(name)}{' (was running)' if name in running else ''}\n"


def _list(heading: str, rows: list[str]) -> Iterator[tuple[str, ...]]:
    if rows:
        yield (f"\n### {heading}\n\n",)
        for row in rows:
            yield (row,)


def _failure(test: Mapping[str, Any], length: int, since: str) -> tuple[str, ...]:
    """Return a failed test with the end of its traceback, which can be unfolded; then without it."""
    row = _row(test, since)
    traceback = text(test, "longrepr").strip()
    if len(traceback) > length:
        traceback = f"…\n{traceback[-length:]}"
    if not traceback:
        return (row,)
    longest = max((len(found) for found in re.findall("`+", traceback)), default=0)
    fence = "`" * max(3, longest + 1)
    summary = f"{_html(_plain_name(test))}{_note(test, since)}: {_html(first_line(text(test, 'error')))}"
    block = f"{fence}text\n{traceback}\n{fence}"
    return f"<details><summary>{summary}</summary>\n\n{block}\n\n</details>\n\n", row


def _row(test: Mapping[str, Any], since: str = "") -> str:
    error = first_line(text(test, "error"))
    return f"- {_name(test)}{_note(test, since)}{': ' if error else ''}{_inline(error)}\n"


def _note(test: Mapping[str, Any], since: str) -> str:
    """Return what follows the name of a failed test, in parentheses."""
    notes = [note for note in (since, QUARANTINED if is_quarantined(test) else "") if note]
    return f" ({', '.join(notes)})" if notes else ""


def _name(test: Mapping[str, Any]) -> str:
    return _inline(_plain_name(test))


def _plain_name(test: Mapping[str, Any]) -> str:
    return shorten(text(test, "nodeId") or title_of(test), 500)


def _inline(value: str) -> str:
    """Return a text on one line in which Markdown has no meaning, and no person or issue is mentioned."""
    return MENTION.sub(r"\g<0>&#8203;", SPECIAL.sub(r"\\\1", " ".join(value.split())))


def _html(value: str) -> str:
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MENTION.sub(r"\g<0>&#8203;", " ".join(value.split()))


def _url(value: str) -> str:
    return re.sub(r"[\s<>]", "", value)
