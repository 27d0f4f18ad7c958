"""`tms doctor`: what a run here would report to, and what is in the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Foreign, Tms, run_tms
from tests.peers import answers, misbehaving, peer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(*arguments: str, **environ: str) -> tuple[int, dict[str, Any]]:
    done = run_tms("doctor", "--json", *arguments, **environ)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def trouble(*arguments: str, **environ: str) -> str:
    """The one thing that is wrong."""
    status, found = asked(*arguments, **environ)
    assert status == 1
    (sentence,) = found["trouble"]
    assert isinstance(sentence, str)
    return sentence


def test_each_value_is_shown_with_its_source_and_no_secret(folder: Path, tms: Tms) -> None:
    (folder / "pytest.ini").write_text(
        "[pytest]\ntms_suite = smoke\ntms_timeout = 60\naddopts = --tms-environment staging\ntms_mask = hunter2\n"
    )
    (folder / "conftest.py").write_text("import os\nprint('hello')\nos.environ['TMS_SHARD'] = '1/2'\n")
    url = tms.url.replace("//", "//me:pass-word@")
    environ = {"TMS_URL": url, "TMS_SUITE": "api", "TMS_API_TOKEN": tms.token, "MY_PASSWORD": "sesame-opens"}
    done = run_tms("doctor", "--tms-meta", "door=sesame-opens", **environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(secret in done.stdout for secret in (tms.token, "pass-word", "sesame-opens", "hunter2"))
    assert done.stdout.endswith("all is well\n")
    status, found = asked("--tms-meta", "door=sesame-opens", **environ)
    assert status == 0
    rows = {row["name"]: (row["value"], row["source"]) for row in found["settings"]}
    assert rows["--tms-suite"] == ("api", "TMS_SUITE")
    assert rows["--tms-environment"] == ("staging", "--tms-environment")
    assert rows["--tms-shard"] == ("1/2", "TMS_SHARD")
    assert rows["--tms-meta"] == ("door=********", "--tms-meta")
    assert rows["tms_timeout"] == ("60", "tms_timeout")
    assert rows["tms_payload"] == ("full", "default")
    assert rows["token"] == ("********", "TMS_API_TOKEN")
    assert found["tms"]["service"] == "pytest-tms"
    assert found["token"]["scopes"] == ["executions:read", "executions:write", "webhooks:write"]
    assert abs(found["clockSkew"]) < 30
    assert "live-tests" in found["capabilities"]
    assert found["trouble"] == []


def test_what_is_in_the_way_is_one_line_that_says_what_to_do(folder: Path, tms: Tms) -> None:
    def token(*options: str) -> str:
        made = run_tms("token", "create", "--name", "other", *options, "--data-dir", str(tms.data_dir))
        return made.stdout.strip()

    on = {"TMS_URL": tms.url, "TMS_API_TOKEN": tms.token}
    assert trouble() == "reporting is off: there is no URL, set --tms-url, TMS_URL or tms_url"
    assert trouble("--no-tms", **on) == "reporting is off: --no-tms or TMS_DISABLED says so"
    assert trouble(TMS_URL=tms.url) == "there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE"
    assert trouble(**{**on, "TMS_API_TOKEN": "nope"}).startswith(
        "the token is unknown, expired or revoked: set"
    )
    lacking = trouble(**{**on, "TMS_API_TOKEN": token("--scope", "executions:read")})
    assert lacking.endswith("lacks executions:write: use one that has it")
    bound = token("--environment", "staging")
    assert trouble(**{**on, "TMS_API_TOKEN": bound}).endswith("is for staging, not dev: use another")
    assert trouble(**{**on, "TMS_URL": tms.root}).endswith("check that the base URL includes /api")
    assert trouble("--tms-execution", "exec_x", **on).startswith("There is no execution exec_x: check")
    assert trouble("-o", "tms_timeout=x", **on) == "tms_timeout is 'x': write a whole number from 1 to 1000000000"
    assert "unrecognized arguments: --nonsense" in trouble("--nonsense", **on)
    assert trouble("-p", "no:tms", **on).startswith("pytest does not load pytest-tms: look for -p no:tms")
    assert asked("--tms-offline")[0] == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hangs", "does not answer: it timed out"),
        ("drips", "did not answer in full within 12 s"),
        ("resets", "does not answer: the connection was cut off"),
        ("html", "answered 200 with text/html, not as a TMS does: check that the base URL includes /api"),
        ("login", "redirects elsewhere (302): check the base URL"),
        ("expired", "does not answer: its TLS certificate is not accepted"),
    ],
)
def test_a_peer_that_is_no_tms_is_named(folder: Path, name: str, said: str) -> None:
    with misbehaving(name, folder) as url:
        assert said in trouble(TMS_URL=url, TMS_API_TOKEN="t")


def test_a_server_that_knows_only_the_document_is_well(foreign: Foreign) -> None:
    def route(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        knows = foreign.requests[-1]["headers"].get("Authorization") == "Bearer t"
        return (404 if knows else 401), {"Content-Type": "application/json"}, b'{"error": {"message": "No"}}'

    foreign.route = route
    status, found = asked(TMS_URL=foreign.url, TMS_API_TOKEN="t")
    assert (status, found["trouble"], found["capabilities"], found["token"]) == (0, [], [], None)
    assert trouble(TMS_URL=foreign.url, TMS_API_TOKEN="u") == "No: set TMS_API_TOKEN to a valid token"


def test_a_clock_that_is_wrong_is_trouble() -> None:
    body = b'{"service": "s", "token": {"scopes": ["admin"]}}'
    with peer(answers("200 OK", body, Date="Mon, 01 Jan 1990 00:00:00 GMT")) as url:
        assert "s ahead of the TMS's: set it, or times" in trouble(TMS_URL=url, TMS_API_TOKEN="t")
