"""The reports of one of xdist's workers: enriched before xdist sends them to its controller."""

from __future__ import annotations

import os
import time

import pytest

from pytest_tms.plugin.results.enrichment import Enricher

CANCEL_CHECK_INTERVAL = 0.5
"""Seconds between two checks whether the run was cancelled."""


class WorkerReports:
    """Enriches reports, and stops the worker if the run is cancelled.

    ``cancel_file`` is the path of a file that exists once the run is cancelled, and holds the reason.
    """

    def __init__(self, enricher: Enricher, cancel_file: str) -> None:
        self._enricher = enricher
        self._cancel_file = cancel_file
        self._session: pytest.Session | None = None
        self._next_check = 0.0
        # Bound here: a test may patch the names of the modules.
        self._clock = time.monotonic
        self._open, self._read, self._close = os.open, os.read, os.close

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Keep the session that is to be stopped."""
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Enrich a report before xdist sends it; stop after a test if the run is cancelled."""
        self._enricher.enrich(report)
        if report.when != "setup":
            self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        """Stop the worker: xdist sends it tests in advance, which it would finish."""
        now = self._clock()
        if now < self._next_check or self._session is None:
            return
        self._next_check = now + CANCEL_CHECK_INTERVAL
        try:
            flag = self._open(self._cancel_file, os.O_RDONLY)
        except OSError:
            return
        try:
            reason = self._read(flag, 10_000)
        finally:
            self._close(flag)
        self._session.shouldstop = reason.decode("utf-8", "replace") or "the run was cancelled"
