"""Runs whose results depend on luck, on an earlier run, or on where they were started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import reported_runs
from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import TmsServer, environ_outside_pytest

MANY = """
import pytest

@pytest.mark.parametrize("n", range(30))
def test_many(n): assert n % 7 != 3
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("-x", "stopping after 1 failures"),
        ("--maxfail=2", "stopping after 2 failures"),
        ("--stepwise", "Test failed, continuing from this test next run."),
    ],
)
def test_what_ran_before_a_run_over_workers_stopped_is_stored(
    limit: str, why: str, tms: TmsServer, tmp_path: Path
) -> None:
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": MANY}, "-n", "2", "-v", limit)
    assert ran.status is not None
    assert ran.exit == 2
    assert reported_runs.differing_tests(ran) == set()
    reported_runs.assert_counted(ran)
    collected, delivered, not_run = ran.reported
    assert (collected, delivered) == (30, len(ran.stored))
    assert not_run == collected - delivered > 0
    assert ran.status.status == "completed"
    assert {shard.status for shard in ran.status.shard_results} <= {"failed", "completed"}
    assert re.search(rf"^\d+ of 30 tests did not run: {why}$", ran.output, re.M)
    named = set(re.findall(r"^did not run: (test_it.py::.*)$", ran.output, re.M))
    assert len(named) == not_run
    assert not named & {test["nodeId"] for test in ran.stored}


def test_what_a_crashed_worker_leaves_undone_is_said(tms: TmsServer, tmp_path: Path) -> None:
    suite = "import os, pytest\ndef test_0(): os._exit(1)\n" + MANY.partition("\n")[2]
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": suite}, "-n", "1", "--max-worker-restart=0")
    collected, delivered, not_run = ran.reported
    assert (collected, delivered) == (31, 1)
    assert re.search(
        rf"^{not_run} of {collected} tests did not run: a worker crashed, and none took its place$",
        ran.output,
        re.M,
    )


def test_the_last_failures_alone_are_a_run_of_their_own(tms: TmsServer, tmp_path: Path) -> None:
    first = reported_runs.run(tms, tmp_path, {"test_it.py": MANY})
    again = reported_runs.run(tms, tmp_path, {"test_it.py": MANY}, "--lf")
    assert first.reported == (30, 30, 0)
    assert again.reported == (4, 4, 0)
    assert reported_runs.differing_tests(again) == set()
    assert {test["status"] for test in again.stored} == {"failed"}


@pytest.mark.slow
@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_started_from_another_folder_nothing_changes(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    files = {"pkg/test_it.py": "def test_it(): pass\n"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    project = str(tmp_path / "project")
    ran = reported_runs.run(tms, tmp_path, files, *reported_runs.MODES[mode], project, cwd=elsewhere)
    reported_runs.assert_stored(
        ran.stored, [reported_runs.passed("pkg/test_it.py::test_it", file="pkg/test_it.py")]
    )
    assert list(elsewhere.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_without_a_terminal_everything_is_stored(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    """No link is shown, so a hook tells which execution it was."""
    conftest = """
def pytest_tms_finished(summary):
    print("finished", summary.report_url, flush=True)
"""
    files = {"test_it.py": MANY, "conftest.py": conftest}
    ran = reported_runs.run(tms, tmp_path, files, *reported_runs.MODES[mode], "-p", "no:terminal", "-s")
    assert ran.exit == 1
    assert len(ran.stored) == 30
    reported_runs.assert_counted(ran)


@pytest.mark.parametrize(
    "option",
    [
        "--setup-only",
        "--setup-plan",
        "--collect-only",
        "--fixtures",
        "--fixtures-per-test",
        "--cache-show",
        "--markers",
    ],
)
def test_where_no_test_is_run_nothing_is_reported(option: str, foreign: ForeignTms, tmp_path: Path) -> None:
    foreign.add_response(500)
    reported_runs.run(TmsServer(foreign.url, "token", tmp_path), tmp_path, {"test_it.py": MANY}, option)
    assert foreign.requests == []


@pytest.mark.slow
def test_looponfail_is_not_reported_since_each_loop_would_be_a_run(
    foreign: ForeignTms, tmp_path: Path
) -> None:
    foreign.add_response(500)
    reported_runs.write(tmp_path, {"test_it.py": "def test_it(): assert 0\n"})
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pytest", "--looponfail"],
        cwd=tmp_path,
        env={**environ_outside_pytest(os.environ), "TMS_URL": foreign.url, "TMS_API_TOKEN": "token"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "waiting for changes" in line or "Watching" in line:
            break
    process.kill()
    process.wait()
    process.stdout.close()
    assert "1 failed" in said
    reason = "tms: not reporting: each loop of --looponfail would be a run of its own"
    assert [line for line in said.splitlines() if line.startswith("tms")] == [reason]
    assert foreign.requests == []


@pytest.mark.slow
def test_reporting_costs_no_further_look_at_all_that_pytest_made(tms: TmsServer, tmp_path: Path) -> None:
    """Whoever still points at the session when the process ends has Python search the whole heap once more."""
    conftest = """
import gc

def pytest_unconfigure():
    gc.set_debug(gc.DEBUG_STATS)
"""
    suite = "".join(f"def test_{number}(): pass\n" for number in range(1000))
    reported_runs.write(tmp_path, {"test_it.py": suite, "conftest.py": conftest})

    def looks(*options: str) -> int:
        completed = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:reportlog", *options],
            cwd=tmp_path,
            env={**environ_outside_pytest(os.environ), "TMS_URL": tms.url, "TMS_API_TOKEN": tms.token},
            capture_output=True,
            text=True,
            check=False,
        )
        whole = r"^gc: collecting generation 2\.\.\.\ngc: objects in each generation: \d+ \d+ (\d+)$"
        objects = [int(count) for count in re.findall(whole, completed.stderr, re.M)]
        return sum(count > 0.7 * max(objects) for count in objects)

    assert looks() == looks("-p", "no:tms") > 1


def test_a_worker_loads_nothing_that_only_its_controller_needs(tms: TmsServer, tmp_path: Path) -> None:
    suite = """
import sys

def test_it():
    assert "pytest_tms.plugin.results.enrichment" in sys.modules
    assert not {"msgspec", "filelock", "pytest_tms.client", "requests", "urllib3"} & set(sys.modules)
"""
    ran = reported_runs.run(tms, tmp_path, {"test_it.py": suite}, "-n", "1")
    reported_runs.assert_stored(ran.stored, [reported_runs.passed("test_it.py::test_it")])
