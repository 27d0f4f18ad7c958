"""Collects the reports of a test until its result is complete: phases, attempts, subtests and files."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_tms.plugin.results.json_values import seconds
from pytest_tms.text import clean, text_of
from pytest_tms.wire.results import Artifact, SharedSetup, Subtest

FAILED_OUTCOMES = ("failed", "rerun", "retried")
"""The outcomes of a report whose phase failed; ``rerun`` and ``retried`` are those of retry plugins."""
KNOWN_OUTCOMES = (*FAILED_OUTCOMES, "passed", "skipped")
"""The outcomes that pytest and the retry plugins write; a hook may write any other."""
MAX_OUTCOME = 100
"""Characters of an outcome that are kept."""

Sections = list[tuple[str, str]]
"""Headings and texts, as in ``report.sections``."""


class Phase(msgspec.Struct):
    """One report, copied at once: retry plugins change a report after it was logged.

    ``duration`` is in seconds, None if the report has no valid one; ``start`` may be anything. ``failure`` is
    as ``FailureReader.read`` returns it.
    """

    when: str
    outcome: str
    duration: float | None
    start: Any
    longrepr: Any
    wasxfail: str | None
    failure: Any = None


def is_failure(phase: Phase) -> bool:
    """Return whether a phase failed, or ended in an outcome that pytest does not have.

    Not a property of the struct, which would keep all objects of the session in memory until the end.
    """
    return phase.outcome not in ("passed", "skipped")


class UnloggedFailure(msgspec.Struct, frozen=True):
    """A failure whose report was never logged, with the attributes of pytest's longrepr that are used."""

    message: str
    text: str

    @property
    def reprcrash(self) -> UnloggedFailure:
        """The object with the attribute ``message``, as pytest's longrepr has one."""
        return self

    def __str__(self) -> str:
        return self.text


class AttemptReports(msgspec.Struct):
    """One run through setup, call and teardown, with its subtests, and the shared fixtures that it set up."""

    phases: list[Phase] = []
    subtests: list[Subtest] = []
    artifacts: list[Artifact] = []
    sections: Sections = []
    setups: list[SharedSetup] = []


class OpenTest(msgspec.Struct):
    """A test whose result is not complete; ``attempts`` are the finished ones, all unsuccessful.

    ``seen`` are the report sections of finished attempts: pytest repeats them in the reports that follow.
    """

    location: Any = None
    current: AttemptReports = msgspec.field(default_factory=AttemptReports)
    attempts: list[AttemptReports] = []
    extra: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    seen: Sections = []
    latest: Sections = []

    def add_attached(self, attached: dict[str, Any]) -> None:
        """Add the attachments of the current attempt."""
        self.attach(attached.get("artifacts", []))
        self.properties.update(attached.get("properties", {}))

    def attach(self, files: list[dict[str, Any]]) -> None:
        """Keep the files that no earlier attempt had; properties repeat those of earlier attempts."""
        known = {file.path for attempt in (*self.attempts, self.current) for file in attempt.artifacts}
        self.current.artifacts += [Artifact(**file) for file in files if file["path"] not in known]

    def set_sections(self, sections: Sections) -> None:
        """Keep the sections of the latest report, without those of earlier attempts."""
        if sections:
            self.latest = sections
            self.current.sections = self.new_sections(sections)

    def new_sections(self, sections: Sections) -> Sections:
        """Return the sections that no earlier attempt had."""
        known = len(self.seen)
        return sections[known:] if sections[:known] == self.seen else sections

    def end_attempt(self, following: AttemptReports) -> None:
        """End the current attempt and begin ``following``."""
        self.attempts.append(self.current)
        self.seen = self.latest
        self.current = following


def outcome_of(outcome: object) -> str:
    """Return a report's outcome as text, also if a hook made it something else."""
    if type(outcome) is str and outcome in KNOWN_OUTCOMES:
        return outcome
    return clean(" ".join(text_of(outcome).split()))[:MAX_OUTCOME] if outcome else "unknown"


def phase_of(report: pytest.TestReport) -> Phase:
    """Return a copy of the values of a report that describe its phase."""
    values = report.__dict__
    wasxfail = values.get("wasxfail")
    return Phase(
        text_of(values["when"]) if values.get("when") is not None else "unknown",
        outcome_of(values.get("outcome")),
        seconds(values.get("duration", 0.0)),
        values.get("start"),
        values.get("longrepr"),
        text_of(wasxfail if wasxfail is not None else "") if "wasxfail" in values else None,
    )


def sections_of(report: pytest.TestReport) -> Sections:
    """Return the sections of a report that are a heading and a text."""
    sections: Sections = []
    for section in report.__dict__.get("sections") or ():
        if isinstance(section, (tuple, list)) and len(section) == 2:
            sections.append((text_of(section[0]), text_of(section[1])))
    return sections
