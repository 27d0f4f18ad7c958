"""Markdown: a summary for CI systems, with the failing tests first, within a limit of bytes."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_tms.exports.fields import is_quarantined, number, retries_of, status_of, text, title_of
from pytest_tms.text import first_line, shorten, stopped_early
from pytest_tms.wire.executions import ExecutionStatus

GITHUB_LIMIT = 1 << 20
"""Bytes of the summary of a step in GitHub Actions; a longer one is dropped."""
MAX_FAILURES = 1000
"""Failing tests that are listed."""
MAX_OTHERS = 200
"""Flaky, skipped and slow tests that are listed of each kind."""
MAX_TRACEBACK = 4000
"""Characters of a traceback; its end is kept."""
NOTE_BYTES = 200
"""Bytes that are reserved for the note about what the limit leaves out."""
QUARANTINED = " (in quarantine)"
"""What follows the name of a failed test that did not fail the run."""
SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&@$])")


def write_markdown(
    execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]], *, limit: int = GITHUB_LIMIT
) -> Iterator[bytes]:
    """Yield a summary of at most ``limit`` bytes: totals, tests that failed, did not run, are flaky, skipped.

    Parts that do not fit are left out as a whole, and a note says how many.
    """
    remaining = limit - NOTE_BYTES
    left_out = 0
    for part in _parts(execution, tests):
        encoded = part.encode("utf-8", "backslashreplace")
        if len(encoded) > remaining:
            left_out += 1
            continue
        remaining -= len(encoded)
        yield encoded
    if left_out:
        note = f"\n_{left_out} more entries do not fit here: see the report._\n".encode()
        if len(note) <= remaining + NOTE_BYTES:
            yield note


def _parts(execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    counts = execution.results
    suite = _inline(execution.test_suite or "Tests")
    yield f"## {suite} on {_inline(execution.environment)}: {execution.status}\n\n"
    yield (
        f"{counts.total:,} tests: {counts.failed:,} failed, {counts.passed:,} passed, "
        f"{counts.skipped:,} skipped, {counts.flaky:,} flaky\n"
    )
    if execution.artifacts.report_url:
        yield f"\n[Report](<{_url(execution.artifacts.report_url)}>)\n"
    if execution.reason:
        yield f"\n{_inline(execution.reason)}\n"
    failures: list[str] = []
    flaky: list[str] = []
    skipped: list[str] = []
    slow: list[tuple[int, int, str]] = []
    failed = 0
    for index, test in enumerate(tests):
        status, duration = status_of(test), number(test, "duration") or 0
        if status == "failed":
            failed += 1
            if len(failures) < MAX_FAILURES:
                failures.append(_failure(test))
        elif status == "skipped" and len(skipped) < MAX_OTHERS:
            skipped.append(_row(test))
        elif status == "passed" and retries_of(test) and len(flaky) < MAX_OTHERS:
            flaky.append(_row(test))
        if duration > 0:
            heapq.heappush(slow, (duration, -index, _name(test)))
            if len(slow) > 10:
                heapq.heappop(slow)
    failed = max(failed, counts.failed if failures else 0)  # the caller may pass only the first ones
    if failures:
        yield f"\n### {failed:,} failed\n\n"
        yield from failures
        if failed > len(failures):
            yield f"\n{failed - len(failures):,} more tests failed.\n"
    yield from _not_run(execution)
    yield from _list("Flaky", flaky)
    yield from _list("Skipped", skipped)
    yield from _list(
        "Slowest", [f"- {name}: {duration / 1000:.2f} s\n" for duration, _, name in sorted(slow)[::-1]]
    )


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


def _list(heading: str, rows: list[str]) -> Iterator[str]:
    if rows:
        yield f"\n### {heading}\n\n"
        yield from rows


def _failure(test: Mapping[str, Any]) -> str:
    """Return a failing test with the end of its traceback, which can be unfolded."""
    traceback = text(test, "longrepr").strip()
    if len(traceback) > MAX_TRACEBACK:
        traceback = f"…\n{traceback[-MAX_TRACEBACK:]}"
    if not traceback:
        return _row(test)
    longest = max((len(found) for found in re.findall("`+", traceback)), default=0)
    fence = "`" * max(3, longest + 1)
    note = QUARANTINED if is_quarantined(test) else ""
    summary = f"{_html(_plain_name(test))}{note}: {_html(first_line(text(test, 'error')))}"
    block = f"{fence}text\n{traceback}\n{fence}"
    return f"<details><summary>{summary}</summary>\n\n{block}\n\n</details>\n\n"


def _row(test: Mapping[str, Any]) -> str:
    error = first_line(text(test, "error"))
    note = QUARANTINED if is_quarantined(test) else ""
    return f"- {_name(test)}{note}{': ' if error else ''}{_inline(error)}\n"


def _name(test: Mapping[str, Any]) -> str:
    return _inline(_plain_name(test))


def _plain_name(test: Mapping[str, Any]) -> str:
    return shorten(text(test, "nodeId") or title_of(test), 500)


def _inline(value: str) -> str:
    """Return a text on one line in which Markdown has no meaning."""
    return SPECIAL.sub(r"\\\1", " ".join(value.split()))


def _html(value: str) -> str:
    return " ".join(value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _url(value: str) -> str:
    return re.sub(r"[\s<>]", "", value)
