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
from pytest_tms.server.store import deletion
from pytest_tms.server.store.database import Database

NIGHT = 2 * HOUR
"""When the night's run begins, in milliseconds after midnight UTC; a new server has its first at once."""


class RetentionJob(LeasedJob):
    """Deletes executions, in one process at a time."""

    failure = "Old executions were not deleted"
    name = "retention"

    def __init__(self, settings: ServerSettings, database: Database) -> None:
        super().__init__(database)
        self._retention = settings.retention
        self._is_night = False

    def is_due(self, last_run: int) -> bool:
        """Return whether executions are marked as deleted, or the run of this night is due."""
        self._is_night = (
            self._retention != Retention() and last_run < (clock.now() - NIGHT) // DAY * DAY + NIGHT
        )
        with self._database.read() as connection:
            return self._is_night or bool(deletion.marked(connection, 1))

    def work(self) -> bool:
        """Delete what is due; the run of a night is complete if it was not stopped."""
        if self._is_night:
            prune(self._database, Actor(id="server"), self._retention, self.wait)
            return not self.wait(0)
        delete_marked(self._database, self.wait)
        delete_unused_tests(self._database, self.wait)
        return False
