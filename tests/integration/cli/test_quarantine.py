"""`tms quarantine`, and `tms execution check`, against the real server."""

from __future__ import annotations

import json
import uuid
from datetime import date, timedelta
from subprocess import CompletedProcess
from typing import Any

import pytest

from pytest_tms import TmsClient, wire
from tests.helpers.processes import TmsServer, run_tms

UNTIL = str(date.today() + timedelta(days=5))
NODE_ID = "tests/test_a.py::test_one"


class Project:
    """A project that no other test has, its commands, and a token that may change its quarantine."""

    def __init__(self, tms: TmsServer) -> None:
        self.name = f"project-{uuid.uuid4().hex[:8]}"
        scopes = ("executions:read", "executions:write", "quarantine:write")
        made = run_tms(
            *("token", "create", "--name", "ada", "--json", "--data-dir", str(tms.data_dir)),
            *(word for scope in scopes for word in ("--scope", scope)),
        )
        assert made.returncode == 0, made.stderr
        self.client = TmsClient(tms.url, json.loads(made.stdout)["token"])
        self.environ = {
            "TMS_URL": tms.url,
            "TMS_API_TOKEN": json.loads(made.stdout)["token"],
            "TMS_PROJECT": self.name,
        }

    def command(self, *arguments: str, **environ: str) -> CompletedProcess[str]:
        return run_tms(*arguments, **{**self.environ, **environ})

    def report(self, *tests: wire.TestResult, **fields: Any) -> str:
        """Report an execution with these tests and return its id."""
        request = wire.ExecutionRequest(
            test_suite="all", environment="dev", metadata={"project": self.name, "branch": "main"}
        )
        created = self.client.create_execution(request)
        self.client.submit_results(
            wire.ResultsSubmission(
                execution_id=created.execution_id, shard_id="1", tests=list(tests), **fields
            )
        )
        return created.execution_id


@pytest.fixture
def project(tms: TmsServer) -> Project:
    return Project(tms)


def case(name: str, status: wire.TestStatus = "passed", **fields: Any) -> wire.TestResult:
    return wire.TestResult(title=name, node_id=f"tests/test_a.py::{name}", status=status, **fields)


def test_a_test_is_added_listed_and_removed(project: Project) -> None:
    project.report(case("test_one", "failed"))
    added = project.command(
        *("quarantine", "add", NODE_ID, "--reason", "slow DNS", "--owner", "ada", "--until", UNTIL)
    )
    assert added.returncode == 0, added.stderr
    assert added.stdout == f"{NODE_ID} of the project {project.name} is in quarantine until {UNTIL}\n"
    listed = project.command("quarantine", "list")
    assert listed.stdout.split("  ") == [f"until {UNTIL}", "ada", NODE_ID, "slow DNS\n"]
    assert project.command("quarantine", "list", "--owner", "bob").stdout == ""
    (entry,) = json.loads(project.command("quarantine", "list", "--json").stdout)["entries"]
    assert (entry["nodeId"], entry["state"], entry["createdBy"]) == (NODE_ID, "active", "ada")
    removed = project.command("quarantine", "remove", NODE_ID)
    assert removed.stdout == f"{NODE_ID} of the project {project.name} is not in quarantine any more\n"
    assert project.command("quarantine", "list").stdout == ""
    assert project.command("quarantine", "list", "--ended").stdout.startswith("removed  ada  ")
    again = project.command("quarantine", "remove", NODE_ID)
    assert again.returncode == 1
    assert "is not in quarantine" in again.stderr


def test_another_project_is_named_by_an_option(project: Project) -> None:
    project.report(case("test_one", "failed"))
    own = ("--project", project.name)
    arguments = ("add", NODE_ID, "--reason", "r", "--owner", "ada", "--until", UNTIL, "--json")
    assert project.command("quarantine", *arguments, TMS_PROJECT="other").returncode == 1
    added = project.command("quarantine", *arguments, *own, TMS_PROJECT="other")
    assert json.loads(added.stdout)["project"] == project.name
    removed = project.command("quarantine", "remove", NODE_ID, "--json", *own, TMS_PROJECT="other")
    assert json.loads(removed.stdout)["state"] == "removed"


