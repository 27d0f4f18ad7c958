"""The replacement of the reporting session in a run that cannot report."""

from __future__ import annotations

from collections.abc import Generator

import pytest


class Inactive:
    """Shows why a run does not report, and fails a run that is required to report."""

    def __init__(self, reason: str, *, required: bool = False) -> None:
        self._reason = reason
        self._required = required
        self._has_failed_run = False

    def pytest_report_header(self) -> str:
        """Show the reason in the header."""
        return f"tms: not reporting: {self._reason}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that is required to report."""
        if self._required and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self._has_failed_run = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Show the reason at the end."""
        yield
        if self._required:
            status = " (exit status 1)" if self._has_failed_run else ""
            line = f"tms: required, but nothing was reported: {self._reason}{status}"
            terminalreporter.write_line(line, red=True)
        else:
            terminalreporter.write_line(f"tms: not reported: {self._reason}", yellow=True)
