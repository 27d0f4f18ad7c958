"""Records attempts and failures that retry plugins do not log (the process that runs the tests)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tms.plugin.results.enrichment_transfer import ATTRIBUTE, add
from pytest_tms.plugin.results.error_text import reason, traceback
from pytest_tms.plugin.results.json_values import seconds
from pytest_tms.text import clean

if TYPE_CHECKING:
    from pytest_tms.plugin.results.enrichment import Enricher


class AttemptCounter:
    """Counts a test's attempts: a plugin that repeats it may not report each."""

    def __init__(self, enricher: Enricher) -> None:
        self._enricher = enricher

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Count one attempt."""
        self._enricher.count_attempt(item)


class UnloggedFailures:
    """Keeps failures that were never logged: flaky and pytest-retry do not log all."""

    def __init__(self) -> None:
        self._logged: object = None
        self._kept: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember the latest failure that was logged."""
        if report.longrepr is not None:
            self._logged = report.longrepr
            self._kept = [each for each in self._kept if each.longrepr is not report.longrepr]

    def pytest_exception_interact(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Keep a failure that was not logged before."""
        if (
            isinstance(report, pytest.TestReport)
            and report.failed
            and report.longrepr is not self._logged
            and not hasattr(report, "context")
        ):
            self._kept.append(report)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the kept failures to the next teardown that is logged."""
        report = yield
        if report.when == "teardown" and self._kept:
            self.after_pytest_runtest_makereport(report)
        return report

    def after_pytest_runtest_makereport(self, report: pytest.TestReport) -> None:
        """Add the failures since the last time, as execnet can serialise them."""
        kept, self._kept = self._kept, []
        add(report, {"unlogged": [plain_report(each) for each in kept]})


def plain_report(report: pytest.TestReport) -> dict[str, Any]:
    """Return a report that is not logged as execnet can serialise it for the recorder."""
    start = report.__dict__.get("start")
    from pytest_tms.plugin.results.observed_tests import sections_of  # a worker seldom needs it

    return {
        "when": report.when,
        "outcome": report.outcome,
        "duration": seconds(report.duration),
        "start": start if type(start) is float else None,
        "message": reason(report.longrepr) or "",
        "text": clean(traceback(report.longrepr)),
        "sections": [(clean(name), clean(text)) for name, text in sections_of(report)],
        "kept": getattr(report, ATTRIBUTE, None) if report.when == "call" else None,
    }
