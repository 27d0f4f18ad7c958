"""Allure results, a folder of ``*-result.json`` and ``*-container.json`` files, read as results.

Each file is read twice: first to group the attempts of a test and to find its fixtures, then to make its
result. Memory holds one test at a time, and the identifiers and fixtures of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_tms import wire
from pytest_tms.cli.formats import MAX_PROBLEMS, attachments, reason
from pytest_tms.cli.formats.fields import (
    MAX_ATTEMPTS,
    MAX_ITEMS,
    duration_between,
    every,
    failure_fields,
    mapping,
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

RESULT = "-result.json"
CONTAINER = "-container.json"
"""How the names of the files end."""
MAX_STEP_DEPTH = 20
"""Steps within each other that are kept."""
STATUSES: dict[str, tuple[wire.TestStatus, str]] = {
    "passed": ("passed", "passed"),
    "failed": ("failed", "failed"),
    "broken": ("failed", "error"),
    "skipped": ("skipped", "skipped"),
}
"""Status and outcome. A status that is missing or another word is a failure."""
SUITES = ("parentSuite", "suite", "subSuite")
"""Labels with the names of the suites, the outermost first."""
NOT_PROPERTIES = {
    *("name", "status", "statusDetails", "stage", "start", "stop", "labels", "parameters", "steps"),
    *("attachments", "uuid", "titlePath"),
}
"""Members of a result that are not properties."""


@dataclass(frozen=True)
class Fixture:
    """A setup or teardown in a container: its error and traceback, if it failed, and its files."""

    error: str | None
    longrepr: str | None
    artifacts: list[wire.Artifact]


@dataclass
class AttemptFile:
    """One attempt of a test."""

    source: ReportFile
    start: float
    fixtures: list[Fixture] = field(default_factory=list)


class AllureReport:
    """The results of one folder, or one result; see ``Report``.

    Results of the same ``historyId`` are attempts of one test: the one that started last is its verdict.
    """

    def __init__(
        self,
        sources: Sequence[ReportFile],
        node_ids: NodeIds,
        *,
        text: Iterator[str] | None = None,
        is_whole_folder: bool = False,
    ) -> None:
        """Read ``sources``, or ``text`` if that is the content of the only one.

        ``is_whole_folder`` says that they are all files of a folder, so that results that a container names
        and that are not there are missing.
        """
        self.status: wire.SubmittedStatus | None = None
        self.problems: list[str] = []
        self.properties: dict[str, dict[str, Any]] = {}
        self.artifacts: list[wire.Artifact] = []
        self._sources = sources
        self._node_ids = node_ids
        self._text = text
        self._is_whole_folder = is_whole_folder
        self._unlisted = 0

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Yield each test, in the order of the files."""
        if self._text is not None:
            document = self._read(self._sources[0], self._text)
            if document is not None:
                yield self._result([(AttemptFile(self._sources[0], 0), document)], 0)
            return
        for files in self._group():
            attempts = []
            for file in files[-MAX_ATTEMPTS:]:
                if (document := self._read(file.source, file.source.text())) is not None:
                    attempts.append((file, document))
            if attempts:
                yield self._result(attempts, len(files) - 1)
        if self._unlisted:
            self.problems.append(f"{self._unlisted} more files of {self._sources[0].folder} cannot be read")

    # Files --------------------------------------------------------------------------------------

    def _group(self) -> list[list[AttemptFile]]:
        """Return the files of each test, the newest last."""
        tests: dict[str, list[AttemptFile]] = {}
        by_uuid: dict[str, AttemptFile] = {}
        containers: dict[str, tuple[list[str], list[Fixture]]] = {}
        for source in self._sources:
            document = self._read(source, source.text())
            if document is None:
                continue
            uuid = text_field(document.get("uuid")) or source.name
            if source.name.endswith(CONTAINER):
                names = [each for each in every(document.get("children")) if isinstance(each, str)]
                containers[uuid] = (names, _fixtures(document, source.folder))
                continue
            start = document.get("start")
            file = AttemptFile(source, start if isinstance(start, (int, float)) else 0)
            by_uuid[uuid] = file
            tests.setdefault(text_field(document.get("historyId")) or f"\n{source.name}", []).append(file)
        missing = set()
        for names, fixtures in containers.values():
            for name in names:
                if name in by_uuid:
                    by_uuid[name].fixtures += fixtures
                elif name not in containers:
                    missing.add(name)
        if missing and self._is_whole_folder:
            self._add_problem(
                f"{self._sources[0].folder}: its containers name {len(missing)} tests without a result file: "
                "see in the runner's output which tests did not end"
            )
        return [sorted(files, key=lambda file: file.start) for files in tests.values()]

    def _read(self, source: ReportFile, text: Iterator[str]) -> dict[str, Any] | None:
        """Return the object in a file; None if it cannot be read, which is a problem."""
        try:
            return JsonReader(text).document()
        except (OSError, ValueError) as error:
            self._add_problem(f"{source.name}: {reason(error)}: write the results again")
            return None

    def _add_problem(self, sentence: str) -> None:
        self.status = "error"
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(sentence)
        else:
            self._unlisted += 1

    # Results ------------------------------------------------------------------------------------

    def _result(self, attempts: list[tuple[AttemptFile, dict[str, Any]]], retries: int) -> wire.TestResult:
        """Return the result of a test; ``attempts`` are the newest of ``retries`` + 1."""
        file, document = attempts[-1]
        attempt = _attempt(file, document)
        status, outcome = _outcome(document)
        labels = _labels(document)
        title = _title(document, labels)
        parameters = _parameters(document)
        _, node_id = self._node_ids.take(_node_ids(document, title), "")
        return wire.TestResult(
            title=title,
            status=status,
            duration=attempt.duration,
            error=attempt.error,
            retries=retries or None,
            tags=list(dict.fromkeys(map(tag, labels.pop("tag", [])))) or None,
            node_id=node_id,
            outcome=outcome,
            started_at=attempt.started_at,
            worker=next(iter(labels.pop("thread", [])), None),
            owner=next(iter(labels.pop("owner", [])), None),
            longrepr=attempt.longrepr,
            parameters=parameters or None,
            properties=_properties(document, labels) or None,
            artifacts=attempt.artifacts,
            attempts=[_attempt(*each) for each in attempts] if retries else None,
            subtests=list(_steps(document)) or None,
        )


