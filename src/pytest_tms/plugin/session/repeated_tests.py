"""``--tms-detect-flaky`` in the process that reports: which tests to repeat, and which of them differed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_tms.ci.changed_files import changed_files
from pytest_tms.plugin.flaky_detection import Selection
from pytest_tms.plugin.results.enrichment_transfer import ATTRIBUTE, REPEATS
from pytest_tms.plugin.session.summary import Repeats
from pytest_tms.settings.table import Settings


class RepeatedTests:
    """Collects which tests were repeated, and which of them differed (the process that reports)."""

    def __init__(self) -> None:
        self._tests = 0
        self._flaky: list[tuple[str, int, int]] = []

    def add(self, report: pytest.TestReport) -> None:
        """Take a report, before the recorder removes the enrichment."""
        repeats = report.__dict__.get(ATTRIBUTE, {}).get(REPEATS)
        if repeats is not None:
            self._tests += 1
            runs, failed = repeats
            if 0 < failed < runs:
                self._flaky.append((report.nodeid, runs, failed))

    def masked(self, mask: Callable[[str], str]) -> Repeats:
        """Return what was collected, for the summary; ``mask`` is applied to node ids."""
        flaky = [(mask(name), runs, failed) for name, runs, failed in self._flaky]
        return Repeats(tests=self._tests, flaky=flaky)


def select(settings: Settings, rootdir: Path, known: Path | None) -> Selection:
    """Return which tests are repeated; ``known`` is the file of the sender, None without a sender."""
    return Selection(
        runs=settings.detect_flaky,
        budget=settings.detect_flaky_budget,
        changed=sorted(changed_files(rootdir)),
        known=str(known or ""),
    )
