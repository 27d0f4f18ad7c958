"""HTML: one file that opens without a server, a script or a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from pytest_tms.exports.fields import (
    in_chunks,
    is_quarantined,
    number,
    objects,
    retries_of,
    status_of,
    text,
    texts,
    title_of,
)
from pytest_tms.text import shorten, stopped_early
from pytest_tms.wire.executions import ExecutionStatus

MAX_TEXT = 100_000
"""Characters of a traceback and of each output; the beginning and the end are kept."""
STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --muted: #59636e;
  --passed: #1a7f37; --failed: #c4252f; --skipped: #8a5a00 }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --muted: #9198a1;
  --passed: #4ac26b; --failed: #ff7b72; --skipped: #d9a53b } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: anywhere }
h1 { font-size: 1.4rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem }
dt, .muted { color: var(--muted) }
dd { margin: 0 }
details, .test { border-top: 1px solid var(--line); padding: .35rem 0 }
summary { cursor: pointer }
pre { overflow: auto; padding: .6rem; border: 1px solid var(--line); border-radius: .4rem;
  white-space: pre-wrap; font-size: 13px }
b { display: inline-block; min-width: 4.5rem }
b.passed { color: var(--passed) }
b.failed { color: var(--failed) }
b.skipped { color: var(--skipped) }
"""
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'"
"""The content security policy: nothing is loaded or executed, and only this style sheet applies."""


def write_html(execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a page with the totals and every test, in the order of ``tests``; a failed test is unfolded.

    Texts of a test can be unfolded without a script. Pass the failed tests first to list them first.
    """
    return in_chunks(_page(execution, tests))


def _page(execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    counts, progress = execution.results, execution.progress
    heading = f"{execution.test_suite or 'Tests'} on {execution.environment}: {execution.status}"
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(heading)}</title>\n<style>{STYLE}</style></head>\n<body><main>\n"
        f"<h1>{escape(heading)}</h1>\n"
        f"<p><strong>{counts.total:,} tests</strong>: {counts.failed:,} failed, {counts.passed:,} passed, "
        f"{counts.skipped:,} skipped, {counts.flaky:,} flaky</p>\n"
    )
    if execution.reason:
        yield f"<p>{escape(execution.reason)}</p>\n"
    if progress.tests_not_run:
        yield f"<p>{escape(stopped_early(progress.tests_not_run, progress.tests_expected))}</p>\n"
    facts: dict[str, str] = {
        "Execution": execution.execution_id,
        "Created": execution.created_at,
        "Started": progress.started_at or "",
        "Completed": progress.completed_at or "",
        "Duration": _seconds(progress.duration),
        "Provider": execution.provider,
        "Branch": text(execution.metadata, "branch"),
        "Commit": text(execution.metadata, "commit"),
    }
    rows = [f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value]
    yield f"<dl>{''.join(rows)}</dl>\n<h2>Tests</h2>\n"
    for test in tests:
        yield _test(test)
    for shard in execution.shard_results:
        if shard.not_run_tests:
            names = "".join(f"<li>{escape(name)}</li>" for name in shard.not_run_tests)
            yield f"<h2>Did not run: shard {escape(shard.shard_id)}</h2><ul>{names}</ul>\n"
    yield "</main></body></html>\n"


def _test(test: Mapping[str, Any]) -> str:
    status, retries = status_of(test), retries_of(test)
    notes = [
        _seconds(number(test, "duration")),
        f"{retries} retries" if retries else "",
        "in quarantine" if is_quarantined(test) else "",
        *texts(test, "tags"),
    ]
    head = (
        f'<b class="{status}">{status}</b> {escape(text(test, "nodeId") or title_of(test))} '
        f'<span class="muted">{escape(" ".join(note for note in notes if note))}</span>'
    )
    blocks = [
        ("Error", text(test, "error")),
        ("Traceback", text(test, "longrepr")),
        ("Standard output", text(test, "stdout")),
        ("Standard error", text(test, "stderr")),
        ("Log", text(test, "log")),
    ]
    for count, attempt in enumerate(objects(test, "attempts"), 1):
        message = "\n".join(part for part in (text(attempt, "error"), text(attempt, "longrepr")) if part)
        blocks.append((f"Attempt {count}: {text(attempt, 'outcome')}", message or "-"))
    for part in objects(test, "subtests"):
        if status_of(part) != "passed":
            message = text(part, "longrepr") or text(part, "error") or "-"
            blocks.append((f"{status_of(part)}: {title_of(part)}", message))
    if paths := [text(each, "path") for each in objects(test, "artifacts")]:
        blocks.append(("Files", "\n".join(paths)))
    body = "".join(
        f"<p>{escape(name)}</p><pre>{escape(shorten(content, MAX_TEXT))}</pre>"
        for name, content in blocks
        if content
    )
    if not body:
        return f'<div class="test">{head}</div>\n'
    return f"<details{' open' if status == 'failed' else ''}><summary>{head}</summary>{body}</details>\n"


def _seconds(milliseconds: int | None) -> str:
    return "" if milliseconds is None else f"{milliseconds / 1000:.2f} s"
