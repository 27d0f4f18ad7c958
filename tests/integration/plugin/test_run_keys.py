"""The jobs of one CI run share an execution by its run key, with the variables of each provider."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from pytest_tms import wire
from pytest_tms.client import TmsClient
from tests.helpers.processes import TmsServer, environ_outside_pytest, run_tms, serve, wait_for

SUITE = """
import os, pathlib, pytest

@pytest.mark.parametrize("n", range(8))
def test_it(n):
    assert n not in map(int, os.environ.get("FAIL", "").split())

def test_waits():
    pathlib.Path(os.environ.get("WAIT_FOR", __file__)).read_bytes()  # a pipe: until it is written to
"""
TESTS = 9
Variables = dict[str, str]


@pytest.fixture(scope="module")
def tms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TmsServer]:
    """A TMS that waits one second for more shards."""
    data_dir = tmp_path_factory.mktemp("run-keys")
    process, url = serve(data_dir, TMS_SERVER_RUN_KEY_WAIT="1")
    made = run_tms("token", "create", "--name", "ci", "--json", "--data-dir", str(data_dir))
    yield TmsServer(url, json.loads(made.stdout)["token"], data_dir)
    process.terminate()
    process.wait(timeout=20)


def github(run: str, attempt: int = 1) -> Variables:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "example/shop",
        "GITHUB_RUN_ID": run,
        "GITHUB_RUN_ATTEMPT": str(attempt),
        "GITHUB_JOB": "test",
    }


def gitlab(run: str, attempt: int = 1) -> Variables:
    """A pipeline of GitLab before 18, which tells no job its attempt."""
    return {"GITLAB_CI": "true", "CI_SERVER_HOST": "gitlab.example.com", "CI_PIPELINE_ID": run}


def circleci(run: str, attempt: int = 1) -> Variables:
    """A workflow that is run again has an id of its own, and the workspace of the first one."""
    workflow = f"{run}-{attempt}"
    return {"CIRCLECI": "true", "CIRCLE_WORKFLOW_WORKSPACE_ID": run, "CIRCLE_WORKFLOW_ID": workflow}


PROVIDERS = {"github": github, "gitlab": gitlab, "circleci": circleci}


@pytest.fixture(
    params=["github", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gitlab", "circleci"))]
)
def provider(request: pytest.FixtureRequest) -> partial[Variables]:
    """The variables of one run at one provider, by the attempt."""
    return partial(PROVIDERS[request.param], secrets.token_hex(6))


class Project:
    """A project whose jobs run on one machine after another."""

    def __init__(self, folder: Path, tms: TmsServer) -> None:
        self.folder = folder
        self._tms = tms
        self.execution_ids: set[str] = set()
        (folder / "test_it.py").write_text(SUITE)
        (folder / "pytest.ini").write_text("[pytest]\n")

    def start(self, variables: Mapping[str, str], *options: str, **environ: str) -> subprocess.Popen[str]:
        clean = {
            name: value
            for name, value in environ_outside_pytest(os.environ).items()
            if not name.startswith("CI")
        }
        reporting = {"TMS_URL": self._tms.url, "TMS_API_TOKEN": self._tms.token, "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
            cwd=self.folder,
            env={**clean, **reporting, **variables, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def finish(self, process: subprocess.Popen[str]) -> str:
        output, _ = process.communicate(timeout=240)
        self.execution_ids |= set(re.findall(r"/(exec_\w+)", output))
        return output

    def job(self, variables: Mapping[str, str], *options: str, **environ: str) -> str:
        return self.finish(self.start(variables, *options, **environ))

    def jobs(self, variables: Mapping[str, str], shards: list[str], **environ: str) -> None:
        """Run several shards at once."""
        started = [self.start(variables, "--tms-shard", shard, **environ) for shard in shards]
        for process in started:
            self.finish(process)

    def execution(self) -> wire.ExecutionStatus:
        """Return the execution that all jobs so far have reported to."""
        (execution_id,) = self.execution_ids
        with TmsClient(self._tms.url, self._tms.token) as client:
            return client.get_execution(execution_id)

    def running_shards(self, commit: str) -> list[str]:
        """Return the shards of a commit's executions that the TMS knows to be running."""
        with TmsClient(self._tms.url, self._tms.token) as client:
            found = [
                client.get_execution(each.execution_id)
                for each in client.list_executions(commit=commit).executions
            ]
        return [each.shard_id for one in found for each in one.shard_results if each.status == "running"]

    def ended(self) -> wire.ExecutionStatus:
        return wait_for(lambda: found if (found := self.execution()).status != "running" else None)


@pytest.fixture
def project(tmp_path: Path, tms: TmsServer) -> Project:
    return Project(tmp_path, tms)


def states(found: wire.ExecutionStatus) -> dict[str, str]:
    return {shard.shard_id: shard.status for shard in found.shard_results}


