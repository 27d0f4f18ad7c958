"""Shards balance slow tests, and divide a module with an expensive setup only where that saves time."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

import pytest

from pytest_tms import wire
from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer
from tests.helpers.reported_runs import FinishedRun

SUITE = {
    "conftest.py": """
import os, time, pytest

@pytest.fixture(scope="session")
def site():
    time.sleep(0.02)

@pytest.fixture(scope="module")
def rows(site):
    time.sleep(0.01)
""",
    **{
        f"test_{name}.py": f"import pytest\n@pytest.mark.parametrize('n', range(10))\ndef test_{name}(n): pass\n"
        for name in "abcdefghi"
    },
    "test_j.py": "import pytest\n@pytest.mark.parametrize('n', range(10))\ndef test_j(n, rows): pass\n",
}


def start_project(tms: TmsServer, slow: int, setup: int) -> str:
    """A project that has run: tests of one second, those of ``test_j.py`` and their setup as slow as given."""
    name = f"project-{uuid.uuid4().hex[:8]}"
    with tms.client() as client:
        request = wire.ExecutionRequest(test_suite="all", environment="dev", metadata={"project": name})
        execution = client.create_execution(request).execution_id
        tests = []
        for file in "abcdefghij":
            for number in range(10):
                node_id = f"test_{file}.py::test_{file}[{number}]"
                paid = None
                duration = slow if file == "j" else 1_000
                if file == "j" and number == 0:
                    paid = [
                        wire.SharedSetup(scope="module", node="test_j.py", fixture="rows", duration=setup)
                    ]
                    duration += setup
                tests.append(
                    wire.TestResult(
                        title=node_id,
                        node_id=node_id,
                        status="passed",
                        duration=duration,
                        shared_setups=paid,
                    )
                )
        client.submit_results(wire.ResultsSubmission(execution_id=execution, shard_id="1", tests=tests))
    return name


def run_shards(tms: TmsServer, folder: Path, name: str, shards: int, *options: str) -> list[FinishedRun]:
    """Run the suite in so many shards."""
    found = []
    for number in range(1, shards + 1):
        own = folder / str(number)
        own.mkdir()
        arguments = ("--tms-shard", f"{number}/{shards}", "--tms-run-key", name, *options)
        ran = reported_runs.run(tms, own, SUITE, *arguments, extra={"TMS_PROJECT": name})
        assert (ran.exit, ran.warnings) == (0, [])
        found.append(ran)
    return found


def count_files(runs: list[FinishedRun]) -> list[Counter[str]]:
    """How many tests of each file each shard ran."""
    return [
        Counter(
            test["nodeId"].partition("::")[0] for test in runs[-1].stored if test["shardId"] == str(number)
        )
        for number in range(1, len(runs) + 1)
    ]


def test_ten_slow_tests_in_one_of_ten_modules_are_balanced(tms: TmsServer, tmp_path: Path) -> None:
    name = start_project(tms, slow=9_000, setup=100)
    counts = count_files(run_shards(tms, tmp_path, name, 2))
    assert sum(counts, Counter()) == {f"test_{file}.py": 10 for file in "abcdefghij"}
    loads = [sum(9 if file == "test_j.py" else 1 for file in each.elements()) for each in counts]
    assert max(loads) <= 92  # of 180 seconds


def test_a_module_with_a_setup_of_minutes_stays_in_one_shard(tms: TmsServer, tmp_path: Path) -> None:
    name = start_project(tms, slow=1_000, setup=60_000)
    runs = run_shards(tms, tmp_path, name, 2)
    counts = count_files(runs)
    assert sorted(each["test_j.py"] for each in counts) == [0, 10]
    # The other shard has more tests: 70 seconds of this module, and 90 of the others.
    assert sorted(each.total() for each in counts) == [20, 80]
    divisions = {shard.division for shard in runs[-1].status.shard_results} if runs[-1].status else set()
    assert len(divisions) == 1


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_the_first_tests_that_need_shared_fixtures_carry_their_setups(
    tms: TmsServer, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    ran = reported_runs.run(tms, tmp_path, SUITE, "test_j.py", *workers)
    assert ran.exit == 0
    paid = [test for test in ran.stored if "sharedSetups" in test]
    assert len(paid) == (2 if workers else 1)
    for test in paid:
        setups = {(each["scope"], each["node"], each["fixture"]): each for each in test["sharedSetups"]}
        assert setups.keys() == {("session", "", "site"), ("module", "test_j.py", "rows")}
        assert setups["session", "", "site"]["duration"] >= 20
        assert setups["module", "test_j.py", "rows"]["duration"] >= 10
        assert test["duration"] >= sum(each["duration"] for each in setups.values()) - 2  # rounded


def test_the_traceback_of_a_failing_fixture_has_no_function_of_the_plugin(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def own():
            raise RuntimeError("own breaks")

        @pytest.fixture(scope="module")
        def shared():
            raise RuntimeError("shared breaks")
        """
    )
    pytester.makepyfile("def test_own(own): pass\ndef test_shared(shared): pass")
    result = pytester.runpytest_subprocess("--tms-offline")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*own breaks", "*shared breaks"])
    assert "pytest_tms" not in result.stdout.str()
