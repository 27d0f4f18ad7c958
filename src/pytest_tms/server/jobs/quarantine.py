"""The job that ends expired quarantines, and applies the policy for flaky tests."""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.jobs.periodic import PeriodicJob
from pytest_tms.server.services.quarantine_policy import apply_policy, end_expired
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import leases
from pytest_tms.server.store.database import Database

LEASE = 3_600_000
"""Milliseconds for which a process reserves the policy."""
NAME = "quarantine"


class QuarantineJob(PeriodicJob):
    """Ends expired entries. The policy, if it is switched on, runs in one process at a time."""

    interval = 600.0
    failure = "The quarantine was not brought up to date"

    def __init__(self, settings: ServerSettings, database: Database) -> None:
        super().__init__()
        self._percent = settings.auto_quarantine
        self._database = database
        self._owner = new_id("job")

    def run(self) -> None:
        """End what has expired, and apply the policy unless another process does."""
        while not self.is_stopping and end_expired(self._database):
            pass
        if not self._percent:
            return
        now = clock.now()
        with self._database.write() as connection:
            if not leases.take(connection, NAME, self._owner, now, now + LEASE):
                return
        try:
            apply_policy(self._database, self._percent)
        finally:
            with self._database.write() as connection:
                leases.finish(connection, NAME, self._owner, now)
