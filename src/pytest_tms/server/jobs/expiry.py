"""The job that deletes expired idempotency keys, deliveries and tokens of CI jobs, and adds partitions."""

from __future__ import annotations

from pytest_tms.server.jobs.periodic import PeriodicJob
from pytest_tms.server.services.expiry import (
    delete_ended_deliveries,
    delete_expired_job_tokens,
    delete_expired_keys,
)
from pytest_tms.server.services.partitions import add_partitions
from pytest_tms.server.store.database import Database


class ExpiryJob(PeriodicJob):
    """Deletes expired rows. Several processes may do so at once."""

    interval = 600.0
    failure = "Expired rows were not deleted"

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def run(self) -> None:
        """Delete everything that has expired, and add partitions for what is to come."""
        add_partitions(self._database)
        for delete in (delete_expired_keys, delete_ended_deliveries, delete_expired_job_tokens):
            while not self.is_stopping and delete(self._database):
                pass
