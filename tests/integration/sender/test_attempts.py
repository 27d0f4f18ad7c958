"""Several processes report one shard of an execution: at once, or one after another as attempts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pytest_tms import wire
from tests.helpers.processes import TmsServer, wait_for

SUITE = """
import os, pathlib

def test_first(): assert os.environ.get("FIRST") != "fails"
def test_waits(): pathlib.Path(os.environ.get("WAIT_FOR", __file__)).read_bytes()
def test_last(): assert os.environ.get("LAST") != "fails"
"""


def created(tms: TmsServer) -> str:
    with tms.client() as client:
        return client.create_execution(
            wire.ExecutionRequest(test_suite="smoke", environment="dev")
        ).execution_id


def execution(tms: TmsServer, execution_id: str) -> wire.ExecutionStatus:
    with tms.client() as client:
        return client.get_execution(execution_id)


def start(
    folder: Path, tms: TmsServer, execution_id: str, *options: str, **environ: str
) -> subprocess.Popen[str]:
    """A run that attaches to an execution."""
    folder.mkdir(exist_ok=True)
    if pipe := environ.get("WAIT_FOR"):
        os.mkfifo(folder / pipe)
    (folder / "test_it.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--tms-url",
        tms.url,
        "--tms-execution",
        execution_id,
        *options,
    ]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "TMS_API_TOKEN": tms.token, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def run(folder: Path, tms: TmsServer, execution_id: str, *options: str, **environ: str) -> str:
    output, _ = start(folder, tms, execution_id, *options, **environ).communicate(timeout=120)
    return output


def ci(attempt: int) -> dict[str, str]:
    """The variables of one attempt of a CI run."""
    return {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ATTEMPT": str(attempt), "GITHUB_RUN_ID": "7"}


@pytest.mark.slow
def test_two_live_processes_are_never_one_shard(tmp_path: Path, tms: TmsServer) -> None:
    execution_id = created(tms)
    first = start(tmp_path / "a", tms, execution_id, WAIT_FOR="go", FIRST="fails")
    try:
        wait_for(lambda: execution(tms, execution_id).results.failed, 60)
        second = run(tmp_path / "b", tms, execution_id)
    finally:
        (tmp_path / "a" / "go").write_text("go")
        output, _ = first.communicate(timeout=120)
    assert "warning: shard 1 of this execution is already running in another process" in second
    assert "this run is shard 1-2" in second
    assert "warning" not in output
    found = execution(tms, execution_id)
    assert {shard.shard_id: shard.results.total for shard in found.shard_results} == {"1": 3, "1-2": 3}
    assert (found.results.total, found.results.failed) == (6, 1)


@pytest.mark.slow
def test_a_job_that_ci_runs_again_is_the_next_attempt_and_can_turn_green(
    tmp_path: Path, tms: TmsServer
) -> None:
    execution_id = created(tms)
    run(tmp_path / "a", tms, execution_id, "--tms-shard", "linux", LAST="fails", **ci(1))
    found = execution(tms, execution_id)
    assert (found.status, found.results.failed) == ("completed", 1)
    run(tmp_path / "b", tms, execution_id, "--tms-shard", "linux", **ci(2))
    found = execution(tms, execution_id)
    (shard,) = found.shard_results
    assert (found.status, shard.status) == ("completed", "completed")
    assert (found.results.total, found.results.failed, found.results.flaky) == (3, 0, 1)
    with tms.client() as client:
        tests = {test["title"]: test for test in client.iter_tests(execution_id)}
    assert [earlier["status"] for earlier in tests["test_last"]["earlierAttempts"]] == ["failed"]


@pytest.mark.slow
def test_a_cancelled_job_that_runs_again_is_not_cancelled_any_more(tmp_path: Path, tms: TmsServer) -> None:
    execution_id = created(tms)
    first = start(tmp_path / "a", tms, execution_id, WAIT_FOR="never")
    wait_for(lambda: execution(tms, execution_id).results.passed, 60)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert execution(tms, execution_id).shard_results[0].status == "cancelled"
    run(tmp_path / "b", tms, execution_id)
    found = execution(tms, execution_id)
    assert (found.status, found.shard_results[0].status) == ("completed", "completed")
    assert (found.results.total, found.results.passed) == (3, 3)


@pytest.mark.slow
def test_a_killed_job_that_runs_again_is_not_lost_any_more(tmp_path: Path, tms: TmsServer) -> None:
    execution_id = created(tms)
    first = start(tmp_path / "a", tms, execution_id, WAIT_FOR="never")
    wait_for(lambda: execution(tms, execution_id).results.passed, 60)
    first.kill()
    first.communicate(timeout=60)
    wait_for(lambda: execution(tms, execution_id).shard_results[0].status == "error")
    shard = execution(tms, execution_id).shard_results[0]
    assert (shard.collected, shard.not_run) == (3, 2)
    assert shard.not_run_tests == ["test_it.py::test_waits"]
    run(tmp_path / "b", tms, execution_id)
    found = execution(tms, execution_id)
    assert (found.status, found.results.passed) == ("completed", 3)


@pytest.mark.slow
@pytest.mark.parametrize("payload", ["full", "documented"])
def test_tests_of_one_title_are_each_counted(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tms: TmsServer, payload: str
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makepyfile(
        """
        import pytest, time

        @pytest.mark.parametrize("currency", ["eur", "usd", "gbp"])
        @pytest.mark.tms(title="pays")
        def test_pays(currency):
            time.sleep(1.1)
            assert currency != "usd"
        """
    )
    pytester.makeconftest("def pytest_tms_result(result): result['nodeId'] = None\n")
    result = pytester.runpytest_subprocess("--tms-url", tms.url, "-o", f"tms_payload={payload}")
    (link,) = [word for word in result.stdout.str().split() if "/reports/exec_" in word][-1:]
    found = execution(tms, link.rpartition("/")[2])
    assert (found.results.total, found.results.failed, found.results.passed) == (3, 1, 2)
    with tms.client() as client:
        assert len(list(client.iter_tests(found.execution_id))) == 3


@pytest.mark.slow
def test_what_did_not_run_is_shown_by_the_api_and_the_command(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tms: TmsServer
) -> None:
    from tests.helpers.processes import run_tms

    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makepyfile(
        "import pytest\n@pytest.mark.parametrize('n', range(45))\ndef test_it(n): assert n != 6\n"
    )
    result = pytester.runpytest_subprocess("--tms-url", tms.url, "-x")
    (link,) = [word for word in result.stdout.str().split() if "/reports/exec_" in word][-1:]
    execution_id = link.rpartition("/")[2]
    progress = execution(tms, execution_id).progress
    assert (progress.tests_expected, progress.tests_not_run) == (45, 38)
    shown = run_tms("execution", "show", execution_id, "--url", tms.url, TMS_API_TOKEN=tms.token)
    assert "stopped early: 38 of 45 did not run" in shown.stdout
