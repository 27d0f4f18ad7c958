"""CTRF, the Common Test Report Format (https://ctrf.io), read as results.

The document is read incrementally: memory holds one test at a time, and the summary and the environment,
which may come before or after the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_tms import wire
from pytest_tms.cli.formats import attachments, reason
from pytest_tms.cli.formats.fields import (
    MAX_ATTEMPTS,
    MAX_ITEMS,
    failure_fields,
    items,
    mapping,
    milliseconds_field,
    objects,
    property_values,
    tag,
    text_field,
    time_field,
    title_field,
)
from pytest_tms.cli.formats.json_reader import JsonReader
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.report_file import ReportFile
from pytest_tms.cli.formats.status_words import outcome_of_words

RUN_PROPERTIES = ("tool", "environment", "extra")
"""Objects that describe the whole run."""
NOT_PROPERTIES = {
    *("name", "status", "rawStatus", "duration", "start", "stop", "suite", "filePath", "message", "trace"),
    *("tags", "labels", "retries", "retryAttempts", "flaky", "stdout", "stderr", "threadId", "parameters"),
    *("steps", "attachments", "screenshot"),
}
"""Members of a test that are not properties of its result. Most screenshots are content, not a path."""


class CtrfReport:
    """One file; see ``Report``. Totals that exceed the tests in it end the shard as error."""

    def __init__(self, source: ReportFile, text: Iterator[str], node_ids: NodeIds) -> None:
        self.status: wire.SubmittedStatus | None = None
        self.problems: list[str] = []
        self.properties: dict[str, dict[str, Any]] = {}
        self.artifacts: list[wire.Artifact] = []
        self._source = source
        self._reader = JsonReader(text, skipped_lines=source.skipped_lines)
        self._node_ids = node_ids
        self._summary: dict[str, Any] = {}
        self._tests = self._failed = self._malformed = 0
        self._has_tests = False

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Yield each test in the order of the file."""
        try:
            yield from self._document()
        except (OSError, ValueError) as error:
            kept = f"; {self._tests} tests before it are kept" if self._tests else ""
            problem = reason(error)
            if not problem.startswith("line "):
                problem = f"line {self._reader.line}: {problem}"
            self._add_problem(f"{problem}{kept}: write the report again and submit it again")
        else:
            self._check()
        self._reader = JsonReader(iter(()))

    def _document(self) -> Iterator[wire.TestResult]:
        for key in self._reader.members():
            if key == "results" and self._reader.peek() == "{":
                for member in self._reader.members():
                    yield from self._member(member)
            else:
                self._reader.value()
        self._reader.end()

    def _member(self, name: str) -> Iterator[wire.TestResult]:
        """Read a member of ``results``."""
        if name == "tests" and self._reader.peek() == "[":
            self._has_tests = True
            for _ in self._reader.elements():
                test = self._reader.value()
                if isinstance(test, dict):
                    yield self._result(test)
                else:
                    self._malformed += 1
        elif name == "summary":
            self._summary = mapping(self._reader.value())
        elif name in RUN_PROPERTIES:
            if values := property_values(mapping(self._reader.value())):
                self.properties[name] = values
        else:
            self._reader.value()

    def _check(self) -> None:
        """Compare the totals with the tests: if tests are missing, the shard must not pass."""
        tests, failed = (milliseconds_field(self._summary.get(name)) or 0 for name in ("tests", "failed"))
        if self._malformed:
            self._add_problem(f"{self._malformed} of its tests are not objects: write the report again")
        if not self._has_tests:
            self._add_problem("it has no results.tests: submit a CTRF report")
        elif failed > self._failed:
            self._add_problem(
                f"its summary says that {failed} failed, and {self._failed} failed tests are in it: "
                "see in the runner's output which tests it left out"
            )
        elif tests > self._tests:
            self._add_problem(
                f"its summary says {tests} tests, and {self._tests} are in it: "
                "see in the runner's output which tests it left out"
            )

    def _add_problem(self, sentence: str) -> None:
        self.status = "error"
        self.problems.append(f"{self._source.name}, {sentence}")

    def _result(self, test: dict[str, Any]) -> wire.TestResult:
        status, outcome = _outcome(test)
        self._tests += 1
        self._failed += status == "failed"
        file = text_field(test.get("filePath"))
        title = _title(test, file)
        browser = title_field(test.get("browser"))
        node_id = f"{file}::{title}" if file else title
        candidates = [node_id, f"{node_id} [{browser}]"] if browser else [node_id]
        _, node_id = self._node_ids.take(candidates, browser)
        error, longrepr = failure_fields(test.get("message"), test.get("trace"))
        if error is None and status == "failed":
            error = f"status={test.get('status')!r}"[:200] if outcome == "unknown" else None
        attempts = _attempts(test, status, outcome, self._source.folder)
        retries = milliseconds_field(test.get("retries")) or max(0, len(attempts) - 1)
        if test.get("flaky") is True and status == "passed":
            retries = max(1, retries)
        return wire.TestResult(
            title=title,
            file=file,
            status=status,
            duration=milliseconds_field(test.get("duration")),
            error=error,
            retries=retries or None,
            tags=list(dict.fromkeys(tag(each) for each in map(text_field, items(test.get("tags"))) if each))
            or None,
            node_id=node_id,
            outcome=outcome,
            started_at=time_field(test.get("start")),
            worker=text_field(test.get("threadId")),
            longrepr=longrepr,
            stdout=_lines(test.get("stdout")),
            stderr=_lines(test.get("stderr")),
            parameters=property_values(mapping(test.get("parameters"))) or None,
            properties=_properties(test, outcome) or None,
            artifacts=_artifacts(test, self._source.folder),
            attempts=attempts or None,
            subtests=_steps(test) or None,
        )


