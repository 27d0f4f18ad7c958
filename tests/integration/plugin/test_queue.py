"""Shards take tests from the queue of their execution: each test runs once, in one session for each shard."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_tms.plugin.session.opening import NO_SHARED_EXECUTION
from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer
from tests.helpers.reported_runs import FinishedRun

CONFTEST = """
import os, pathlib, pytest

def note(text):
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{os.environ['TMS_SHARD']} {os.environ.get('PYTEST_XDIST_WORKER', '')} {text}\\n")

@pytest.fixture(scope="session", autouse=True)
def service():
    note("session up")
    yield "service"
    note("session down")

@pytest.fixture(scope="module", autouse=True)
def table(request):
    note(f"up {request.module.__name__}")
    yield
    note(f"down {request.module.__name__}")
"""
TESTS = """
import time, pytest
from conftest import note

@pytest.mark.parametrize("n", range(10))
def test_{name}(n, request):
    note(f"ran {{request.node.nodeid}}")
    time.sleep(0.01)
"""
SUITE = {"conftest.py": CONFTEST, **{f"test_{name}.py": TESTS.format(name=name) for name in "abcdef"}}
EVERY = {f"test_{name}.py::test_{name}[{n}]" for name in "abcdef" for n in range(10)}


@dataclass(frozen=True)
class Job:
    """A CI run whose shards run at the same time, in folders of their own."""

    tms: TmsServer
    folder: Path
    key: str

    def run(
        self,
        shard: str,
        *options: str,
        files: dict[str, str] | None = None,
        environment: str = "main",
        **environ: str,
    ) -> FinishedRun:
        folder = self.folder / f"{shard.replace('/', '-')}-{environ.get('GITHUB_RUN_ATTEMPT', '1')}"
        folder.mkdir(exist_ok=True)
        arguments = ("--tms-run-key", self.key, "--tms-split", "queue", *options)
        extra = {"NOTES": str(self.folder / "notes"), "TMS_SHARD": shard, **environ}
        return reported_runs.run(
            self.tms, folder, files or SUITE, *arguments, environment=environment, extra=extra
        )

    def run_all(self, shards: Iterable[str], *options: str) -> list[FinishedRun]:
        """Run several shards at once."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda shard: self.run(shard, *options), shards))

    @property
    def notes(self) -> list[str]:
        """What the tests and fixtures wrote."""
        return (self.folder / "notes").read_text().splitlines()

    @property
    def ran(self) -> Counter[str]:
        """How often each test ran."""
        return Counter(line.partition(" ran ")[2] for line in self.notes if " ran " in line)


@pytest.fixture
def job(tms: TmsServer, tmp_path: Path) -> Job:
    return Job(tms, tmp_path, uuid.uuid4().hex)


def queue_lines(ran: FinishedRun) -> list[str]:
    """What our summary says of the queue."""
    return re.findall(r"^(?:tms: )?queue: (.*)$", ran.output, re.M)


@pytest.mark.slow
def test_each_test_runs_once_and_session_fixtures_once_in_each_shard(job: Job) -> None:
    finished = job.run_all(["1/3", "2/3", "3/3"])
    assert [ran.exit for ran in finished] == [0, 0, 0]
    assert [ran.warnings for ran in finished] == [[], [], []]
    assert job.ran == dict.fromkeys(EVERY, 1)
    assert {test["nodeId"] for test in finished[0].stored} <= EVERY
    sessions = Counter(line for line in job.notes if "session" in line)
    assert set(sessions.values()) == {1}
    for shard in ("1/3", "2/3", "3/3"):
        modules = [line.split()[1:] for line in job.notes if line.split()[0] == shard and "test_" in line]
        up: str | None = None
        for kind, name in modules:
            if kind == "up":
                assert up is None
                up = name
            elif kind == "down":
                assert up == name
                up = None
            else:
                assert up is not None
                assert name.startswith(f"{up}.py::")
        assert up is None
    with job.tms.client() as client:
        assert finished[0].status is not None
        status = client.get_execution(finished[0].status.execution_id)
        stored = [test["nodeId"] for test in client.iter_tests(status.execution_id)]
    assert sorted(stored) == sorted(EVERY)
    assert status.status == "completed"
    assert {shard.status for shard in status.shard_results} == {"completed"}


