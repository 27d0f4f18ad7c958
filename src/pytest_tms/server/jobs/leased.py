"""Periodic jobs that run in one process at a time."""

from __future__ import annotations

import contextlib
import threading
from abc import abstractmethod
from collections.abc import Iterator

from pytest_tms.errors import ApiError
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.jobs.periodic import PeriodicJob
from pytest_tms.server.store import leases
from pytest_tms.server.store.database import Database

LEASE = 15_000
"""Milliseconds for which a process reserves a job. With the interval, another takes it over after 25 s."""
RENEWAL_INTERVAL = 5.0
"""Seconds between two renewals of the lease, on a thread of its own while the job works."""


class LeasedJob(PeriodicJob):
    """A job that one process reserves for each run.

    The process renews its lease while it works, however long a step takes. If the process ends or is
    suspended, the lease expires and another process takes the job over. A suspended process that continues
    notices that in ``wait``; what it does before that must be harmless beside the new holder.
    """

    interval = 10.0
    name: str
    """The name of the lease."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._owner = new_id("job")
        self._leased_until = 0

    @abstractmethod
    def is_due(self, last_run: int) -> bool:
        """Return whether there is work; ``last_run`` is when the latest complete run began, 0 for never."""

    @abstractmethod
    def work(self) -> bool:
        """Do what is due, pausing by ``wait``; return whether the run is complete."""

    def run(self) -> None:
        """Do what is due, unless another process does."""
        now = clock.now()
        with self._database.read() as connection:
            last_run = leases.last_run(connection, self.name)
        if not self.is_due(last_run) or not self.take():
            return
        is_complete = False
        try:
            with self._renewing():
                is_complete = self.work()
        finally:
            self.release(now if is_complete else None)

    def take(self) -> bool:
        """Reserve the job, or renew the reservation; return False if another process has it."""
        now = clock.now()
        with self._database.write() as connection:
            is_taken = leases.take(connection, self.name, self._owner, now, now + LEASE)
        self._leased_until = now + LEASE if is_taken else 0
        return is_taken

    def release(self, last_run: int | None) -> None:
        """End the reservation; ``last_run`` is when a complete run began, in milliseconds since 1970."""
        with self._database.write() as connection:
            leases.finish(connection, self.name, self._owner, last_run)

    def wait(self, seconds: float) -> bool:
        """Pause; return whether the job has to stop, also because another process has taken it over."""
        return self.pause(seconds) or (clock.now() >= self._leased_until and not self.take())

    @contextlib.contextmanager
    def _renewing(self) -> Iterator[None]:
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(RENEWAL_INTERVAL):
                with contextlib.suppress(ApiError):  # the job itself fails, or the next renewal succeeds
                    self.take()

        thread = threading.Thread(target=renew, name="tms-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
