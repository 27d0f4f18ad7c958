"""`tms execution`: create, show, finish and cancel against the real server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from pytest_tms import wire
from pytest_tms.exports.formats import FORMATS
from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import TmsServer, run_tms

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def command(tms: TmsServer) -> Command:
    """Run `tms execution` against the server."""
    settings = {"TMS_URL": tms.url, "TMS_API_TOKEN": tms.token}
    return lambda *arguments, **environ: run_tms("execution", *arguments, **{**settings, **environ})


def variables(completed: CompletedProcess[str]) -> dict[str, str]:
    assert completed.returncode == 0, completed.stderr
    return dict(line.split("=", 1) for line in completed.stdout.splitlines())


def test_create_prints_variables_and_the_link_beside_them(command: Command, tms: TmsServer) -> None:
    completed = command(
        "create", "--suite", "smoke", "--environment", "staging", "--provider", "jenkins", "--trigger", "scheduled",
        "--timeout", "60", "--shards", "2", "--meta", "team=checkout", "--meta", "note=a=b c",
    )  # fmt: skip
    made = variables(completed)
    assert list(made) == ["TMS_EXECUTION_ID", "TMS_WEBHOOK_TOKEN"]
    assert completed.stderr == f"report  {tms.root}/reports/{made['TMS_EXECUTION_ID']}\n"
    with tms.client() as client:
        status = client.get_execution(made["TMS_EXECUTION_ID"])
    assert (status.test_suite, status.environment, status.provider) == ("smoke", "staging", "jenkins")
    assert (status.trigger_source, status.progress.total_shards) == ("scheduled", 2)
    assert status.configuration["timeout"] == 60_000
    assert (status.metadata["team"], status.metadata["note"]) == ("checkout", "a=b c")


def test_create_takes_the_environment_s_settings(command: Command, tms: TmsServer) -> None:
    completed = command("create", "--json", TMS_SUITE="api", TMS_ENVIRONMENT="production")
    made = json.loads(completed.stdout)
    assert {"executionId", "webhookToken", "webhookUrl", "reportUrl", "capabilities"} <= set(made)
    assert (made["configuration"]["testSuite"], made["configuration"]["environment"]) == ("api", "production")


def test_create_with_a_run_key_returns_the_execution_of_the_key(command: Command) -> None:
    first = variables(command("create", "--shards", "2", "--run-key", "pipeline 7"))
    assert variables(command("create", "--shards", "2", "--run-key", "pipeline 7")) == first
    assert variables(command("create", "--shards", "2", "--run-key", "pipeline 8")) != first


def test_create_with_a_run_key_is_refused_where_the_tms_has_none(
    command: Command, foreign: ForeignTms
) -> None:
    foreign.add_response(404, {"error": {"code": "NOT_FOUND", "message": "no"}})
    completed = command("create", "--run-key", "pipeline 7", TMS_URL=foreign.url)
    assert completed.returncode == 1
    assert "cannot share an execution by a run key: create it once without --run-key" in completed.stderr


def test_a_run_can_be_attached_to_what_create_made(
    command: Command, tms: TmsServer, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
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
def test_finish_needs_only_the_execution_s_own_token(command: Command, tms: TmsServer, status: str) -> None:
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
    completed = command(*arguments)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert len(completed.stderr.splitlines()) == 1
    assert "--help`" in completed.stderr


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


@pytest.mark.slow
def test_a_server_that_is_away_is_one_line(command: Command) -> None:
    completed = command("show", "x", TMS_URL="http://127.0.0.1:1/api")
    assert completed.returncode == 1
    assert completed.stderr == "tms: http://127.0.0.1:1 does not answer: the connection is refused.\n"


def test_list_finds_executions_and_open_prints_the_latest_report(command: Command, tms: TmsServer) -> None:
    name = f"list-{uuid.uuid4().hex[:8]}"
    first = variables(command("create", "--meta", f"project={name}", "--meta", f"branch={name}"))
    second = variables(command("create", "--meta", f"project={name}", "--suite", "smoke"))
    ids = [second["TMS_EXECUTION_ID"], first["TMS_EXECUTION_ID"]]
    listed = json.loads(command("list", "--project", name, "--json").stdout)
    assert [each["executionId"] for each in listed] == ids
    [line] = command("list", "--project", name, "--branch", name).stdout.splitlines()
    assert line.startswith(f"{ids[1]}  ")
    assert f"created  {name} · all · dev · {name}: " in line
    assert command("list", "--project", name, "--limit", "1").stdout.startswith(ids[0])
    nothing = command("list", "--project", name, "--status", "failed")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "no executions match\n")
    opened = run_tms("open", "--print", "--project", name, TMS_URL=tms.url, TMS_API_TOKEN=tms.token)
    assert opened.stdout == f"{tms.root}/reports/{ids[0]}\n", opened.stderr
    opened = run_tms("open", "--print", "--project", f"no-{name}", TMS_URL=tms.url, TMS_API_TOKEN=tms.token)
    assert opened.returncode == 1
    assert f"there is no execution of the project no-{name}" in opened.stderr


def test_delete_needs_a_confirmation_and_the_scope_admin(command: Command, tms: TmsServer) -> None:
    made = run_tms(
        "token", "create", "--name", "admin", "--scope", "admin", "--json", "--data-dir", str(tms.data_dir)
    )
    admin = json.loads(made.stdout)["token"]
    execution_id = variables(command("create"))["TMS_EXECUTION_ID"]
    assert (
        "cancel it before you delete it"
        in command("delete", execution_id, "--yes", TMS_API_TOKEN=admin).stderr
    )
    command("finish", execution_id)
    assert command("delete", execution_id, TMS_API_TOKEN=admin).returncode == 130  # no terminal to confirm
    assert command("delete", execution_id, "--yes").returncode == 1
    completed = command("delete", execution_id, "--yes", TMS_API_TOKEN=admin)
    assert completed.stdout == f"{execution_id} is deleted\n", completed.stderr
    assert command("show", execution_id).returncode == 1


@pytest.fixture(scope="module")
def exported(tms: TmsServer) -> str:
    """An execution with a test that failed last."""
    with tms.client() as client:
        made = client.create_execution(wire.ExecutionRequest(test_suite="smoke", environment="dev"))
        tests = [
            wire.TestResult(title="test_fine", status="passed", node_id="t.py::test_fine"),
            wire.TestResult(
                title="test_bad", status="failed", node_id="t.py::test_bad", error="KeyError: 'é'"
            ),
        ]
        client.submit_results(
            wire.ResultsSubmission(execution_id=made.execution_id, shard_id="1", tests=tests)
        )
    return made.execution_id


@pytest.mark.parametrize("name", FORMATS)
def test_export_writes_a_file_or_to_standard_output(
    command: Command, exported: str, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "out"
    completed = command("export", exported, "--format", name, "-o", str(file))
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")
    text = file.read_text(encoding="utf-8")
    assert command("export", exported, "--format", name).stdout == text
    tests = text[text.index("<h2>Tests") :] if name == "html" else text
    first, last = ("bad", "fine") if name == "html" else ("fine", "bad")
    if name != "markdown":
        assert tests.index(first) < tests.index(last)
    assert "KeyError" in text


def test_export_needs_a_tms_that_lists_tests(command: Command, foreign: ForeignTms, tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("before")
    foreign.add_response(404, {"error": {"code": "NOT_FOUND", "message": "no"}})
    completed = command("export", "exec_1", "--format", "csv", "-o", str(file), TMS_URL=foreign.url)
    assert completed.returncode == 1
    assert completed.stderr == (
        f"tms: {foreign.url} does not list the tests of an execution (it has no capability `tests`), so they "
        "cannot be exported: use a TMS that has it, for example `tms serve`\n"
    )
    assert file.read_text() == "before"


def test_an_export_that_breaks_off_leaves_no_file(
    command: Command, foreign: ForeignTms, tmp_path: Path
) -> None:
    page = {"executionId": "exec_1", "cursor": "9", "tests": [{"title": "x" * 100_000, "status": "passed"}]}
    foreign.add_response(200, {"service": "TMS", "capabilities": ["tests"]})
    foreign.add_response(200, {"executionId": "exec_1"})
    foreign.add_response(200, page)
    foreign.add_response(404, {"error": {"code": "NOT_FOUND", "message": "It was deleted."}})
    file = tmp_path / "out"
    completed = command("export", "exec_1", "--format", "json", "-o", str(file), TMS_URL=foreign.url)
    assert completed.returncode == 1
    assert completed.stderr == "tms: It was deleted.\n"
    assert not file.exists()


def test_show_prints_markdown_with_the_failed_tests(command: Command, exported: str) -> None:
    completed = command("show", exported, "--markdown")
    assert completed.stdout.startswith("<!-- pytest-tms: smoke dev -->\n## smoke on dev: 1 failed\n")
    assert "- t.py::test\\_bad: KeyError: 'é'\n" in completed.stdout


def test_show_prints_markdown_of_a_tms_that_lists_no_tests(command: Command, foreign: ForeignTms) -> None:
    foreign.add_response(
        200, {"executionId": "exec_1", "status": "completed", "results": {"failed": 3, "total": 3}}
    )
    foreign.add_response(404, {"error": {"code": "NOT_FOUND", "message": "no"}})
    completed = command("show", "exec_1", "--markdown", TMS_URL=foreign.url)
    assert completed.returncode == 0
    assert "3 tests: 3 failed" in completed.stdout


def test_markdown_and_json_exclude_each_other(command: Command) -> None:
    completed = command("show", "exec_1", "--markdown", "--json")
    assert completed.returncode == 2
    assert completed.stderr.startswith("tms: --markdown and --json exclude each other: choose one")
