"""Runs and commands of CI jobs that have an ID token and no API token."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.api import Api, running
from tests.helpers.issuer import Issuer, issuing
from tests.helpers.processes import run_tms

AUDIENCE = "http://tms.example.com"
RULE = """
[[rule]]
issuer = "{issuer}"
audience = "http://tms.example.com"
claims = {{ repository = "acme/shop", ref = "refs/heads/main" }}
environments = ["staging"]
"""
TESTS = """
import os, sys

def test_it():
    assert not {"requests", "urllib3", "pytest_tms.client.client"} & set(sys.modules)

def test_secrets():
    print(os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"])
    assert 0, os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="module")
def trusting(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("trusting")
    rules = folder / "trusted.toml"
    rules.write_text(RULE.format(issuer=issuer.url))
    with running(folder / "data", TMS_SERVER_TRUSTED_ISSUERS=str(rules)) as api:
        yield api


class Job:
    """A job of GitHub Actions; ``claims`` are those of its ID tokens, ``audiences`` those requested."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.claims: dict[str, Any] = {"repository": "acme/shop", "ref": "refs/heads/main"}
        self.audiences: list[str] = []
        self.issued: list[str] = []
        issuer.paths["/request"] = self.respond

    def respond(self, _: object, query: dict[str, str]) -> tuple[int, object]:
        self.audiences.append(query["audience"])
        self.issued.append(self.issuer.token(AUDIENCE, **self.claims))
        return 200, {"value": self.issued[-1]}


@pytest.fixture
def job(issuer: Issuer, trusting: Api, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("TMS_URL", trusting.url)
    monkeypatch.setenv("TMS_ENVIRONMENT", "staging")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{issuer.url}/request?v=1")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-s3cret")
    return Job(issuer)


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("--tms-url", os.environ["TMS_URL"], *options)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_a_run_reports_with_the_token_that_its_sender_gets(
    pytester: pytest.Pytester, job: Job, trusting: Api, workers: list[str]
) -> None:
    pytester.makepyfile(TESTS)
    result = run(pytester, *workers)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*/reports/exec_*"])
    assert job.audiences == [trusting.root]
    stored = b"".join(path.read_bytes() for path in trusting.data_dir.glob("tms.sqlite3*"))
    assert b"request-s3cret" not in stored
    kept = b"".join(path.read_bytes() for path in (pytester.path / ".tms").rglob("*") if path.is_file())
    assert job.issued[0].encode() not in kept + result.stdout.str().encode()


def test_a_run_that_no_rule_matches_names_the_claim(pytester: pytest.Pytester, job: Job) -> None:
    job.claims["ref"] = "refs/heads/feature"
    pytester.makepyfile("def test_it(): pass")
    result = run(pytester, "--tms-required")
    assert result.ret == 1
    line = next(line for line in result.outlines if "refuses the ID token of GitHub Actions" in line)
    assert "ref of the closest rule does not match" in line
    assert "TMS_SERVER_TRUSTED_ISSUERS" in line


def test_a_run_without_permission_names_it(
    pytester: pytest.Pytester, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    pytester.makepyfile("def test_it(): pass")
    result = run(pytester)
    assert "or give the job ID tokens (permissions: id-token: write)" in result.stdout.str()


def test_a_run_whose_token_is_revoked_continues_with_another(
    pytester: pytest.Pytester, job: Job, trusting: Api
) -> None:
    pytester.makepyfile(
        f"""
        import sqlite3, time

        def test_first(): pass

        def test_second():
            with sqlite3.connect({str(trusting.data_dir / "tms.sqlite3")!r}, timeout=30) as database:
                while not database.execute("SELECT 1 FROM tokens WHERE job_until > 0 AND revoked_at IS NULL").fetchall():
                    time.sleep(0.01)  # between two queries for the token that the sender gets
                database.execute("UPDATE tokens SET revoked_at = 1 WHERE job_until > 0")
        """
    )
    with closing(sqlite3.connect(trusting.data_dir / "tms.sqlite3", timeout=30)) as database, database:
        database.execute("UPDATE tokens SET revoked_at = 1 WHERE job_until > 0")
    result = run(pytester, "--tms-required")
    assert result.ret == 0, result.stdout.str()
    assert len(job.issued) == 2


def test_commands_use_it(job: Job, trusting: Api) -> None:
    created = run_tms("execution", "create", "--json")
    assert created.returncode == 0, created.stderr
    assert job.audiences == [trusting.root]
    shown = run_tms("execution", "show", json.loads(created.stdout)["executionId"])
    assert shown.returncode == 0, shown.stderr
    job.claims["repository"] = "other/shop"
    refused = run_tms("execution", "create")
    assert refused.returncode == 1
    assert "repository of the closest rule does not match" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_doctor_prints_what_it_found_and_used(pytester: pytest.Pytester, job: Job) -> None:
    done = run_tms("doctor")
    assert done.returncode == 0, done.stdout
    assert "there is no API token: the ID token of GitHub Actions is exchanged for one" in done.stdout
    assert "executions:read executions:write in staging, until" in done.stdout
    job.claims["ref"] = "refs/heads/feature"
    done = run_tms("doctor")
    assert done.returncode == 1
    assert (
        "Reporting does not work: The TMS refuses the ID token of GitHub Actions: No rule for" in done.stdout
    )
    assert not [token for token in job.issued if token in done.stdout]


def test_doctor_prefers_an_api_token(
    pytester: pytest.Pytester, job: Job, trusting: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", trusting.token)
    done = run_tms("doctor")
    assert "the ID token of GitHub Actions is not used, because there is an API token" in done.stdout
    assert not job.issued


@pytest.mark.parametrize(
    "system", ["gitlab", "file", "buildkite", "circleci", "circleci without its command"]
)
def test_jobs_of_each_system_report(
    trusting: Api, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    file = tmp_path / "token"
    file.write_text(issuer.token(AUDIENCE, repository="acme/shop", ref="refs/heads/main"))
    for name in ("buildkite-agent", "circleci"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat {file}\n')
        (tmp_path / name).chmod(0o755)
    programs = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environ, arguments = {
        "gitlab": ({"GITLAB_CI": "true", "TMS_ID_TOKEN": file.read_text()}, ""),
        "file": ({"TMS_ID_TOKEN_FILE": str(file)}, ""),
        "buildkite": (
            {"BUILDKITE": "true", "PATH": programs},
            f"oidc request-token --audience {trusting.root}",
        ),
        "circleci": (
            {"CIRCLECI": "true", "PATH": programs},
            f'run oidc get --claims {{"aud": "{trusting.root}"}}',
        ),
        "circleci without its command": ({"CIRCLECI": "true", "CIRCLE_OIDC_TOKEN_V2": file.read_text()}, ""),
    }[system]
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    created = run_tms("execution", "create", "--url", trusting.url, "--environment", "staging")
    assert created.returncode == 0, created.stderr
    written = tmp_path / "arguments"
    assert (written.read_text().strip() if written.exists() else "") == arguments
