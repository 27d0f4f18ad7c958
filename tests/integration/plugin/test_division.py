"""Shards divide the tests by the durations of earlier runs, in the same way, or all by number."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from pytest_tms import TmsClient, wire
from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer
from tests.helpers.reported_runs import FinishedRun

FILES = {
    f"test_{name}.py": f"import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_{name}(n): pass\n"
    for name in "abcd"
}
SLOW = {f"test_a.py::test_a[{n}]" for n in range(4)}
EVERY = {f"test_{name}.py::test_{name}[{n}]" for name in "abcd" for n in range(4)}


@dataclass(frozen=True)
class Project:
    """A project on a real server that has run before: the tests of its first file take very long."""

    tms: TmsServer
    folder: Path
    name: str

    def run(self, shard: str, *options: str, key: str = "one", **environ: str) -> FinishedRun:
        folder = self.folder / shard.replace("/", "-")
        folder.mkdir(exist_ok=True)
        arguments = (
            "--tms-shard",
            shard,
            *(("--tms-run-key", f"{self.name}-{key}") if key else ()),
            *options,
        )
        return reported_runs.run(
            self.tms, folder, FILES, *arguments, extra={"TMS_PROJECT": self.name, **environ}
        )


@pytest.fixture
def project(tms: TmsServer, tmp_path: Path) -> Project:
    name = f"project-{uuid.uuid4().hex[:8]}"
    with tms.client() as client:
        request = wire.ExecutionRequest(test_suite="all", environment="dev", metadata={"project": name})
        execution = client.create_execution(request).execution_id
        tests = [
            wire.TestResult(
                title=test, node_id=test, status="passed", duration=60_000 if test in SLOW else 50
            )
            for test in sorted(EVERY)
        ]
        client.submit_results(wire.ResultsSubmission(execution_id=execution, shard_id="1", tests=tests))
    return Project(tms, tmp_path, name)


def run_both(project: Project, *options: str, key: str = "one") -> list[set[str]]:
    """Run both shards, and return the tests of each."""
    found = []
    for shard in ("1", "2"):
        ran = project.run(f"{shard}/2", *options, key=key)
        assert ran.exit == 0
        assert ran.warnings == []
        found.append({test["nodeId"] for test in ran.stored if test["shardId"] == shard})
    return found


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_shards_divide_slow_tests_by_their_durations(project: Project, workers: tuple[str, ...]) -> None:
    first, second = run_both(project, *workers)
    with project.tms.client() as client:
        execution = client.list_executions(project=project.name, limit=1).executions[0].execution_id
        divisions = {shard.division for shard in client.get_execution(execution).shard_results}
    assert len(divisions) == 1
    assert divisions != {None}
    assert first | second == EVERY
    assert not first & second
    assert (len(first & SLOW), len(second & SLOW)) == (2, 2)


def test_shards_divide_by_number_if_asked_to(project: Project) -> None:
    first, second = run_both(project, "--tms-split", "count")
    assert (len(first), len(second), first | second) == (8, 8, EVERY)
    assert len(first & SLOW) in (0, 4)


@pytest.mark.slow
def test_shards_that_divide_in_different_ways_are_shown(project: Project) -> None:
    assert project.run("1/2").exit == 0
    ran = project.run("2/2", "--tms-split", "count")
    assert ran.status is not None
    divisions = {shard.shard_id: shard.division or "" for shard in ran.status.shard_results}
    assert divisions["1"].startswith("2 shards, 16 tests by duration, ")
    assert divisions["2"].startswith("2 shards, 16 tests by number, ")
    page = requests.get(f"{project.tms.root}/runs/{ran.status.execution_id}", timeout=60).text
    assert "did not divide the same tests in the same way" in page
    assert "shard 2: 2 shards, 16 tests by number" in page


def test_shards_of_executions_of_their_own_divide_by_number(project: Project) -> None:
    ran = project.run("1/2", key="")
    assert len(ran.stored) == 8
    assert len({test["nodeId"] for test in ran.stored} & SLOW) in (0, 4)


def test_a_shard_without_an_answer_divides_by_number_and_says_so(project: Project) -> None:
    ran = project.run("1/2", TMS_API_TOKEN="tms_wrong")
    assert ran.exit == 0
    assert "8 passed, 8 deselected" in ran.output
    assert [line for line in ran.warnings if "--tms-split count" in line]


def test_an_unknown_way_to_split_is_named(project: Project) -> None:
    ran = project.run("1/2", "--tms-split", "evenly")
    assert "evenly" in ran.output
    assert "duration, count" in ran.output


def test_the_client_reads_durations(project: Project) -> None:
    with TmsClient(project.tms.url, project.tms.token) as client:
        found = client.get_timings(test_suite="all", environment="dev", branch="main", project=project.name)
    assert found.tests == []  # its runs have no branch
