"""Jobs of one process at a time: by the lease, which the holder renews and another one takes over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_tms.server.domain import clock
from pytest_tms.server.jobs import leased
from pytest_tms.server.jobs.leased import LEASE, LeasedJob
from pytest_tms.server.store import leases
from pytest_tms.server.store.database import Database

TAKEN_OVER_WITHIN = 30_000
"""Milliseconds after which another process has a job whose holder was killed."""


class Time:
    """The clock of all jobs of a test, in milliseconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_900_000_000_000

    def __call__(self) -> int:
        return self.now


class Job(LeasedJob):
    """A job that is always due; ``step`` is its work."""

    failure = "The job failed"
    name = "job"

    def __init__(self, database: Database, step: Callable[[Job], bool] = lambda _: True) -> None:
        super().__init__(database)
        self._step = step
        self.runs = 0

    def is_due(self, last_run: int) -> bool:
        return True

    def work(self) -> bool:
        self.runs += 1
        return self._step(self)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path}/tms.sqlite3")
    found.upgrade(tmp_path)
    yield found
    found.close()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "now", time)
    return time


def test_another_process_takes_the_job_of_a_killed_one_within_the_promised_time(
    database: Database, time: Time
) -> None:
    killed, other = Job(database), Job(database)
    assert killed.take()
    other.run()
    assert other.runs == 0
    assert LEASE + LeasedJob.interval * 1000 <= TAKEN_OVER_WITHIN
    time.now += LEASE + 1
    other.run()
    assert other.runs == 1


def test_a_step_that_takes_longer_than_the_lease_keeps_the_job(
    database: Database, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased, "RENEWAL_INTERVAL", 0.001)
    other = Job(database)
    renewed = threading.Event()

    def take(*given: object) -> bool:
        is_taken = original(*given)  # type: ignore[arg-type]  # the arguments of the original
        renewed.set()
        return is_taken

    original = leases.take
    monkeypatch.setattr(leases, "take", take)

    def long_step(job: Job) -> bool:
        for _ in range(3):
            time.now += LEASE - 1
            for _ in range(2):  # the first one may have begun before the time changed
                renewed.clear()
                assert renewed.wait(60)
            assert not other.take()
        return True

    Job(database, long_step).run()
    other.run()
    assert other.runs == 1


def test_a_suspended_holder_that_continues_stops_and_changes_nothing(database: Database, time: Time) -> None:
    other = Job(database)
    stops: list[bool] = []

    def suspended(job: Job) -> bool:
        stops.append(job.wait(0))
        time.now += LEASE + 1  # SIGSTOP, until after the lease
        assert other.take()
        stops.append(job.wait(0))
        return True

    Job(database, suspended).run()
    assert stops == [False, True]
    with database.read() as connection:
        assert leases.last_run(connection, "job") == 0  # the run is that of the other one
    assert not Job(database).take()


def test_a_suspended_holder_that_nobody_replaced_goes_on(database: Database, time: Time) -> None:
    def suspended(job: Job) -> bool:
        time.now += LEASE + 1
        return not job.wait(0)

    began = time.now
    Job(database, suspended).run()
    with database.read() as connection:
        assert leases.last_run(connection, "job") == began
