"""What stands in for a run that was to report and cannot."""

from __future__ import annotations

from collections.abc import Generator

import pytest


class Off:
    """A run that was to report and cannot: says why, and does nothing else."""

    def __init__(self, reason: str, *, required: bool = False) -> None:
        self._reason = reason
        self._required = required

    def pytest_report_header(self) -> str:
        """Say it before the tests."""
        return f"tms: not reporting: {self._reason}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that must report."""
        if self._required and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Say it again after them, where it is read."""
        yield
        terminalreporter.write_sep("=", "tms")
        terminalreporter.write_line(f"not reported: {self._reason}", yellow=True)
