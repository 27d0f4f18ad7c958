"""The job that encrypts existing data with the newest key, or decrypts it."""

from __future__ import annotations

from pytest_tms.server.jobs.leased import LeasedJob
from pytest_tms.server.services import encryption
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore


class EncryptionJob(LeasedJob):
    """Rewrites data that is not as it should be, in one process at a time."""

    failure = "Existing data was not encrypted"
    name = "encryption"

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        super().__init__(database)
        self._objects = objects

    def is_due(self, last_run: int) -> bool:
        """Return whether there is data to rewrite."""
        return encryption.is_due(self._database)

    def work(self) -> bool:
        """Rewrite what is due."""
        return encryption.rewrite(self._database, self._objects, self.wait)
