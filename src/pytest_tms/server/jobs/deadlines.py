"""The job that enforces deadlines: timeouts, silent shards, progress events.

Every process checks once a second. The first process that locks an execution changes it, and the others then
find nothing to do, so no leader has to be elected.
"""

from __future__ import annotations

from pytest_tms.server.domain import clock
from pytest_tms.server.jobs.periodic import PeriodicJob
from pytest_tms.server.services.deadlines import enforce_deadline, find_due, send_progress
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker

MAX_GAP = 5_000
"""Milliseconds between two checks; after a longer gap the process was suspended and received no reports."""


class DeadlineJob(PeriodicJob):
    """Enforces the deadlines of all executions, and wakes the delivery worker if that wrote events."""

    interval = 1.0
    failure = "Deadlines and silent shards are not checked"

    def __init__(self, settings: ServerSettings, database: Database, delivery_worker: DeliveryWorker) -> None:
        super().__init__()
        self._settings = settings
        self._database = database
        self._delivery_worker = delivery_worker
        self._listening_since = 0
        self._checked_at = 0

    def run(self) -> None:
        """Enforce the deadlines that have passed."""
        now = clock.now()
        if now - self._checked_at > MAX_GAP:
            self._listening_since = now
        due = find_due(self._database, self._settings, self._listening_since, now)
        deliveries = 0
        for execution_id in due.execution_ids:
            deliveries += enforce_deadline(self._database, self._settings, execution_id, now)
        if due.is_progress_due:
            deliveries += send_progress(self._database, self._settings, now)
        self._checked_at = clock.now()
        if deliveries:
            self._delivery_worker.wake()
