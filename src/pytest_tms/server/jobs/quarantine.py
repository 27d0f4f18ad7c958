"""The job that ends expired quarantines, and applies the policy for flaky tests."""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.jobs.leased import LeasedJob
from pytest_tms.server.services.quarantine_policy import apply_policy, end_expired, has_expired
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database

PERIOD = 600_000
"""Milliseconds between two runs of the policy, over all processes."""


class QuarantineJob(LeasedJob):
    """Ends expired entries, and applies the policy if it is switched on, in one process at a time."""

    failure = "The quarantine was not brought up to date"
    name = "quarantine"

    def __init__(self, settings: ServerSettings, database: Database) -> None:
        super().__init__(database)
        self._percent = settings.auto_quarantine
        self._is_policy_due = False

    def is_due(self, last_run: int) -> bool:
        """Return whether entries have expired, or the latest run of the policy is too long ago."""
        self._is_policy_due = bool(self._percent) and last_run <= clock.now() - PERIOD
        return self._is_policy_due or has_expired(self._database)

    def work(self) -> bool:
        """End what has expired, and apply the policy."""
        while end_expired(self._database):
            if self.wait(0):
                return False
        return self._is_policy_due and apply_policy(self._database, self._percent, self.wait)
