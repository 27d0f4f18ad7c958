"""`tms execution`: create, show, finish and cancel against the real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import Tms, run_tms

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def command(tms: Tms) -> Command:
    """Run `tms execution` against the server."""
    settings = {"TMS_URL": tms.url, "TMS_API_TOKEN": tms.token}
    return lambda *arguments, **environ: run_tms("execution", *arguments, **{**settings, **environ})


def variables(done: CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_create_prints_variables_and_the_link_beside_them(command: Command, tms: Tms) -> None:
    done = command(
        "create", "--suite", "smoke", "--environment", "staging", "--provider", "jenkins", "--trigger", "scheduled",
        "--timeout", "60", "--shards", "2", "--meta", "team=checkout", "--meta", "note=a=b c",
    )  # fmt: skip
    made = variables(done)
    assert list(made) == ["TMS_EXECUTION_ID", "TMS_WEBHOOK_TOKEN"]
    assert done.stderr == f"report  {tms.root}/reports/{made['TMS_EXECUTION_ID']}\n"
    with tms.client() as client:
        status = client.get_execution(made["TMS_EXECUTION_ID"])
    assert (status.test_suite, status.environment, status.provider) == ("smoke", "staging", "jenkins")
    assert (status.trigger_source, status.progress.total_shards) == ("scheduled", 2)
    assert status.configuration["timeout"] == 60_000
    assert (status.metadata["team"], status.metadata["note"]) == ("checkout", "a=b c")


def test_create_takes_the_environment_s_settings(command: Command, tms: Tms) -> None:
    done = command("create", "--json", TMS_SUITE="api", TMS_ENVIRONMENT="production")
    made = json.loads(done.stdout)
    assert {"executionId", "webhookToken", "webhookUrl", "reportUrl", "capabilities"} <= set(made)
    assert (made["configuration"]["testSuite"], made["configuration"]["environment"]) == ("api", "production")


def test_a_run_can_be_attached_to_what_create_made(
    command: Command, tms: Tms, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = variables(command("create"))
    for name, value in {**made, "TMS_URL": tms.url, "TMS_API_TOKEN": tms.token}.items():
        monkeypatch.setenv(name, value)
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest("--tms-url", tms.url, "--tms-shard", "1").assert_outcomes(passed=1)
    shown = command("show", made["TMS_EXECUTION_ID"])
    assert shown.stdout.splitlines() == [
        f"{made['TMS_EXECUTION_ID']}  completed, 1 of 1 shards finished: 1 passed",
        "shard   1 completed: 1 passed",
        f"report  {tms.root}/reports/{made['TMS_EXECUTION_ID']}",
    ]
    document = json.loads(command("show", made["TMS_EXECUTION_ID"], "--json").stdout)
    assert document["results"] == {"total": 1, "passed": 1, "failed": 0, "skipped": 0, "flaky": 0}


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_finish_needs_only_the_execution_s_own_token(command: Command, tms: Tms, status: str) -> None:
    made = variables(command("create"))
    name = made["TMS_EXECUTION_ID"]
    own = {"TMS_API_TOKEN": "", "TMS_WEBHOOK_TOKEN": made["TMS_WEBHOOK_TOKEN"]}
    assert command("finish", name, "--status", status, **own).stdout == f"{name} is {status}\n"
    again = json.loads(command("finish", name, "--status", status, "--json").stdout)
    assert (again["event"], again["executionStatus"]) == (f"execution.{status}", status)
    with tms.client() as client:
        assert client.get_execution(name).status == status


def test_what_has_ended_otherwise_stays_so(command: Command) -> None:
    name = variables(command("create"))["TMS_EXECUTION_ID"]
    assert command("cancel", name).stdout == f"{name} is cancelled\n"
    assert json.loads(command("cancel", name, "--json").stdout)["status"] == "cancelled"
    late = command("finish", name)
    assert (late.returncode, late.stderr) == (
        1,
        f"tms: {name} is already cancelled, which cannot change to completed\n",
    )
    name = variables(command("create"))["TMS_EXECUTION_ID"]
    command("finish", name)
    late = command("cancel", name)
    assert late.returncode == 1
    assert late.stderr.startswith(
        "tms: The execution is completed and cannot be cancelled: none of its shards"
    )


@pytest.mark.parametrize(
    "arguments",
    [["create", "--timeout", "0"], ["create", "--meta", "x"], ["create", "--trigger", "x"], ["show"], ["finish"],
     ["finish", "x", "--status", "running"], ["cancel", "x", "y"]],
)  # fmt: skip
def test_wrong_usage_is_status_2(command: Command, arguments: list[str]) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "--help`" in done.stderr


@pytest.mark.parametrize("arguments", [["create"], ["show", "x"], ["finish", "x"], ["cancel", "x"]])
def test_trouble_is_one_line(command: Command, foreign: ForeignTms, arguments: list[str]) -> None:
    without = command(*arguments, TMS_API_TOKEN="")
    assert (without.returncode, without.stdout) == (2, "")
    assert "there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE" in without.stderr
    wrong = command(*arguments, TMS_API_TOKEN="nonsense")
    said = "tms: The token is not a complete API token: its checksum does not match. Copy the whole token.\n"
    assert (wrong.returncode, wrong.stderr) == (1, said)
    foreign.add_response(200, b"<html>hello</html>", Content_Type="text/html")
    html = command(*arguments, TMS_URL=foreign.url)
    assert html.returncode == 1
    assert html.stderr.endswith("not as a TMS does: check that the base URL includes /api.\n")
    assert len(html.stderr.splitlines()) == 1


def test_a_server_that_is_away_is_one_line(command: Command) -> None:
    done = command("show", "x", TMS_URL="http://127.0.0.1:1/api")
    assert done.returncode == 1
    assert done.stderr == "tms: http://127.0.0.1:1 does not answer: the connection is refused.\n"
