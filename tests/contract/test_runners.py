"""The example runners against the real server, as their README runs them."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import Api, Run

RUNNERS = Path(__file__).parents[2] / "examples" / "runners"
TITLES = [
    "home directory exists",
    "temporary directory is writable",
    "clock is set",
    "numbers sort by value",
    "accents take two bytes",
    "build number is a number",
]


@pytest.fixture(
    params=[
        pytest.param(("bash", "runner.sh"), id="bash"),
        pytest.param(("node", "runner.mjs"), id="node", marks=pytest.mark.node),
        pytest.param((sys.executable, "runner.py"), id="python"),
    ]
)
def runner(request: pytest.FixtureRequest, run: Run) -> Run:
    program, name = request.param
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    return lambda **environment: run(program, RUNNERS / name, **environment)


def test_a_runner_reports_its_checks(runner: Run, api: Api) -> None:
    completed = runner(TMS_URL=api.url, TMS_API_TOKEN=api.token, BUILD_NUMBER="")
    assert (completed.returncode, completed.stderr) == (0, "")
    counts, link = completed.stdout.splitlines()[-2:]
    assert counts == "5 passed, 0 failed, 1 skipped"
    execution_id = link.rpartition("/")[2]
    status = api.status(execution_id)
    assert status["artifacts"]["reportUrl"] == link
    assert status["status"] == "completed"
    assert status["results"] == {"total": 6, "passed": 5, "failed": 0, "skipped": 1, "flaky": 0}
    assert [(shard["shardId"], shard["status"]) for shard in status["shardResults"]] == [
        ("1", "completed"),
        ("2", "completed"),
    ]
    tests = api.request("GET", f"/executions/{execution_id}/tests").json()["tests"]
    assert sorted(test["title"] for test in tests) == sorted(TITLES)


def test_a_failed_check_fails_the_runner_but_not_the_execution(runner: Run, api: Api) -> None:
    completed = runner(TMS_URL=api.url + "/", TMS_API_TOKEN=api.token, TMPDIR="/nowhere", BUILD_NUMBER="456")
    assert completed.returncode == 1
    assert re.fullmatch(r"runner\.\w+: 1 check\(s\) failed\.\n", completed.stderr)
    status = api.status(completed.stdout.splitlines()[-1].rpartition("/")[2])
    assert (status["status"], status["metadata"]) == ("completed", {"buildNumber": "456"})
    assert status["results"] == {"total": 6, "passed": 5, "failed": 1, "skipped": 0, "flaky": 0}
    assert [shard["status"] for shard in status["shardResults"]] == ["failed", "completed"]


@pytest.mark.slow
def test_a_runner_says_that_no_tms_answers(runner: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    completed = runner(TMS_URL=f"http://127.0.0.1:{port}/api", TMS_API_TOKEN="any")
    assert completed.returncode == 1
    assert re.fullmatch(r"runner\.\w+: .*does not answer.*\n", completed.stderr)


def test_a_runner_says_what_the_tms_refuses(runner: Run, api: Api) -> None:
    completed = runner(TMS_URL=api.url, TMS_API_TOKEN="unknown")
    assert completed.returncode == 1
    assert re.fullmatch(r"runner\.\w+: .*token.*\n", completed.stderr)


def test_a_runner_says_what_is_not_set(runner: Run) -> None:
    completed = runner(TMS_URL="")
    assert completed.returncode == 2
    assert re.fullmatch(r"runner\.\w+: Set TMS_URL .*TMS_API_TOKEN\.\n", completed.stderr)
