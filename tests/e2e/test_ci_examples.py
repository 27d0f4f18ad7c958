"""The workflows in examples/ci, by their commands and the variables of their CI systems."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_tms import wire
from tests.helpers.processes import TmsServer, environ_outside_pytest, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples" / "ci"
SHARDS = range(1, 5)
SUITE = """
import os, pathlib, time, pytest

@pytest.mark.parametrize("n", range(40))
def test_it(n):
    assert os.environ.get("JOB") != "fails"
    if os.environ.get("JOB") == "waits":
        pathlib.Path("waiting").touch()
        while True:
            time.sleep(0.02)
"""
Variables = dict[str, str]


class Provider(NamedTuple):
    """A CI system: the file of its workflow, and the variables that it sets for a shard of an attempt.

    ``expressions`` are what it replaces in a command itself. ``is_same_run`` is whether jobs that run again
    belong to the same run; otherwise all of them run again.
    """

    file: str
    variables: Callable[[str, int, int], Variables]
    expressions: Mapping[str, str] = {}
    is_same_run: bool = True


def github(run: str, shard: int, attempt: int) -> Variables:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "example/shop",
        "GITHUB_RUN_ID": run,
        "GITHUB_RUN_ATTEMPT": str(attempt),
        "GITHUB_JOB": "test",
        "SHARD": str(shard),
    }


def gitlab(run: str, shard: int, attempt: int) -> Variables:
    return {
        "GITLAB_CI": "true",
        "CI_SERVER_HOST": "gitlab.example.com",
        "CI_PIPELINE_ID": run,
        "CI_NODE_INDEX": str(shard),
        "CI_NODE_TOTAL": "4",
    }


def jenkins(run: str, shard: int, attempt: int) -> Variables:
    return {
        "JENKINS_URL": "https://ci.example.com/",
        "BUILD_URL": f"https://ci.example.com/job/shop/{run}{attempt}/",
        "SHARD": str(shard),
    }


def circleci(run: str, shard: int, attempt: int) -> Variables:
    return {
        "CIRCLECI": "true",
        "CIRCLE_WORKFLOW_WORKSPACE_ID": run,
        "CIRCLE_WORKFLOW_ID": f"{run}-{attempt}",
        "CIRCLE_NODE_INDEX": str(shard - 1),
        "CIRCLE_NODE_TOTAL": "4",
    }


def buildkite(run: str, shard: int, attempt: int) -> Variables:
    return {
        "BUILDKITE": "true",
        "BUILDKITE_BUILD_ID": run,
        "BUILDKITE_RETRY_COUNT": str(attempt - 1),
        "BUILDKITE_PARALLEL_JOB": str(shard - 1),
        "BUILDKITE_PARALLEL_JOB_COUNT": "4",
    }


def azure(run: str, shard: int, attempt: int) -> Variables:
    return {
        "TF_BUILD": "True",
        "SYSTEM_COLLECTIONID": "b0a5c3f1",
        "BUILD_BUILDID": run,
        "SYSTEM_JOBATTEMPT": str(attempt),
        "SYSTEM_JOBPOSITIONINPHASE": str(shard),
        "SYSTEM_TOTALJOBSINPHASE": "4",
    }


def bitbucket(run: str, shard: int, attempt: int) -> Variables:
    return {
        "BITBUCKET_BUILD_NUMBER": "7",
        "BITBUCKET_PIPELINE_UUID": f"{{{run}}}",
        "BITBUCKET_STEP_RUN_NUMBER": str(attempt),
        "BITBUCKET_PARALLEL_STEP": str(shard - 1),
        "BITBUCKET_PARALLEL_STEP_COUNT": "4",
    }


def teamcity(run: str, shard: int, attempt: int) -> Variables:
    return {
        "TEAMCITY_VERSION": "2024.12",
        "BUILD_URL": f"https://teamcity.example.com/build/{run}{shard}{attempt}",
        "TMS_RUN_KEY": f"Shop/{run}",
        "SHARD": str(shard),
    }


def drone(run: str, shard: int, attempt: int) -> Variables:
    return {
        "DRONE": "true",
        "DRONE_REPO": "example/shop",
        "DRONE_BUILD_NUMBER": f"{run}{attempt}",
        "SHARD": str(shard),
    }


def woodpecker(run: str, shard: int, attempt: int) -> Variables:
    return {
        "CI": "woodpecker",
        "CI_REPO": "example/shop",
        "CI_PIPELINE_NUMBER": f"{run}{attempt}",
        "SHARD": str(shard),
    }


BATCHES = {
    "%teamcity.build.parallelTests.currentBatch%": "$SHARD",
    "%teamcity.build.parallelTests.totalBatches%": "4",
}
PROVIDERS = {
    "GitHub Actions": Provider("github-actions.yml", github, {"${{ matrix.shard }}": "$SHARD"}),
    "GitLab CI": Provider("gitlab-ci.yml", gitlab),
    "Jenkins": Provider("Jenkinsfile", jenkins, is_same_run=False),
    "CircleCI": Provider("circleci.yml", circleci),
    "Buildkite": Provider("buildkite.yml", buildkite, {"$$": "$"}),
    "Azure Pipelines": Provider("azure-pipelines.yml", azure),
    "Bitbucket Pipelines": Provider("bitbucket-pipelines.yml", bitbucket),
    "TeamCity": Provider("teamcity-settings.kts", teamcity, BATCHES),
    "Drone": Provider("drone.yml", drone, is_same_run=False),
    "Woodpecker": Provider("woodpecker.yml", woodpecker, is_same_run=False),
}


def test_each_example_is_imitated_and_stands_in_the_table() -> None:
    files = {path.name for path in EXAMPLES.iterdir()} - {"README.md", "trusted-issuers.toml"}
    assert {provider.file for provider in PROVIDERS.values()} == files
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name, provider in PROVIDERS.items():
        end = "same execution" if provider.is_same_run else "a new execution"
        assert re.search(rf"^\| {name} \| \[{provider.file}\]\(.*\) \| .*{end}", table, re.MULTILINE)


def command(provider: Provider) -> str:
    """Return the command of an example that runs pytest, as a shell gets it."""
    text = (EXAMPLES / provider.file).read_text(encoding="utf-8")
    (found,) = re.findall(r"(?:^ *|: |- |')(pytest --tms-[^'\n]*)", text, re.MULTILINE)
    for expression, value in provider.expressions.items():
        assert expression in found
        found = found.replace(expression, value)
    return str(found)


class Workflow:
    """The jobs of one workflow, each with the variables of its provider."""

    def __init__(self, provider: Provider, tms: TmsServer, folder: Path, run: str) -> None:
        self._provider = provider
        self._tms = tms
        self._folder = folder
        self._run = run
        (folder / "test_it.py").write_text(SUITE)
        (folder / "pytest.ini").write_text("[pytest]\n")

    def start(self, shard: int, attempt: int = 1, **environ: str) -> subprocess.Popen[str]:
        clean = {
            name: value
            for name, value in environ_outside_pytest(os.environ).items()
            if not name.startswith(("CI", "GITHUB_", "BUILD", "JENKINS"))
        }
        variables = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}",
            "TMS_URL": self._tms.url,
            "TMS_API_TOKEN": self._tms.token,
            "GITHUB_STEP_SUMMARY": str(self._folder / f"summary-{shard}-{attempt}.md"),
            **self._provider.variables(self._run, shard, attempt),
            **environ,
        }
        return subprocess.Popen(
            ["sh", "-c", f"exec {command(self._provider)}"],
            cwd=self._folder,
            env={**clean, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def execution(self, outputs: list[str]) -> wire.ExecutionStatus:
        """Return the execution that all of these jobs reported to."""
        (execution_id,) = {name for output in outputs for name in re.findall(r"reports/(exec_\w+)", output)}
        with self._tms.client() as client:
            return client.get_execution(execution_id)


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    return output


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("GitHub Actions", "GitLab CI") else pytest.mark.slow)
        for name in PROVIDERS
    ],
)
def test_the_jobs_of_a_workflow_share_an_execution_also_if_they_run_again(
    name: str, tms: TmsServer, tmp_path: Path
) -> None:
    provider = PROVIDERS[name]
    workflow = Workflow(provider, tms, tmp_path, os.urandom(6).hex())
    jobs = [workflow.start(shard, JOB={2: "fails", 3: "waits"}.get(shard, "passes")) for shard in SHARDS]
    wait_for(lambda: (tmp_path / "waiting").exists(), 120)
    jobs[2].send_signal(signal.SIGINT)
    outputs = [finish(job) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 1, 2, 0], outputs
    first = workflow.execution(outputs)
    assert first.progress.total_shards == 4
    assert first.results.failed > 0

    again = (2, 3) if provider.is_same_run else SHARDS
    jobs = [workflow.start(shard, attempt=2) for shard in again]
    outputs = [finish(job) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs), outputs
    second = workflow.execution(outputs)
    assert (second.execution_id == first.execution_id) == provider.is_same_run
    assert (second.status, second.results.passed, second.results.total) == ("completed", 40, 40)
    assert {shard.shard_id for shard in second.shard_results} == {"1", "2", "3", "4"}
    if provider.is_same_run:
        assert {shard.shard_id: shard.attempt for shard in second.shard_results} == {
            "1": 1, "2": 2, "3": 2, "4": 1,
        }  # fmt: skip


def test_a_fork_without_secrets_runs_its_tests_and_has_a_summary(tms: TmsServer, tmp_path: Path) -> None:
    workflow = Workflow(PROVIDERS["GitHub Actions"], tms, tmp_path, "1")
    job = workflow.start(1, TMS_API_TOKEN="")
    output = finish(job)
    assert job.returncode == 0, output
    assert "tms: not reporting: there is no token" in output
    summary = (tmp_path / "summary-1-1.md").read_text()
    assert summary.startswith("## smoke on staging: passed\n")
    assert "there is no token" in summary