def _outcome(item: dict[str, Any]) -> tuple[wire.TestStatus, str]:
    """Return status and outcome of a test or a step."""
    word = title_field(item.get("status")).lower()
    status, outcome = STATUSES.get(word, ("failed", word[:100] or "unknown"))
    message = mapping(item.get("statusDetails")).get("message")
    if status == "skipped" and isinstance(message, str) and message.startswith("XFAIL"):
        outcome = "xfailed"
    return status, outcome


def _attempt(file: AttemptFile, document: dict[str, Any]) -> wire.Attempt:
    """Return one attempt, with the files of its steps and fixtures, and the failures of its fixtures."""
    status, outcome = _outcome(document)
    details = mapping(document.get("statusDetails"))
    error, longrepr = failure_fields(details.get("message"), details.get("trace"))
    if status == "failed":
        failures = [fixture for fixture in file.fixtures if fixture.error]
        error = error or next((fixture.error for fixture in failures), None)
        longrepr = longrepr or next((fixture.longrepr for fixture in failures), None)
        if error is None and outcome not in ("failed", "error"):
            error = f"the status of the result is {outcome}: the test may not have ended"
    found = _artifacts(document, file.source.folder)
    found += [artifact for fixture in file.fixtures for artifact in fixture.artifacts]
    return wire.Attempt(
        outcome=outcome,
        duration=duration_between(document.get("start"), document.get("stop")),
        error=error,
        longrepr=longrepr,
        started_at=time_field(document.get("start")),
        artifacts=attachments.distinct(found) or None,
    )


