"""Reads files of pytest-reportlog as results, with the recorder of the plugin."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.cli.formats import reason
from pytest_tms.cli.formats.bounded_text import clip
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.report_file import ReportFile
from pytest_tms.plugin.results.outcomes import not_collected
from pytest_tms.plugin.results.recorder import Recorder

MAX_LINE = 64 << 20
"""Characters of one line, which is read at once."""

ENDS: dict[object, wire.SubmittedStatus] = {2: "cancelled", 3: "error", 4: "error"}
"""Status of the shard by the exit status of pytest; with another one its tests determine it."""


class ReportLog:
    """One file; see ``Report``. A line that is not a report is left out, and is a problem."""

    def __init__(self, source: ReportFile, text: Iterator[str], node_ids: NodeIds) -> None:
        self.status: wire.SubmittedStatus | None = "error"  # until the end of the session is read
        self.problems: list[str] = []
        self.properties: dict[str, dict[str, Any]] = {}
        self.artifacts: list[wire.Artifact] = []
        self._source = source
        self._text = text
        self._node_ids = node_ids
        self._recorder = Recorder(clip)
        self._is_broken = False
        self._is_finished = False
        self._line = source.skipped_lines
        self._bad_lines = 0
        self._manager = pytest.PytestPluginManager()
        self._kinds = {"TestReport": "reports", "CollectReport": "reports"}
        if pytest.version_tuple >= (9,):
            self._kinds["SubTestReport"] = "subtests"
        for plugin in self._kinds.values():
            self._manager.import_plugin(plugin)

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Yield each result when all its reports are read."""
        for line in self._lines():
            if line.strip() and (result := self._result(line)) is not None:
                yield self._distinct(result)
        remaining = self._recorder.flush()
        while True:
            try:
                result = next(remaining, None)
            except Exception as error:  # a line may hold anything
                self._problem(
                    f"the reports of a test that did not end cannot be read ({type(error).__name__}): "
                    "run the tests again"
                )
                break
            if result is None:
                break
            yield self._distinct(result)
        if self._bad_lines > 1:
            self._problem(f"{self._bad_lines - 1} more lines are not lines of pytest-reportlog")
        if not self._is_finished and not self.problems:
            problem = "the session did not end; its tests are kept: submit the log after pytest has ended"
            self._problem(f"line {self._line}: {problem}")
        if self._is_broken:
            self.status = "error"

    def _lines(self) -> Iterator[str]:
        """Yield the lines; ``_line`` is the number of the last one."""
        pieces: list[str] = []
        length = 0
        try:
            for chunk in self._text:
                *lines, rest = chunk.split("\n")
                for line in lines:
                    self._line += 1
                    yield "".join([*pieces, line])
                    pieces, length = [], 0
                pieces.append(rest)
                length += len(rest)
                if length > MAX_LINE:
                    self._problem(f"line {self._line + 1} is longer than {MAX_LINE >> 20} million characters")
                    return
        except (OSError, ValueError) as error:
            self._problem(f"line {self._line + 1}: {reason(error)}")
        self._text = iter(())
        if rest := "".join(pieces):
            self._line += 1
            yield rest

    def _problem(self, sentence: str) -> None:
        self._is_broken = True
        self.problems.append(f"{self._source.name}, {sentence}")

    def _result(self, line: str) -> wire.TestResult | None:
        """Return the result that a line completes, if it completes one."""
        report = None
        try:
            report = self._report(json.loads(line))
            if isinstance(report, pytest.TestReport):
                return self._recorder.add(report)
            if isinstance(report, pytest.CollectReport) and not report.passed:
                self._is_broken = self._is_broken or report.failed
                return not_collected(report, clip)
        except Exception:  # a line may hold anything
            self._bad_lines += 1
            if self._bad_lines == 1:
                problem = "this is not a line of pytest-reportlog; the other lines are kept"
                truncated = "" if line.rstrip().endswith("}") else " (the line is truncated)"
                self._problem(
                    f"line {self._line}: {problem}{truncated}: run the tests again and submit it again"
                )
            return self._without_details(report)
        return None

    def _without_details(self, report: object) -> wire.TestResult | None:
        """Return a result with the outcome alone, for a report that the recorder cannot read."""
        try:
            return self._recorder.fallback_result(report) if isinstance(report, pytest.TestReport) else None
        except Exception:  # it does not even have an id
            return None

    def _report(self, entry: dict[str, Any]) -> object:
        """Return the report that a line holds, or None for a line of another kind, as a warning."""
        kind = str(entry["$report_type"])
        if kind == "SessionFinish":
            self.status = ENDS.get(entry["exitstatus"])
            self._is_finished = True
        if kind not in self._kinds:
            return None
        entry.pop("node", None)  # the text of an object of xdist
        # pytest-reportlog renames the member by which pytest recognises a subtest.
        data = {**entry, "_report_type": kind}
        report = self._manager.hook.pytest_report_from_serializable(config=None, data=data)
        if kind == "SubTestReport":  # its values are already the result of repr()
            report.context.kwargs.update(entry["_subtest.context"]["kwargs"])
        if isinstance(report.longrepr, list):  # location and reason of a skip: JSON has no tuples
            report.longrepr = tuple(report.longrepr)
        return report

    def _distinct(self, result: wire.TestResult) -> wire.TestResult:
        """Return the result with a unique node id, and a title and a duration that a TMS accepts."""
        _, node_id = self._node_ids.take([result.node_id or result.title], "")
        duration = result.duration
        if duration is not None and not (math.isfinite(duration) and 0 <= duration <= wire.MAX_COUNT):
            duration = None
        title = result.title or "(a test without a name)"
        return msgspec.structs.replace(result, node_id=node_id, duration=duration, title=title)