def test_four_shards_of_one_run_and_the_failed_job_again(
    project: Project, provider: partial[Variables]
) -> None:
    project.jobs(provider(1), ["1/4", "2/4", "3/4", "4/4"], FAIL="3")
    found = project.execution()
    assert found.status == "completed"
    assert (found.results.total, found.results.failed) == (TESTS, 1)
    assert list(states(found)) == ["1", "2", "3", "4"]
    (failed,) = (name for name, state in states(found).items() if state == "failed")
    project.job(provider(2), "--tms-shard", f"{failed}/4")
    again = project.execution()
    assert (again.status, set(states(again).values())) == ("completed", {"completed"})
    assert (again.results.total, again.results.failed, again.results.flaky) == (TESTS, 0, 1)
    assert states(again).keys() == states(found).keys()


def test_a_cancelled_job_that_is_run_again(project: Project, provider: partial[Variables]) -> None:
    never = project.folder / "never"
    os.mkfifo(never)
    running = project.start(provider(1), "--tms-shard", "1/1", "-v", WAIT_FOR=str(never))
    assert running.stdout is not None
    for line in running.stdout:
        if "test_it[7]" in line:
            break
    running.send_signal(signal.SIGINT)
    project.finish(running)
    found = project.ended()
    assert (found.status, states(found)) == ("cancelled", {"1": "cancelled"})
    project.job(provider(2), "--tms-shard", "1/1")
    found = project.execution()
    assert (found.status, states(found)) == ("completed", {"1": "completed"})
    assert (found.results.total, found.results.failed) == (TESTS, 0)


def test_a_matrix_of_named_shards_completes(project: Project, provider: partial[Variables]) -> None:
    project.jobs(provider(1), ["py311", "py312"])
    found = project.ended()
    assert (found.status, states(found)) == ("completed", {"py311": "completed", "py312": "completed"})
    assert found.results.total == 2 * TESTS
    assert found.declared_shards == []


def test_runs_of_one_job_with_different_suites_stay_apart(project: Project) -> None:
    ci = github(secrets.token_hex(6))
    project.job(ci, "--tms-shard", "1/1", "--tms-suite", "smoke")
    project.job(ci, "--tms-shard", "1/1", "--tms-suite", "api")
    assert len(project.execution_ids) == 2


def test_a_second_run_of_a_shard_adds_its_tests(project: Project) -> None:
    ci = github(secrets.token_hex(6))
    project.job(ci, "--tms-shard", "1/1", "-k", "test_it", FAIL="2")
    project.job(ci, "--tms-shard", "1/1", "-k", "test_waits")
    found = project.execution()
    assert (found.status, states(found)) == ("completed", {"1": "failed"})
    assert (found.results.total, found.results.failed) == (TESTS, 1)


def test_a_second_run_beside_the_first_gets_a_shard_of_its_own(project: Project, tmp_path: Path) -> None:
    commit = secrets.token_hex(20)
    ci = github(secrets.token_hex(6)) | {"GITHUB_SHA": commit}
    go = tmp_path / "go"
    os.mkfifo(go)
    first = project.start(ci, "--tms-shard", "1/1", WAIT_FOR=str(go))
    try:
        wait_for(lambda: project.running_shards(commit))
        second = project.job(ci, "--tms-shard", "1/1")
    finally:
        go.write_text("go")
        project.finish(first)
    assert "this run is shard 1-2" in second
    found = project.execution()
    assert (found.status, states(found)) == ("completed", {"1": "completed", "1-2": "completed"})


def test_a_key_of_ones_own_joins_processes_outside_ci(project: Project) -> None:
    key = secrets.token_hex(6)
    project.job({}, "--tms-run-key", key, "--tms-shard", "1/2")
    project.job({"TMS_RUN_KEY": key}, "--tms-shard", "2/2")
    found = project.execution()
    assert (found.status, found.results.total, found.run_key) == ("completed", TESTS, key)


def test_none_switches_it_off(project: Project) -> None:
    ci = github(secrets.token_hex(6))
    outputs = [project.job(ci, "--tms-run-key", "none", "--tms-shard", f"{n}/2") for n in (1, 2)]
    assert len(project.execution_ids) == 2
    assert "warning" not in "".join(outputs)


def test_a_shard_outside_ci_is_told_how_the_others_find_it(project: Project) -> None:
    output = project.job({}, "--tms-shard", "2/4")
    (warning,) = re.findall(r"^warning: (.*)$", output, re.M)
    assert warning == (
        "shard 2/4 is an execution of its own: give all shards the same --tms-run-key, or run "
        "`tms execution create --shards 4` and pass them --tms-execution"
    )
    assert project.execution().status == "completed"


def test_a_run_without_a_shard_has_an_execution_of_its_own(project: Project) -> None:
    ci = github(secrets.token_hex(6))
    project.job(ci)
    project.job(ci)
    assert len(project.execution_ids) == 2
