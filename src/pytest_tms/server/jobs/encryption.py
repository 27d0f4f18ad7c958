"""The job that encrypts existing data with the newest key, or decrypts it."""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.jobs.periodic import PeriodicJob
from pytest_tms.server.services import encryption
from pytest_tms.server.store import leases
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore

LEASE = 300_000
"""Milliseconds for which a process reserves the job; it renews the lease while it works."""
NAME = "encryption"


class EncryptionJob(PeriodicJob):
    """Rewrites data that is not as it should be, in one process at a time."""

    interval = 30.0
    failure = "Existing data was not encrypted"

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        super().__init__()
        self._database = database
        self._objects = objects
        self._owner = new_id("job")
        self._leased_until = 0

    def run(self) -> None:
        """Rewrite what is due, unless another process does."""
        if not encryption.is_due(self._database) or not self._take():
            return
        try:
            encryption.rewrite(self._database, self._objects, self._wait)
        finally:
            with self._database.write() as connection:
                leases.finish(connection, NAME, self._owner, None)

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
