"""What a session leaves in GitHub Actions: a job summary, and annotations of the failed tests.

Loaded in GitHub Actions only. The failed tests are read from the journal at the end of the session, where
every value is masked: while tests run, nothing is kept in memory for this.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pytest_tms.journal.lines import TESTED
from pytest_tms.plugin.session.summary import Summary
from pytest_tms.text import first_line
from pytest_tms.wire.executions import (
    Counts,
    ExecutionStatus,
    Links,
    Progress,
    ReportedCounts,
    ShardResult,
    TestInFlight,
)

SUMMARY_BYTES = 1 << 20
"""Bytes of a job summary; GitHub drops a longer one as a whole."""
MIN_SUMMARY_BYTES = 1000
"""Bytes below which a summary is not worth writing."""
MAX_ANNOTATIONS = 10
"""Annotations of one kind that GitHub shows of a step."""
MAX_TESTS = 1000
"""Failed tests that are kept for the summary, and flaky ones."""
MAX_TEXT = 8000
"""Characters of a traceback that are kept; its end."""
CRASH = re.compile(r"^(?P<path>[^\s:][^:\n]*):(?P<line>[0-9]+): ", re.MULTILINE)
"""A line of a traceback that names a file and a line, as pytest writes it."""
STATUSES = ("cancelled", "error", "failed", "completed")
"""Statuses of shards; the first one that a session has is its own."""


class GitHubActions:
    """The output of one session for GitHub Actions, from the environment at its start."""

    def __init__(self, environ: Mapping[str, str], *, root: Path, folder: Path, annotate: bool) -> None:
        """Paths of tests are relative to ``root``, those in tracebacks to ``folder``."""
        self._summary_file = environ.get("GITHUB_STEP_SUMMARY", "")
        self._workspace = environ.get("GITHUB_WORKSPACE", "") or str(root)
        self._root = root
        self._folder = folder
        self._annotate = annotate
        self._tests: list[dict[str, Any]] = []

    def read_failures(self, lines: Iterable[bytes]) -> None:
        """Keep the failed and the flaky tests of a journal, before whoever delivers it deletes it."""
        self._tests = failed_tests(lines)

    def annotations(self) -> list[str]:
        """Return a workflow command for each of the first failed tests, if they are asked for."""
        if not self._annotate:
            return []
        failed = [test for test in self._tests if test["status"] == "failed"]
        return [self._annotation(test) for test in failed[:MAX_ANNOTATIONS]]

    def write_summary(self, summary: Summary, *, suite: str, environment: str) -> str:
        """Append to the job summary; return why that is not possible, else an empty text."""
        if not self._summary_file:
            return ""
        from pytest_tms.exports.markdown import write_markdown

        path = Path(self._summary_file)
        try:
            size = path.stat().st_size if path.exists() else 0
            room = SUMMARY_BYTES - size - 1
            if room < MIN_SUMMARY_BYTES:
                return f"the job summary has no room left: {size:,} of {SUMMARY_BYTES:,} bytes are used"
            status = session_status(summary, suite=suite, environment=environment)
            content = b"".join(write_markdown(status, self._tests, changes=summary.changes, limit=room))
            with path.open("ab") as file:
                file.write((b"\n" if size else b"") + content)
        except OSError as error:
            return f"the job summary cannot be written: {error.strerror}, {path}"
        return ""

    def _annotation(self, test: Mapping[str, Any]) -> str:
        properties = {"title": test.get("nodeId") or test.get("title") or ""}
        if test.get("file"):
            file = os.path.normpath(self._root / test["file"])
            properties["file"] = self._in_repository(file) or test["file"]
            lines = [
                found["line"]
                for found in CRASH.finditer(test.get("longrepr") or "")
                if os.path.normpath(self._folder / found["path"]) == file
            ]
            if lines:
                properties["line"] = lines[-1]
        message = first_line(test.get("error") or "") or "The test failed."
        return workflow_command("error", message, properties)

    def _in_repository(self, file: str) -> str:
        """Return a path relative to the repository, as annotations need it; empty if it is not in it."""
        try:
            relative = os.path.relpath(file, self._workspace)
        except ValueError:  # on another drive of Windows
            return ""
        return "" if relative.startswith("..") else relative.replace(os.sep, "/")


def workflow_command(name: str, message: str, properties: Mapping[str, str]) -> str:
    """Return a workflow command of GitHub Actions; no text in it can end it or begin another one."""
    written = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in sorted(properties.items()))
    return f"::{name} {written}::{_escaped(message)}"


def _escaped(value: str, others: str = "") -> str:
    value = "".join(each if each.isprintable() or each in "\r\n" else " " for each in value)
    for character in f"%\r\n{others}":
        value = value.replace(character, f"%{ord(character):02X}")
    return value


def failed_tests(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return the tests of a journal that failed or are flaky, in order; the last result of each counts."""
    kept: dict[tuple[str, int], dict[str, Any]] = {}
    room = {"failed": MAX_TESTS, "passed": MAX_TESTS}
    for line in lines:
        if not line.startswith(TESTED) or not (
            b'"status":"failed"' in line or b'"retries":' in line or b'"again":true' in line
        ):
            continue
        try:
            found = msgspec.json.decode(line)
            key, test = (found["shard"], found["id"]), found["test"]
            earlier = kept.pop(key, None)
            if earlier is not None:
                room[earlier["status"]] += 1
            status = test["status"]
            if (status == "failed" or (status == "passed" and test.get("retries"))) and room[status]:
                room[status] -= 1
                kept[key] = _shortened(test)
        except (msgspec.MsgspecError, KeyError, TypeError):
            continue
    return list(kept.values())


def _shortened(test: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the summary and the annotations show of a test."""
    names = ("title", "nodeId", "file", "status", "retries", "error", "quarantined")
    found = {name: test[name] for name in names if name in test}
    if isinstance(longrepr := test.get("longrepr"), str):
        found["longrepr"] = longrepr[-MAX_TEXT:]
    return found


def session_status(summary: Summary, *, suite: str, environment: str) -> ExecutionStatus:
    """Return the part of this session in its execution, as the Markdown writer takes it."""
    statuses = [status for _, status, _ in summary.shards]
    missing = []
    if summary.not_run and summary.shards:
        shard = summary.shards[0][0]
        missing.append(
            ShardResult(
                shard_id=shard,
                not_run_reason=summary.not_run_reason,
                not_run_tests=[*summary.running, *summary.not_started],
                in_flight=[TestInFlight(node_id=name, shard_id=shard) for name in summary.running],
            )
        )
    return ExecutionStatus(
        execution_id="",
        status=next((status for status in STATUSES if status in statuses), "completed"),
        test_suite=suite,
        environment=environment,
        progress=Progress(tests_expected=summary.collected, tests_not_run=summary.not_run),
        results=_total(counts for _, _, counts in summary.shards),
        shard_results=missing,
        reason=f"Not everything was reported: {summary.problem}" if summary.problem else None,
        artifacts=Links(report_url=summary.report_url),
    )


def _total(counts: Iterable[ReportedCounts]) -> Counts:
    names = ("total", "passed", "failed", "skipped", "flaky")
    all_counts = list(counts)
    return Counts(**{name: sum(getattr(each, name) or 0 for each in all_counts) for name in names})
