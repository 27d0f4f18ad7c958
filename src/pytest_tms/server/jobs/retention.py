"""The job that deletes what is marked as deleted, and each night what is older than the retention."""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.durations import DAY, HOUR
from pytest_tms.server.domain.retention import Retention
from pytest_tms.server.jobs.leased import LeasedJob
from pytest_tms.server.services.deletion import delete_marked
from pytest_tms.server.services.retention import delete_unused_tests, prune
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import deletion, leases
from pytest_tms.server.store.database import Database

NIGHT = 2 * HOUR
"""When the night's run begins, in milliseconds after midnight UTC; a new server has its first at once."""


class RetentionJob(LeasedJob):
    """Deletes executions, in one process at a time."""

    interval = 60.0
    failure = "Old executions were not deleted"
    name = "retention"

    def __init__(self, settings: ServerSettings, database: Database) -> None:
        super().__init__(database)
        self._retention = settings.retention

    def run(self) -> None:
        """Delete what is due, unless another process does."""
        now = clock.now()
        with self._database.read() as connection:
            has_marked = bool(deletion.marked(connection, 1))
            last_run = leases.last_run(connection, self.name)
        is_night = self._retention != Retention() and last_run < (now - NIGHT) // DAY * DAY + NIGHT
        if not (has_marked or is_night) or not self.take():
            return
        is_done = False
        try:
            if is_night:
                prune(self._database, Actor(id="server"), self._retention, self.wait)
                is_done = not self.is_stopping
            else:
                delete_marked(self._database, self.wait)
                delete_unused_tests(self._database, self.wait)
        finally:
            self.release(now if is_done else None)
