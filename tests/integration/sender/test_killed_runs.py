"""How a run may end: on its own, stopped, or killed. The TMS has what has a result, and names what did not run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from pytest_tms import wire
from tests.helpers.processes import TmsServer, wait_for

SLOW = """
import time, pytest

@pytest.mark.parametrize("n", range(400))
def test_it(n): time.sleep(0.05)
"""


@contextmanager
def running(folder: Path, tms: TmsServer, *options: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """A run of the suite in ``folder`` whose output is read while it goes on."""
    run = subprocess.Popen(
        [sys.executable, "-u", "-m", "pytest", "-v", "--tms-url", tms.url, *options],
        cwd=folder,
        env={**os.environ, "TMS_API_TOKEN": tms.token},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A job in the background of a script, as CI may be, ignores Ctrl-C, and so would its children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert run.stdout is not None
    try:
        yield run, run.stdout
    finally:
        run.kill()
        run.wait()
        run.stdout.close()


def until_passed(output: IO[str], number: int) -> None:
    """Read until so many tests have passed."""
    passed = 0
    while passed < number:
        line = output.readline()
        assert line, "the run ended before"
        passed += "PASSED" in line


def execution_of(folder: Path) -> str:
    """The id of the execution of the one journal in ``folder``, once the TMS has created it."""

    def joined() -> str:
        for path in folder.glob(".tms/journal/*.acks"):
            if found := re.findall(r"exec_\w+", path.read_text()):
                return str(found[0])
        return ""

    return wait_for(joined)


def finished(tms: TmsServer, execution_id: str) -> wire.ExecutionStatus:
    """The execution once each of its shards has ended."""
    with tms.client() as client:

        def ended() -> wire.ExecutionStatus | None:
            found = client.get_execution(execution_id)
            over = found.shard_results and all(
                shard.status not in ("pending", "running") for shard in found.shard_results
            )
            return found if over and found.status in ("completed", "failed", "cancelled") else None

        return wait_for(ended)


def end_events(tms: TmsServer, execution_id: str) -> list[dict[str, object]]:
    """The data of the ends of the shards, as they were sent."""
    import sqlite3

    with sqlite3.connect(f"file:{tms.data_dir}/tms.sqlite3?mode=ro", uri=True) as database:
        rows = database.execute(
            "select document from events where execution_id = ? and event = 'shard.completed'",
            [execution_id],
        )
        return [json.loads(document)["data"] for (document,) in rows]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_ctrl_c_cancels_the_shards_and_names_what_did_not_run(
    tmp_path: Path, tms: TmsServer, workers: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text(SLOW)
    with running(tmp_path, tms, *workers) as (run, output):
        until_passed(output, 3)
        execution_id = execution_of(tmp_path)
        run.send_signal(signal.SIGINT)
        rest = output.read()
        assert run.wait(timeout=60) == 2
    assert re.search(r"^\d+ of 400 tests did not run: Ctrl-C$", rest, re.MULTILINE)
    assert "did not run: test_it.py::test_it[399]" in rest
    execution = finished(tms, execution_id)
    assert execution.status == "cancelled"
    assert {shard.status for shard in execution.shard_results} == {"cancelled"}


KILLED = """
import os, signal, time

def test_before(): pass

def test_killer():
    time.sleep(0.2)
    {kill}
    time.sleep(60)

def test_after(): pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill", "status"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("os._exit(3)", 3),
    ],
)
def test_a_run_that_is_killed_is_closed_and_its_test_in_flight_is_named(
    tmp_path: Path, tms: TmsServer, kill: str, status: int
) -> None:
    (tmp_path / "test_it.py").write_text(KILLED.format(kill=kill))
    with running(tmp_path, tms, "-p", "no:faulthandler") as (run, output):
        execution_id = execution_of(tmp_path)
        output.read()
        assert run.wait(timeout=60) == status
    execution = finished(tms, execution_id)
    (shard,) = execution.shard_results
    assert (execution.status, shard.status, shard.results.total) == ("failed", "error", 1)
    (end,) = wait_for(lambda: end_events(tms, execution_id))
    assert "pytest ended without finishing its session" in str(end["reason"])
    assert "test_it.py::test_killer" in str(end["reason"])
    wait_for(lambda: not list(tmp_path.glob(".tms/journal/*.jsonl")))


