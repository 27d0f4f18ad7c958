"""A shard that CI repeats runs only the tests that failed or did not run; the others keep their results."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer
from tests.helpers.reported_runs import FinishedRun

SUITE = {
    "test_shop.py": """
import os, pytest
@pytest.mark.parametrize("n", range(4))
def test_passes(n): pass
def test_fails(): assert os.environ["FIXED"] == "yes", "total"
@pytest.mark.skip(reason="later")
def test_is_skipped(): pass
def test_ends_the_process(): os.environ["FIXED"] == "yes" or os._exit(3)
def test_after_it(): pass
"""
}
FAILS, AFTER = "test_shop.py::test_fails", "test_shop.py::test_after_it"


@dataclass(frozen=True)
class Job:
    """A job of CI whose run no other test has."""

    tms: TmsServer
    folder: Path
    key: str

    def run(self, attempt: int, *options: str, shard: str = "1/1", fixed: bool = True) -> FinishedRun:
        folder = self.folder / str(attempt)
        folder.mkdir()
        extra = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "shop/shop",
            "GITHUB_RUN_ID": self.key,
            "GITHUB_RUN_ATTEMPT": str(attempt),
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "FIXED": "yes" if fixed else "no",
        }
        return reported_runs.run(self.tms, folder, SUITE, "--tms-shard", shard, *options, extra=extra)


@pytest.fixture
def job(tms: TmsServer, tmp_path: Path) -> Job:
    return Job(tms, tmp_path, uuid.uuid4().hex)


@pytest.mark.parametrize("shard", ["1/1", pytest.param("linux", marks=pytest.mark.slow)])
def test_only_failed_tests_and_those_that_did_not_run_are_repeated(job: Job, shard: str) -> None:
    assert job.run(1, shard=shard, fixed=False).exit == 3
    ran = job.run(2, shard=shard)
    assert ran.exit == 0
    assert "5 tests of shard " in ran.output
    assert "(--tms-rerun all runs all)" in ran.output
    assert "3 passed, 5 deselected" in ran.output
    assert len(ran.stored) == 8
    assert {test["nodeId"]: test["status"] for test in ran.stored}[AFTER] == "passed"
    assert ran.status is not None
    assert ran.status.results is not None
    assert (ran.status.results.total, ran.status.results.failed, ran.status.results.flaky) == (8, 0, 1)
    assert {shard.status for shard in ran.status.shard_results} == {"completed"}


def test_a_shard_that_passed_has_nothing_to_repeat_and_succeeds(job: Job) -> None:
    assert job.run(1).exit == 0
    ran = job.run(2)
    assert ran.exit == 0
    assert "8 deselected" in ran.output
    assert ran.status is not None
    assert ran.status.status == "completed"
    assert len(ran.stored) == 8


def test_all_tests_run_if_asked_to(job: Job) -> None:
    assert job.run(1).exit == 0
    assert "7 passed, 1 skipped" in job.run(2, "--tms-rerun", "all").output


@pytest.mark.slow
def test_workers_agree_on_what_they_repeat(job: Job) -> None:
    options = ("-n", "2", "-k", "not ends")
    assert job.run(1, *options, fixed=False).exit == 1
    ran = job.run(2, *options)
    assert ran.exit == 0
    assert "1 passed" in ran.output
    assert {test["nodeId"]: test["status"] for test in ran.stored}[FAILS] == "passed"
    assert len(ran.stored) == 7


def test_a_shard_of_several_is_divided_as_before_and_then_repeated(job: Job) -> None:
    first = {test["nodeId"] for test in job.run(1, "-k", "not ends", shard="1/2", fixed=False).stored}
    ran = job.run(2, "-k", "not ends", shard="1/2")
    assert {test["nodeId"] for test in ran.stored} == first
    assert ran.exit == 0