@pytest.mark.slow
def test_workers_run_the_tests_of_the_queue(job: Job) -> None:
    finished = job.run_all(["1/2", "2/2"], "-n", "2")
    assert [ran.exit for ran in finished] == [0, 0]
    assert [ran.warnings for ran in finished] == [[], []]
    assert job.ran == dict.fromkeys(EVERY, 1)


def test_a_late_shard_leaves_with_success(job: Job) -> None:
    assert job.run("1/2").exit == 0
    ran = job.run("2/2")
    assert ran.exit == 0
    assert queue_lines(ran) == ["0 of 60 tests here; 60 ran in other shards"]
    assert "60 deselected" in ran.output
    assert ran.status is not None
    assert (ran.status.status, len(ran.stored)) == ("completed", 60)


def test_a_name_is_a_shard_of_the_queue_too(job: Job) -> None:
    ran = job.run("linux")
    assert re.fullmatch(r"60 of 60 tests here in \d+ batches", queue_lines(ran)[0])
    assert len(ran.stored) == 60
    assert job.ran == dict.fromkeys(EVERY, 1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--tms-run-key", "none"), NO_SHARED_EXECUTION),
        (("--tms-offline",), "this run does not report to a TMS"),
    ],
)
def test_without_a_shared_execution_tests_are_divided_as_before(
    job: Job, options: tuple[str, ...], reason: str
) -> None:
    ran = job.run("1/2", *options)
    assert ran.exit == 0
    assert "30 passed, 30 deselected" in ran.output
    sentence = f"shard 1 divided its tests by number and did not take them from a queue: {reason}"
    assert ran.warnings == [sentence]


def plain(tests: str) -> dict[str, str]:
    """A project of one file."""
    return {"test_it.py": tests}


def test_an_error_in_the_end_of_the_session_is_one_of_the_last_test(job: Job) -> None:
    tests = """
import pytest
@pytest.fixture(scope="session", autouse=True)
def service():
    yield
    print("service stops")
    raise RuntimeError("cannot stop")
@pytest.fixture(scope="module", autouse=True)
def table():
    yield
@pytest.mark.parametrize("n", range(5))
def test_it(n): pass
"""
    ran = job.run("1/1", files=plain(tests))
    assert ran.exit == 1
    assert "5 passed, 1 error" in ran.output
    before, _, captured = ran.output.partition("ERROR at teardown of test_it[")
    assert "service stops" not in before
    assert "Captured stdout teardown" in captured
    assert captured.count("service stops") == 2  # the source line and the output
    statuses = Counter((test["status"], test["outcome"]) for test in ran.stored)
    assert statuses == {("passed", "passed"): 4, ("failed", "error"): 1}


def test_the_first_failure_ends_a_shard_and_leaves_the_rest_to_others(job: Job) -> None:
    tests = """
import os, pytest
@pytest.mark.parametrize("n", range(20))
def test_it(n): assert os.environ["TMS_SHARD"] != "1/2" or n < 3
"""
    first = job.run("1/2", "-x", files=plain(tests))
    assert first.exit == 1
    assert "stopping after 1 failures" in first.output
    assert re.search(
        r"queue: \d of 20 tests here in \d+ batch(es)?; \d+ are left to other shards", first.output
    )
    second = job.run("2/2", files=plain(tests))
    assert second.exit == 0
    assert len(second.stored) == 20


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_the_same_test_twice_and_secrets_in_names_are_one_test_of_the_queue(
    job: Job, workers: tuple[str, ...]
) -> None:
    tests = """
import pytest
@pytest.mark.parametrize("key", ["tms-secret-value-1", "b"])
def test_it(key): pass
"""
    options = ("--keep-duplicates", "test_it.py", "test_it.py", "-p", "no:randomly", *workers)
    ran = job.run("1/1", *options, files=plain(tests), SHOP_TOKEN="tms-secret-value-1")
    assert ran.exit == 0
    assert "4 passed" in ran.output
    assert ran.warnings == []
    assert "tms-secret" not in str(ran.stored)
    assert len({test["nodeId"] for test in ran.stored}) == 4


@pytest.mark.plugins
def test_retried_tests_keep_their_fixtures(job: Job) -> None:
    tests = """
import pytest
ups, tries = [], []
@pytest.fixture(scope="module", autouse=True)
def table():
    ups.append(1)
    yield
@pytest.mark.parametrize("n", range(6))
def test_it(n):
    tries.append(n)
    assert n % 2 or tries.count(n) > 1
"""
    ran = job.run("1/1", "--reruns", "2", files=plain(tests), environment="rerunfailures")
    assert ran.exit == 0
    assert "6 passed, 3 rerun" in ran.output
    assert len(ran.stored) == 6
    assert Counter(test.get("retries") or 0 for test in ran.stored) == {1: 3, 0: 3}