@pytest.mark.slow
def test_a_killed_run_is_closed_although_a_child_of_its_tests_lives_on(
    tmp_path: Path, tms: TmsServer
) -> None:
    """The child has the pipe and the journal open, as every forked child has."""
    (tmp_path / "test_it.py").write_text(
        """
import os, signal, time

def test_forks():
    if not os.fork():
        while not os.path.exists("over"):
            time.sleep(0.05)
        os._exit(0)

def test_killer():
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    with running(tmp_path, tms) as (run, _):
        try:
            execution_id = execution_of(tmp_path)
            assert run.wait(timeout=60) == -signal.SIGKILL
            assert finished(tms, execution_id).results.total == 1
        finally:
            (tmp_path / "over").touch()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["thread", "signal"])
def test_a_test_that_runs_out_of_time_has_a_result(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tms: TmsServer, method: str
) -> None:
    """pytest-timeout's method ``thread`` ends the process as it stands."""
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makepyfile(
        test_it="""
        import pytest, time
        def test_a(): pass
        @pytest.mark.timeout(1)
        def test_b():
            time.sleep(0.6)
            time.sleep(60)
        def test_c(): pass
        """
    )
    result = pytester.runpytest_subprocess(
        "--tms-url", tms.url, f"--timeout-method={method}", "--tms-meta", f"run={pytester.path}"
    )
    assert result.ret == 1
    if method == "signal":
        result.stdout.fnmatch_lines(["tms: 3 results reported: *"])
        return
    import sqlite3

    with sqlite3.connect(f"file:{tms.data_dir}/tms.sqlite3?mode=ro", uri=True) as database:
        query = "select id from executions where metadata like ?"
        ((execution_id,),) = wait_for(lambda: database.execute(query, [f"%{pytester.path}%"]).fetchall())
    execution = finished(tms, execution_id)
    assert (execution.status, execution.results.passed, execution.results.failed) == ("cancelled", 1, 1)
    with tms.client() as client:
        (failed,) = client.iter_tests(execution_id, status="failed")
    assert (failed["nodeId"], failed["outcome"]) == ("test_it.py::test_b", "timeout")
    assert failed["error"] == "Timeout (>1 s): pytest-timeout ended the process"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_cancel_in_the_tms_stops_the_run(tmp_path: Path, tms: TmsServer, workers: tuple[str, ...]) -> None:
    (tmp_path / "test_it.py").write_text(SLOW)
    with running(tmp_path, tms, *workers) as (run, output):
        until_passed(output, 3)
        execution_id = execution_of(tmp_path)
        with tms.client() as client:
            wait_for(lambda: client.get_execution(execution_id).results.total)
            client.cancel_execution(execution_id)
            rest = output.read()
            assert run.wait(timeout=60) == pytest.ExitCode.INTERRUPTED
            assert client.get_execution(execution_id).status == "cancelled"
    assert "the execution was cancelled in the TMS" in rest
    assert rest.count("PASSED") < 300


@pytest.mark.slow
def test_a_time_limit_that_was_set_stops_the_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_it=SLOW)
    result = pytester.runpytest_subprocess("--tms-offline", "-o", "tms_timeout=1")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["* of 400 tests did not run: tms_timeout: the run took longer than 1 s"])


@pytest.mark.slow
def test_what_minus_x_left_out_is_counted_and_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="def test_a(): assert 0\ndef test_b(): pass\ndef test_c(): pass\n")
    result = pytester.runpytest_subprocess("--tms-offline", "-x", "-v")
    result.stdout.fnmatch_lines(
        [
            "2 of 3 tests did not run: stopping after 1 failures",
            "did not run: test_it.py::test_b",
            "did not run: test_it.py::test_c",
        ]
    )
    (journal,) = pytester.path.glob(".tms/offline/*.jsonl")
    (end,) = [json.loads(line) for line in journal.read_text().splitlines() if '"is":"end"' in line]
    assert (end["collected"], end["not_run"], end["exit_status"]) == (3, 2, 1)
    assert end["not_run_tests"] == ["test_it.py::test_b", "test_it.py::test_c"]
