"""`tms shards advise`: the number of shards by the durations of earlier runs."""

from __future__ import annotations

import json
import uuid

import pytest

from pytest_tms import wire
from tests.helpers.processes import TmsServer, run_tms

MOST = "more than 13 shards save nothing: test_b.py::test_slow alone takes 5.0 s\n"


@pytest.fixture
def project(tms: TmsServer) -> str:
    """A project that has run: a minute in 60 tests of one second, and one test of five seconds."""
    name = f"project-{uuid.uuid4().hex[:8]}"
    with tms.client() as client:
        request = wire.ExecutionRequest(
            test_suite="all", environment="dev", metadata={"project": name, "branch": "main"}
        )
        execution = client.create_execution(request).execution_id
        names = {**{f"test_a.py::test_{n}": 1_000 for n in range(60)}, "test_b.py::test_slow": 5_000}
        tests = [
            wire.TestResult(title=test, node_id=test, status="passed", duration=duration)
            for test, duration in names.items()
        ]
        client.submit_results(wire.ResultsSubmission(execution_id=execution, shard_id="1", tests=tests))
    return name


def advise(tms: TmsServer, project: str, target: str, *options: str) -> tuple[int, str, str]:
    arguments = ("--target", target, "--project", project, "--branch", "main", "--url", tms.url, *options)
    done = run_tms("shards", "advise", *arguments, TMS_API_TOKEN=tms.token)
    return done.returncode, done.stdout, done.stderr


def test_the_smallest_number_that_meets_the_target_is_advised(tms: TmsServer, project: str) -> None:
    assert advise(tms, project, "2m") == (0, "1 shard  1 min 5 s\nuse 1: --tms-shard I/1\n" + MOST, "")
    status, output, _ = advise(tms, project, "10s")
    assert status == 0
    assert output.endswith("7 shards  10.0 s\nuse 7: --tms-shard I/7\n" + MOST)
    status, output, _ = advise(tms, project, "10s", "--json")
    found = json.loads(output)
    assert (found["shards"], found["tests"], found["target"]) == (7, 61, 10_000)
    assert found["divisions"][-1] == {"shards": 7, "longest": 10_000, "sum": 65_000}


def test_setups_of_shared_fixtures_count_in_each_shard(tms: TmsServer) -> None:
    name = f"project-{uuid.uuid4().hex[:8]}"
    site = wire.SharedSetup(scope="session", node="", fixture="site", duration=30_000)
    rows = wire.SharedSetup(scope="module", node="test_a.py", fixture="rows", duration=8_000)
    with tms.client() as client:
        request = wire.ExecutionRequest(
            test_suite="all", environment="dev", metadata={"project": name, "branch": "main"}
        )
        execution = client.create_execution(request).execution_id
        tests = [
            wire.TestResult(
                title=f"test_{n}",
                node_id=f"test_a.py::test_{n}",
                status="passed",
                duration=2_000 if n else 40_000,
                shared_setups=None if n else [site, rows],
            )
            for n in range(30)
        ]
        client.submit_results(wire.ResultsSubmission(execution_id=execution, shard_id="1", tests=tests))
    status, output, _ = advise(tms, name, "1m")
    assert (status, output.splitlines()[:-1]) == (
        0,
        ["1 shard   1 min 38 s", "3 shards  58.0 s", "use 3: --tms-shard I/3"],
    )
    status, _, error = advise(tms, name, "35s")
    assert status == 1
    assert "test_9 alone takes 40.0 s with its setups" in error


def test_a_test_that_takes_longer_than_the_target_is_named(tms: TmsServer, project: str) -> None:
    status, _, error = advise(tms, project, "4s")
    assert status == 1
    assert "test_b.py::test_slow alone takes 5.0 s" in error


def test_without_runs_and_with_a_wrong_time_the_command_says_what_to_do(tms: TmsServer, project: str) -> None:
    status, _, error = advise(tms, "no-such-project", "10m")
    assert status == 1
    assert "report a run first" in error
    status, _, error = advise(tms, project, "ten")
    assert status == 2
    assert "use 90s, 10m or 1h" in error