def _outcome(test: dict[str, Any]) -> tuple[wire.TestStatus, str]:
    """Return status and outcome. A status that is missing, unknown or ``other`` is never passed."""
    status, raw = (title_field(test.get(name)) for name in ("status", "rawStatus"))
    word = status.lower()
    if word == "passed":
        return "passed", "passed"
    if word in ("skipped", "pending"):
        return "skipped", word
    found = outcome_of_words([raw]) if word == "failed" else outcome_of_words([raw, status])
    if word != "failed" and found is not None and found[0] == "skipped":
        return "skipped", "skipped"
    if found is not None and found[0] == "failed":
        return "failed", found[1]
    return "failed", "failed" if word == "failed" else (raw or status or "unknown").lower()[:100]


def _title(test: dict[str, Any], file: str | None) -> str:
    """Return the name after the names of the suites; the file is not one of them."""
    name = title_field(test.get("name")) or "(a test without a name)"
    suite = test.get("suite")
    suites = suite.split(" > ") if isinstance(suite, str) else items(suite)
    names = [each for each in map(title_field, suites) if each and each not in (file, name)]
    return title_field("::".join([*names, name]))


def _attempts(
    test: dict[str, Any], status: wire.TestStatus, outcome: str, folder: Path
) -> list[wire.Attempt]:
    """Return the attempts, the test's own last; a report lists either all of them or those before it."""
    found = objects(test.get("retryAttempts"))
    attempts = []
    for each in found[-MAX_ATTEMPTS:]:
        error, longrepr = failure_fields(each.get("message"), each.get("trace"))
        attempts.append(
            wire.Attempt(
                outcome=_outcome(each)[1],
                duration=milliseconds_field(each.get("duration")),
                error=error,
                longrepr=longrepr,
                started_at=time_field(each.get("start")),
                artifacts=_artifacts(each, folder),
                stdout=_lines(each.get("stdout")),
                stderr=_lines(each.get("stderr")),
            )
        )
    retries = milliseconds_field(test.get("retries")) or 0
    if found and (len(found) <= retries or _outcome(found[-1])[0] != status):
        attempts.append(wire.Attempt(outcome=outcome, duration=milliseconds_field(test.get("duration"))))
    return attempts


def _steps(test: dict[str, Any]) -> list[wire.Subtest]:
    return [
        wire.Subtest(
            title=title_field(each.get("name")) or "(a step without a name)", status=_outcome(each)[0]
        )
        for each in objects(test.get("steps"))
    ]


def _artifacts(test: dict[str, Any], folder: Path) -> list[wire.Artifact] | None:
    found = []
    for each in objects(test.get("attachments")):
        name, content_type = (title_field(each.get(key)) for key in ("name", "contentType"))
        if path := text_field(each.get("path")):
            found.append(attachments.artifact(path, folder, name=name, content_type=content_type))
    screenshot = test.get("screenshot")
    if isinstance(screenshot, str) and attachments.is_attachment("screenshot", screenshot):
        found.append(attachments.artifact(screenshot, folder))
    return attachments.distinct(found) or None


def _lines(value: object) -> str | None:
    return text_field("\n".join(str(each) for each in items(value) if isinstance(each, str)))


def _properties(test: dict[str, Any], outcome: str) -> dict[str, Any]:
    """Return the labels, and the members that have no field of a result."""
    others = {name: test[name] for name in list(test)[:MAX_ITEMS] if name not in NOT_PROPERTIES}
    for name in ("labels", "parameters"):
        if not isinstance(test.get(name), dict):
            others[name] = test.get(name)
    if title_field(test.get("rawStatus")) not in ("", outcome, test.get("status")):
        others["rawStatus"] = test["rawStatus"]
    return property_values({**others, **mapping(test.get("labels"))})
