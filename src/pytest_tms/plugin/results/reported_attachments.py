"""Adds attachments of a test to its reports (the process that runs the test)."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_tms.plugin.results.attachments import ATTACHED
from pytest_tms.plugin.results.enrichment_transfer import add


class ReportedAttachments:
    """Moves attachments from a test to its reports."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to a failure, to the end of an attempt, and to a call, which may be logged alone."""
        report = yield
        if ATTACHED in item.stash and (report.outcome != "passed" or report.when != "setup"):
            self.after_pytest_runtest_makereport(item, report)
        return report

    def after_pytest_runtest_makereport(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Move them; if a passed call may be repeated without being logged, the test keeps them as well."""
        add(report, item.stash[ATTACHED])
        if report.outcome != "passed" or report.when == "teardown":
            del item.stash[ATTACHED]


def report_attachments(config: pytest.Config) -> None:
    """Register ``ReportedAttachments``, once a test requests it: it costs every test that follows."""
    manager = config.pluginmanager
    errors = manager.get_plugin("tms-hook-errors")
    if errors is not None and not manager.has_plugin("tms-attached"):
        manager.register(errors.protect(ReportedAttachments()), "tms-attached")
