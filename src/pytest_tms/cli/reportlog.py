"""pytest-reportlog's file, read as results: by the recorder that follows a run, so that both say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_tms import wire
from pytest_tms.plugin.results.outcomes import not_collected
from pytest_tms.plugin.results.recorder import Recorder
from pytest_tms.text import clean

LONGEST = 100_000
"""Characters of a traceback and of each output that are kept; more is cut in the middle."""

ENDS: dict[object, wire.SubmittedStatus] = {2: "cancelled", 3: "error", 4: "error"}
"""pytest's exit statuses that say more of a shard than its tests do."""


class ReportLog:
    """One file. Once it is read, ``status`` is how the session ended; None where its tests say that."""

    def __init__(self, path: Path) -> None:
        self.status: wire.SubmittedStatus | None = "error"  # as long as no end of the session was read
        self._path = path
        self._manager = pytest.PytestPluginManager()
        self._kinds = {"TestReport": "reports", "CollectReport": "reports"}
        if pytest.version_tuple >= (9,):
            self._kinds["SubTestReport"] = "subtests"
        for plugin in self._kinds.values():
            self._manager.import_plugin(plugin)

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Each result, once all its reports are read. Raises ValueError, in a sentence with the line."""
        recorder = Recorder(_clip)
        broken = False
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                result = None
                try:
                    report = self._report(json.loads(line))
                    if isinstance(report, pytest.TestReport):
                        result = recorder.add(report)
                    elif isinstance(report, pytest.CollectReport) and not report.passed:
                        broken = broken or report.failed
                        result = not_collected(report, _clip)
                except Exception:  # whatever a line holds that no pytest wrote
                    what = "this is no report of pytest-reportlog"
                    raise ValueError(f"{self._path}, line {number}: {what}") from None
                if result is not None:
                    yield result
        yield from recorder.unsettled()
        if broken:
            self.status = "error"

    def _report(self, entry: dict[str, Any]) -> object:
        """The report that a line holds; None for what is no report, as a warning."""
        kind = str(entry["$report_type"])
        if kind == "SessionFinish":
            self.status = ENDS.get(entry["exitstatus"])
        if kind not in self._kinds:
            return None
        entry.pop("node", None)  # xdist's object, of which only the text is left
        # pytest-reportlog renames what pytest knows a subtest by.
        data = {**entry, "_report_type": kind}
        report = self._manager.hook.pytest_report_from_serializable(config=None, data=data)
        if kind == "SubTestReport":  # which would show values as the repr of what is a repr already
            report.context.kwargs.update(entry["_subtest.context"]["kwargs"])
        if isinstance(report.longrepr, list):  # the place and reason of a skip, which JSON has no tuple for
            report.longrepr = tuple(report.longrepr)
        return report


def _clip(text: str) -> str:
    return clean(text, limit=LONGEST)