def _fixtures(container: dict[str, Any], folder: Path) -> list[Fixture]:
    """Return the setups and teardowns that failed or left files."""
    found = []
    for each in objects(container.get("befores")) + objects(container.get("afters")):
        details = mapping(each.get("statusDetails"))
        error, longrepr = failure_fields(details.get("message"), details.get("trace"))
        if each.get("status") not in ("failed", "broken"):
            error = longrepr = None
        elif error is None:
            error = f"{title_field(each.get('name')) or 'a fixture'} failed"
        artifacts = _artifacts(each, folder)
        if error or artifacts:
            found.append(Fixture(error, longrepr, artifacts))
    return found


def _artifacts(item: dict[str, Any], folder: Path, depth: int = 0) -> list[wire.Artifact]:
    """Return the files of a test, step or fixture, and of the steps in it."""
    found = []
    for each in objects(item.get("attachments")):
        name, content_type = (title_field(each.get(key)) for key in ("name", "type"))
        if path := text_field(each.get("source")):
            found.append(attachments.artifact(path, folder, name=name, content_type=content_type))
    artifacts = attachments.distinct(found)
    if depth < MAX_STEP_DEPTH:
        for step in objects(item.get("steps")):
            artifacts += _artifacts(step, folder, depth + 1)
    return artifacts


def _steps(item: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[wire.Subtest]:
    """Yield the steps, each before the steps in it; a title has the names of the steps around it."""
    for each in objects(item.get("steps")):
        names = (*path, title_field(each.get("name")) or "(a step without a name)")
        details = mapping(each.get("statusDetails"))
        error, longrepr = failure_fields(details.get("message"), details.get("trace"))
        yield wire.Subtest(
            title=title_field(" / ".join(names)),
            status=_outcome(each)[0],
            duration=duration_between(each.get("start"), each.get("stop")),
            error=error,
            longrepr=longrepr,
        )
        if len(names) < MAX_STEP_DEPTH:
            yield from _steps(each, names)


def _labels(document: dict[str, Any]) -> dict[str, list[str]]:
    """Return the values of each label."""
    found: dict[str, list[str]] = {}
    for each in objects(document.get("labels")):
        name, value = title_field(each.get("name")), title_field(each.get("value"))
        if name and value and value not in found.setdefault(name, []):
            found[name].append(value)
    return found


def _title(document: dict[str, Any], labels: dict[str, list[str]]) -> str:
    """Return the name after the names of the suites."""
    name = title_field(document.get("name")) or title_field(document.get("fullName"))
    suites = [value for label in SUITES for value in labels.get(label, [])[:1]]
    return title_field("::".join([*suites, name or "(a test without a name)"]))


def _node_ids(document: dict[str, Any], title: str) -> list[str]:
    """Return the identities by which a test can be distinguished, the preferred one first.

    The full name is that of the function; its parameters, except the excluded ones, distinguish the cases.
    """
    full_name = title_field(document.get("fullName")) or title
    values = [
        f"{title_field(each.get('name'))}={title_field(each.get('value'))}"
        for each in objects(document.get("parameters"))
        if each.get("excluded") is not True and each.get("mode") not in ("hidden", "masked")
    ]
    cased = f"{full_name}[{', '.join(values)}]" if values else full_name
    return list(dict.fromkeys(title_field(each) for each in (cased, f"{cased}::{title}")))


def _parameters(document: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters without the hidden ones; the values of masked ones are not kept."""
    found = {}
    for each in objects(document.get("parameters")):
        if (name := title_field(each.get("name"))) and each.get("mode") != "hidden":
            found[name] = "********" if each.get("mode") == "masked" else each.get("value")
    return property_values(found)


def _properties(document: dict[str, Any], labels: dict[str, list[str]]) -> dict[str, Any]:
    """Return the labels, the details of the status, and the members that have no field of a result."""
    others = {name: document[name] for name in list(document)[:MAX_ITEMS] if name not in NOT_PROPERTIES}
    details = mapping(document.get("statusDetails"))
    flags = {name: details[name] for name in ("known", "muted", "flaky") if details.get(name)}
    single = {name: values[0] if len(values) == 1 else values for name, values in labels.items()}
    return property_values({**others, **flags, **single})
