"""What a runner says while no test ends: its shards go on, and must not be taken for lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import wait_for

SUITE = """
import pathlib

def test_long():
    pathlib.Path("go").read_bytes()  # a pipe: until it is written to

def test_short(): pass
"""


@pytest.mark.slow
def test_a_long_test_keeps_every_shard_of_its_runner_alive(
    pytester: pytest.Pytester, foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = {"executionId": "exec_1", "capabilities": ["live-tests"]}
    foreign.add_response(201, {**created, "executionStatus": "running", "progressInterval": 20})
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    pytester.makepyfile(SUITE)
    os.mkfifo(pytester.path / "go")

    def beats() -> list[dict[str, Any]]:
        sent = [json.loads(request["body"]) for request in list(foreign.requests)]
        return [body["data"] for body in sent if body.get("event") == "execution.progress"]

    def is_long() -> bool:
        running = [[each.split("::")[1] for each in beat.get("running", ())] for beat in beats()]
        return running.count(["test_long"]) >= 5

    command = [sys.executable, "-m", "pytest", "-n2", f"--tms-url={foreign.url}"]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(is_long, 120)
            assert {tuple(beat.get("shards", ())) for beat in beats()} == {("1", "2")}
            assert all("interval" not in beat for beat in beats())
            pytester.path.joinpath("go").write_text("go")
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


def test_a_runner_says_how_seldom_it_reports_where_its_user_wants_it_so(
    pytester: pytest.Pytester, foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = {"executionId": "exec_1", "capabilities": ["live-tests"], "executionStatus": "running"}
    foreign.add_response(201, created)
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    pytester.makeini("[pytest]\ntms_progress_interval = 300")
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest(f"--tms-url={foreign.url}").assert_outcomes(passed=1)
    sent = [json.loads(request["body"]) for request in foreign.requests]
    assert {body["data"]["interval"] for body in sent if body.get("event") == "execution.progress"} == {
        300_000
    }


@pytest.mark.slow
def test_a_run_whose_execution_has_ended_in_the_tms_is_stopped(
    pytester: pytest.Pytester, foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = {"executionId": "exec_1", "capabilities": ["live-tests"], "executionStatus": "failed"}
    foreign.add_response(201, created)
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    pytester.makepyfile(
        "import pytest, time\n@pytest.mark.parametrize('n', range(400))\ndef test_it(n): time.sleep(0.05)\n"
    )
    ran = pytester.runpytest_subprocess(f"--tms-url={foreign.url}")
    assert ran.ret == pytest.ExitCode.INTERRUPTED
    ran.stdout.fnmatch_lines(
        ["* of 400 tests did not run: the execution ended in the TMS, its page has the reason"]
    )
