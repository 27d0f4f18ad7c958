"""The totals of several reports: counts, duration, status, files and properties of one shard."""

from __future__ import annotations

from typing import Any

from pytest_tms import wire
from pytest_tms.cli.formats import Report
from pytest_tms.cli.formats.attachments import MAX_ARTIFACTS

MAX_PROPERTIES = 16_000
"""Characters of the properties of suites, which become metadata. Servers limit their size."""


class Totals:
    """Counts results, whose node ids are unique."""

    def __init__(self) -> None:
        self.duration = 0.0
        self.properties: dict[str, dict[str, Any]] = {}
        self._remaining = MAX_PROPERTIES
        self._counts = {"passed": 0, "failed": 0, "skipped": 0}
        self._flaky = 0
        self._files: dict[str, list[str]] = {}
        self._statuses: set[wire.SubmittedStatus | None] = set()

    def add(self, result: wire.TestResult) -> int:
        """Count a result; return its number, from 1."""
        self._counts[result.status] += 1
        self._flaky += result.status == "passed" and bool(result.retries)
        self.duration += result.duration or 0
        for attempt in (result, *(result.attempts or ())):
            self._keep(attempt.artifacts or ())
        return sum(self._counts.values())

    def end(self, report: Report) -> None:
        """Add the status, the files and the properties of a report that has been read."""
        self._statuses.add(report.status)
        self._keep(report.artifacts)
        for suite, properties in report.properties.items():
            for name, value in properties.items():
                size = len(suite) + len(name) + len(str(value))
                if size <= self._remaining:
                    self._remaining -= size
                    self.properties.setdefault(suite, {})[name] = value

    def _keep(self, artifacts: Any) -> None:
        for file in artifacts:
            files = self._files.setdefault(f"{file.kind}s", [])
            if len(files) < MAX_ARTIFACTS:
                files.append(file.path)

    def counts(self) -> wire.ReportedCounts:
        """Return the documented counts."""
        return wire.ReportedCounts(total=sum(self._counts.values()), flaky=self._flaky, **self._counts)

    def status(self) -> wire.SubmittedStatus:
        """Return the status of the shard: the worst status of a report, or that of its tests."""
        if "error" in self._statuses:
            return "error"
        if self._counts["failed"]:
            return "failed"  # pytest-xdist also interrupts a run for -x
        return "cancelled" if "cancelled" in self._statuses else "completed"

    def artifacts(self) -> wire.ArtifactNames | None:
        """Return the files by kind."""
        known = wire.ArtifactNames.__struct_fields__
        files = {kind: paths for kind, paths in self._files.items() if kind in known}
        return wire.ArtifactNames(**files) if files else None