def test_a_bad_entry_is_one_line(project: Project) -> None:
    done = project.command("quarantine", "add", "t::x", "--reason", "r", "--owner", "a", "--until", "soon")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "until" in done.stderr
    assert project.command("quarantine", "add", NODE_ID, "--until", UNTIL).returncode == 2


CHECKS: list[tuple[tuple[str, ...], str]] = [
    ((), "failures: 2 tests failed, 1 other in quarantine"),
    (
        ("--max-new-failures", "0"),
        "--max-new-failures: 1 new failure, at most 0 allowed: tests/test_a.py::new",
    ),
    (("--max-new-failures", "1"), ""),
    (("--max-flaky", "0"), "--max-flaky: 1 flaky test, at most 0 allowed"),
    (("--max-flaky", "1"), ""),
    (("--complete",), ""),
]


def test_a_check_prints_a_line_for_each_rule_that_is_not_met(project: Project) -> None:
    flaky = case("flaky", retries=1)
    project.report(case("old", "failed"), case("new"), case("kept"))
    execution = project.report(
        case("old", "failed"), case("new", "failed"), case("kept", "failed", quarantined=True), flaky
    )
    for options, line in CHECKS:
        done = project.command("execution", "check", execution, *options)
        assert (done.returncode, done.stdout.strip()) == (
            (1, line) if line else (0, f"{execution} meets the rules")
        ), options
    both = project.command("execution", "check", execution, "--max-new-failures", "0", "--max-flaky", "0")
    assert both.stdout.splitlines() == [CHECKS[1][1], CHECKS[3][1]]
    found = json.loads(project.command("execution", "check", execution, "--json").stdout)
    assert (found["executionId"], found["isMet"]) == (execution, False)
    assert found["violations"] == [{"rule": "failures", "message": "2 tests failed, 1 other in quarantine"}]


def test_an_execution_with_failures_in_quarantine_alone_meets_the_rules(project: Project) -> None:
    execution = project.report(case("a"), case("b", "failed", quarantined=True))
    for options in ((), ("--max-new-failures", "0", "--complete")):
        done = project.command("execution", "check", execution, *options, "--json")
        assert (done.returncode, json.loads(done.stdout)["violations"]) == (0, [])


def test_without_an_earlier_execution_every_failure_is_new(project: Project) -> None:
    execution = project.report(case("a", "failed"))
    done = project.command("execution", "check", execution, "--max-new-failures", "0")
    assert done.returncode == 1
    assert "no earlier execution to compare with" in done.stdout


def test_failures_of_a_runner_that_sends_no_tests_are_new(project: Project) -> None:
    project.report(case("a"))
    execution = project.report(results=wire.ReportedCounts(total=3, passed=1, failed=2, skipped=0))
    done = project.command("execution", "check", execution, "--max-new-failures", "1")
    assert done.returncode == 1
    assert "2 new failures" in done.stdout


def test_an_execution_that_has_not_ended_or_is_incomplete_meets_no_rule(project: Project) -> None:
    created = project.client.create_execution(wire.ExecutionRequest(test_suite="all", environment="dev"))
    running = project.command("execution", "check", created.execution_id, "--max-flaky", "5")
    assert (running.returncode, running.stdout) == (
        1,
        "ended: the execution has not ended: 0 of 1 shards finished\n",
    )
    stopped = project.report(case("a"), not_run=2, collected=3)
    assert project.command("execution", "check", stopped).stdout == "--complete: 2 tests did not run\n"
    broken = project.report(case("a"), status="error")
    done = project.command("execution", "check", broken, "--complete")
    assert done.stdout.startswith("--complete: the execution is failed")
    assert project.command("execution", "check", "exec_nope").returncode == 1
