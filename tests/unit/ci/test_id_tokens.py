"""Where each CI system has the ID tokens of a job, and what is wrong if it gives none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from pytest_tms.ci.id_tokens import find_id_token, missing_permission
from pytest_tms.errors import IdTokenError, Unreachable
from tests.helpers.issuer import Issuer, Responds, issuing

AUDIENCE = "https://tms.example.com"


@pytest.fixture
def github() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


def program(folder: Path, name: str, body: str) -> dict[str, str]:
    """An environment in which a program is on the path."""
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def fetch(environ: dict[str, str]) -> tuple[str, str]:
    source = find_id_token(environ)
    assert source is not None
    return source.name, source.fetch(AUDIENCE)


def of_github(github: Issuer, respond: Responds) -> dict[str, str]:
    github.paths["/token"] = respond
    return {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{github.url}/token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-secret",
    }


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"GITHUB_ACTIONS": "true"},
        {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x.example"},
        {"CIRCLECI": "true", "PATH": ""},
        {"BUILDKITE": "true", "PATH": ""},
        {"GITLAB_CI": "true"},
        {"TMS_ID_TOKEN": " "},
    ],
)
def test_a_job_without_id_tokens_has_no_source(environ: dict[str, str]) -> None:
    assert find_id_token(environ) is None


def test_a_variable_has_priority() -> None:
    environ = {"TMS_ID_TOKEN": " a.b.c\n", "CIRCLECI": "true", "CIRCLE_OIDC_TOKEN_V2": "d"}
    assert fetch(environ) == ("the variable TMS_ID_TOKEN", "a.b.c")


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = find_id_token({"TMS_ID_TOKEN_FILE": str(file)})
    assert source is not None
    with pytest.raises(IdTokenError, match="cannot be read: No such file"):
        source.fetch(AUDIENCE)
    for text in ("one", "two"):
        file.write_text(f"{text}\n")
        assert source.fetch(AUDIENCE) == text
    file.write_text("")
    with pytest.raises(IdTokenError, match="empty file"):
        source.fetch(AUDIENCE)


def test_github_gives_one_for_the_audience(github: Issuer) -> None:
    def respond(handler: BaseHTTPRequestHandler, query: dict[str, str]) -> tuple[int, object]:
        assert handler.headers["Authorization"] == "Bearer request-secret"
        return 200, {"value": f"for {query['audience']} {query['api-version']}"}

    assert fetch(of_github(github, respond)) == ("GitHub Actions", f"for {AUDIENCE} 2.0")


@pytest.mark.parametrize(
    ("status", "body"), [(403, {}), (200, {}), (200, []), (200, {"value": ""}), (200, b"<html>"), (302, {})]
)
def test_a_refusal_of_github_names_the_permission(github: Issuer, status: int, body: object) -> None:
    with pytest.raises(IdTokenError, match=f"status {status}.*permissions: id-token: write") as caught:
        fetch(of_github(github, lambda _handler, _query: (status, body)))
    assert "request-secret" not in str(caught.value)


def test_a_request_to_github_is_repeated_after_a_failure(github: Issuer) -> None:
    replies = [(503, {}), (200, {"value": "late"})]
    assert fetch(of_github(github, lambda _handler, _query: replies.pop(0)))[1] == "late"


def test_github_that_does_not_respond_may_respond_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_tms.ci.id_tokens.RETRIES", 0)
    environ = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": "http://127.0.0.1:1/",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-secret",
    }
    with pytest.raises(Unreachable) as caught:
        fetch(environ)
    assert "request-secret" not in str(caught.value)


def test_buildkite_runs_its_agent(tmp_path: Path) -> None:
    environ = {"BUILDKITE": "true", **program(tmp_path, "buildkite-agent", 'echo "$@"')}
    assert fetch(environ) == ("Buildkite", f"oidc request-token --audience {AUDIENCE}")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo no permission >&2; exit 1", "no permission"),
        ("exit 3", "exit status 3"),
        ("true", "exit status 0"),
    ],
)
def test_an_agent_that_gives_none_is_named_with_its_reason(tmp_path: Path, body: str, reason: str) -> None:
    environ = {"BUILDKITE": "true", **program(tmp_path, "buildkite-agent", body)}
    with pytest.raises(
        IdTokenError, match=f"`buildkite-agent oidc request-token` gives no ID token: {reason}"
    ):
        fetch(environ)


def test_circleci_runs_its_command_and_falls_back_to_its_variable(tmp_path: Path) -> None:
    environ = {"CIRCLECI": "true", "CIRCLE_OIDC_TOKEN_V2": "of the organization"}
    assert fetch({**environ, "PATH": ""}) == ("the variable CIRCLE_OIDC_TOKEN_V2", "of the organization")
    failing = {**environ, **program(tmp_path, "circleci", "exit 1")}
    assert fetch(failing) == ("CircleCI", "of the organization")
    working = {
        **environ,
        **program(tmp_path, "circleci", 'test "$1 $2 $3 $4" = "run oidc get --claims" && echo "$5"'),
    }
    assert json.loads(fetch(working)[1]) == {"aud": AUDIENCE}
    with pytest.raises(IdTokenError, match="`circleci run oidc` gives no ID token"):
        fetch({"CIRCLECI": "true", **program(tmp_path, "circleci", "exit 1")})


def test_only_a_job_of_github_without_the_permission_reads_about_it() -> None:
    assert missing_permission({}) == ""
    assert "id-token: write" in missing_permission({"GITHUB_ACTIONS": "true"})
    assert missing_permission({"GITHUB_ACTIONS": "true", "TMS_ID_TOKEN": "x"}) == ""
