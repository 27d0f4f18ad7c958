"""The job that deletes contents of files that no execution has."""

from __future__ import annotations

import time

from pytest_tms.server.jobs.periodic import PeriodicJob
from pytest_tms.server.services.artifacts import WRITE_TIMEOUT, delete_stray, delete_unreferenced
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore


class ArtifactJob(PeriodicJob):
    """Deletes unreferenced blobs, and objects and temporary files of interrupted uploads.

    Several processes may do so at once.
    """

    interval = 3600.0
    failure = "Files that no execution has were not deleted"

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        super().__init__()
        self._database = database
        self._objects = objects

    def run(self) -> None:
        """Delete everything that is not needed."""
        after: str | None = ""
        while after is not None and not self.is_stopping:
            after = delete_unreferenced(self._database, after)
        while not self.is_stopping and delete_stray(self._database, self._objects):
            pass
        self._objects.delete_abandoned(time.time() - WRITE_TIMEOUT / 1000)
