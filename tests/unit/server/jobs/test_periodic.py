"""The loop that periodic jobs share."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from pytest_tms.server.jobs.periodic import PeriodicJob


class Job(PeriodicJob):
    """Runs through a script of errors, then is ``done``."""

    interval = 0.001
    failure = "The job failed"

    def __init__(self, *script: Exception | None) -> None:
        super().__init__()
        self._script = list(script)
        self.done = threading.Event()

    def run(self) -> None:
        """Raise the next error of the script, if there is one."""
        if not self._script:
            self.done.set()
            return
        if (error := self._script.pop(0)) is not None:
            raise error


async def finished(job: Job) -> None:
    async with job.running():
        await asyncio.wait_for(asyncio.to_thread(job.done.wait), 60)


def test_failures_in_a_row_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    away = OSError("the database is away")
    with caplog.at_level(logging.WARNING, "pytest_tms.server"):
        asyncio.run(finished(Job(away, away, None, away)))
    assert [record.getMessage() for record in caplog.records] == ["The job failed: the database is away"] * 2


def test_a_run_in_progress_is_finished_before_the_application_ends() -> None:
    class Slow(Job):
        """A run that ends only after it is asked to stop."""

        def run(self) -> None:
            self.done.set()
            assert self._stopping.wait(60)
            ended.append(self.is_stopping)

    ended: list[bool] = []
    asyncio.run(finished(Slow()))
    assert ended == [True]
