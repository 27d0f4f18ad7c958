"""Periodic jobs that run in one process at a time."""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.jobs.periodic import PeriodicJob
from pytest_tms.server.store import leases
from pytest_tms.server.store.database import Database

LEASE = 300_000
"""Milliseconds for which a process reserves a job; it renews the lease while it works."""


class LeasedJob(PeriodicJob):
    """A job that one process reserves for each run, which it may pause by ``wait``."""

    name: str
    """The name of the lease."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._owner = new_id("job")
        self._leased_until = 0

    def take(self) -> bool:
        """Reserve the job, or renew the reservation; return False if another process has it."""
        now = clock.now()
        with self._database.write() as connection:
            is_taken = leases.take(connection, self.name, self._owner, now, now + LEASE)
        self._leased_until = now + LEASE
        return is_taken

    def release(self, last_run: int | None) -> None:
        """End the reservation; ``last_run`` is when a complete run began, in milliseconds since 1970."""
        with self._database.write() as connection:
            leases.finish(connection, self.name, self._owner, last_run)

    def wait(self, seconds: float) -> bool:
        """Pause; return whether the job has to stop, also because another process has taken it over."""
        has_ended = self.pause(seconds)
        return has_ended or (clock.now() > self._leased_until - LEASE // 2 and not self.take())