def test_subtests_belong_to_their_test(job: Job) -> None:
    tests = """
import pytest
@pytest.mark.parametrize("n", range(3))
def test_it(n, subtests):
    for each in range(2):
        with subtests.test(each=each): pass
"""
    ran = job.run("1/1", files=plain(tests))
    assert ran.exit == 0
    assert [len(test["subtests"]) for test in ran.stored] == [2, 2, 2]


@pytest.mark.slow
def test_a_test_that_ends_its_worker_is_reported_and_the_others_run(job: Job) -> None:
    tests = """
import os, pytest
@pytest.mark.parametrize("n", range(20))
def test_it(n): n != 7 or os._exit(1)
"""
    ran = job.run("1/1", "-n", "2", files=plain(tests))
    assert ran.exit == 1
    assert "1 failed, 19 passed" in ran.output
    outcomes = Counter(test["outcome"] for test in ran.stored)
    assert outcomes == {"passed": 19, "crashed": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dist", "environment"),
    [
        ("loadfile", "main"),
        ("loadscope", "main"),
        pytest.param("loadgroup", "eight", marks=pytest.mark.plugins),  # pytest 9.2 hides groups from xdist
        ("worksteal", "main"),
    ],
)
def test_a_scope_runs_in_one_worker(job: Job, dist: str, environment: str) -> None:
    tests = """
import pytest
from conftest import note
@pytest.mark.xdist_group("{name}")
@pytest.mark.parametrize("n", range(10))
def test_{name}(n): note("ran x")
"""
    files = {"conftest.py": CONFTEST, **{f"test_{name}.py": tests.format(name=name) for name in "abcd"}}
    ran = job.run("1/1", "-n", "2", "--dist", dist, files=files, environment=environment)
    assert ran.exit == 0
    assert len(ran.stored) == 40
    assert ran.warnings == []
    ups = Counter(line.split()[-1] for line in job.notes if " up test_" in line)
    assert sorted(ups) == ["test_a", "test_b", "test_c", "test_d"]
    if dist != "worksteal":
        assert set(ups.values()) == {1}


def test_each_worker_runs_all_tests_with_dist_each(job: Job) -> None:
    ran = job.run("linux", "-n", "2", "--dist", "each", files=plain("def test_it(): pass"))
    assert "2 passed" in ran.output
    assert ran.warnings == [
        "shard linux ran all its tests and did not take them from a queue: "
        "with --dist each, each worker runs all tests"
    ]


def test_a_repeated_job_takes_only_tests_that_did_not_pass(job: Job) -> None:
    tests = """
import os, pytest
@pytest.mark.parametrize("n", range(10))
def test_it(n): assert n != 4 or os.environ["GITHUB_RUN_ATTEMPT"] == "2"
"""
    ci = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_RUN_ID": job.key,
        "GITHUB_STEP_SUMMARY": str(job.folder / "summary.md"),
    }
    first = job.run("1/2", files=plain(tests), GITHUB_RUN_ATTEMPT="1", **ci)
    assert first.exit == 1
    assert job.run("2/2", files=plain(tests), GITHUB_RUN_ATTEMPT="1", **ci).exit == 0
    again = job.run("2/2", files=plain(tests), GITHUB_RUN_ATTEMPT="2", **ci)
    assert again.exit == 0
    assert "1 passed, 9 deselected" in again.output
    assert queue_lines(again) == [
        "1 of 10 tests here in 1 batch; 9 not run again: passed or skipped before (--tms-rerun all runs all)"
    ]
    assert again.status is not None
    assert again.status.results is not None
    assert (again.status.results.total, again.status.results.failed) == (10, 0)


@pytest.mark.plugins
@pytest.mark.slow
def test_shards_that_run_in_different_orders_share_a_queue(job: Job) -> None:
    with ThreadPoolExecutor() as pool:
        shards = {
            shard: pool.submit(job.run, shard, f"--randomly-seed={n}", environment="guests")
            for n, shard in enumerate(["1/2", "2/2"])
        }
    assert [run.result().exit for run in shards.values()] == [0, 0]
    assert job.ran == dict.fromkeys(EVERY, 1)
