"""The job that deletes what is marked as deleted, and each night what is older than the retention."""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.durations import DAY, HOUR
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.retention import Retention
from pytest_tms.server.jobs.periodic import PeriodicJob
from pytest_tms.server.services.deletion import delete_marked
from pytest_tms.server.services.retention import delete_unused_tests, prune
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import deletion, leases
from pytest_tms.server.store.database import Database

NIGHT = 2 * HOUR
"""When the night's run begins, in milliseconds after midnight UTC; a new server has its first at once."""
LEASE = 300_000
"""Milliseconds for which a process reserves the job; it renews the lease while it works."""
NAME = "retention"


class RetentionJob(PeriodicJob):
    """Deletes executions, in one process at a time."""

    interval = 60.0
    failure = "Old executions were not deleted"

    def __init__(self, settings: ServerSettings, database: Database) -> None:
        super().__init__()
        self._retention = settings.retention
        self._database = database
        self._owner = new_id("job")
        self._leased_until = 0

    def run(self) -> None:
        """Delete what is due, unless another process does."""
        now = clock.now()
        with self._database.read() as connection:
            has_marked = bool(deletion.marked(connection, 1))
            last_run = leases.last_run(connection, NAME)
        is_night = self._retention != Retention() and last_run < (now - NIGHT) // DAY * DAY + NIGHT
        if not (has_marked or is_night) or not self._take():
            return
        is_done = False
        try:
            if is_night:
                prune(self._database, Actor(id="server"), self._retention, self._wait)
                is_done = not self.is_stopping
            else:
                delete_marked(self._database, self._wait)
                delete_unused_tests(self._database, self._wait)
        finally:
            with self._database.write() as connection:
                leases.finish(connection, NAME, self._owner, now if is_done else None)

    def _take(self) -> bool:
        now = clock.now()
        with self._database.write() as connection:
            is_taken = leases.take(connection, NAME, self._owner, now, now + LEASE)
        self._leased_until = now + LEASE
        return is_taken

    def _wait(self, seconds: float) -> bool:
        """Pause; return whether the job has to stop, also because another process has taken it over."""
        has_ended = self.pause(seconds)
        return has_ended or (clock.now() > self._leased_until - LEASE // 2 and not self._take())
