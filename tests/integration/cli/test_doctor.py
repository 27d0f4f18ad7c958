"""`tms doctor`: whether a run here reports, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_tms import wire
from tests.helpers.api import expect_error, expect_success, running
from tests.helpers.fault_servers import faulty_server, named_faulty_server, responds_with
from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import TmsServer, run_tms


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(*arguments: str, **environ: str) -> tuple[int, dict[str, Any]]:
    completed = run_tms("doctor", "--json", *arguments, **environ)
    assert completed.stderr == ""
    return completed.returncode, json.loads(completed.stdout)


def problem_of(*arguments: str, **environ: str) -> str:
    """The one thing that is wrong."""
    status, found = asked(*arguments, **environ)
    assert status == 1
    (sentence,) = found["problems"]
    assert isinstance(sentence, str)
    return sentence


def verdict(*arguments: str, **environ: str) -> str:
    """The first line of what is printed."""
    completed = run_tms("doctor", *arguments, **environ)
    assert "Traceback" not in completed.stdout + completed.stderr
    assert completed.returncode == (0 if completed.stdout.startswith("Reporting works") else 1)
    return completed.stdout.partition("\n")[0]


@pytest.mark.slow
def test_each_value_is_shown_with_its_source_and_no_secret(folder: Path, tms: TmsServer) -> None:
    (folder / "pytest.ini").write_text(
        "[pytest]\ntms_suite = smoke\ntms_timeout = 60\naddopts = --tms-environment staging\ntms_mask = hunter2\n"
    )
    (folder / "conftest.py").write_text("import os\nprint('hello')\nos.environ['TMS_SHARD'] = '1/2'\n")
    url = tms.url.replace("//", "//me:pass-word@")
    environ = {"TMS_URL": url, "TMS_SUITE": "api", "TMS_API_TOKEN": tms.token, "MY_PASSWORD": "sesame-opens"}
    completed = run_tms("doctor", "-v", "--tms-meta", "door=sesame-opens", **environ)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert not any(
        secret in completed.stdout for secret in (tms.token, "pass-word", "sesame-opens", "hunter2")
    )
    shown = tms.url.replace("//", "//********@")
    assert completed.stdout.startswith(
        f"Reporting works: results go to {shown} (suite api, environment staging)\nTMS      pytest-tms "
    )
    rows = [line.split() for line in completed.stdout.splitlines()]
    assert ["--tms-suite", "api", "TMS_SUITE"] in rows
    assert ["tms_timeout", "60", "tms_timeout"] in rows
    assert ["tms_deadline", "15", "default"] in rows
    assert "--tms-suite" not in run_tms("doctor", **environ).stdout
    status, found = asked("--tms-meta", "door=sesame-opens", **environ)
    assert status == 0
    by_name = {row["name"]: (row["value"], row["source"]) for row in found["settings"]}
    assert by_name["--tms-suite"] == ("api", "TMS_SUITE")
    assert by_name["--tms-environment"] == ("staging", "--tms-environment")
    assert by_name["--tms-shard"] == ("1/2", "TMS_SHARD")
    assert by_name["--tms-meta"] == ("door=********", "--tms-meta")
    assert by_name["tms_timeout"] == ("60", "tms_timeout")
    assert by_name["tms_payload"] == ("full", "default")
    assert by_name["token"] == ("********", "TMS_API_TOKEN")
    assert found["verdict"] == f"Reporting works: results go to {shown} (suite api, environment staging)"
    assert found["tms"]["service"] == "pytest-tms"
    assert found["token"]["scopes"] == ["executions:read", "executions:write", "webhooks:write"]
    assert abs(found["clockSkew"]) < 30
    assert "live-tests" in found["capabilities"]
    assert found["problems"] == []


@pytest.mark.slow
def test_what_is_wrong_is_one_line_with_what_to_do(folder: Path, tms: TmsServer) -> None:
    def token(*options: str) -> str:
        made = run_tms("token", "create", "--name", "other", *options, "--data-dir", str(tms.data_dir))
        return made.stdout.strip()

    on = {"TMS_URL": tms.url, "TMS_API_TOKEN": tms.token}
    assert problem_of(TMS_URL=tms.url) == "there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE"
    assert problem_of(TMS_URL=tms.url, TMS_API_TOKEN_FILE="nowhere").startswith(
        "TMS_API_TOKEN_FILE cannot be read: No such file or directory, nowhere"
    )
    assert problem_of(**{**on, "TMS_API_TOKEN": "nope"}).startswith(
        "the token is unknown, expired or revoked: set"
    )
    lacking = problem_of(**{**on, "TMS_API_TOKEN": token("--scope", "executions:read")})
    assert lacking.endswith("lacks executions:write: use a token that has it")
    bound = token("--environment", "staging")
    assert problem_of(**{**on, "TMS_API_TOKEN": bound}).endswith("is for staging, not dev: use another")
    assert problem_of(**{**on, "TMS_URL": tms.root}).endswith("check that the base URL includes /api")
    assert problem_of("--tms-execution", "exec_x", **on).startswith("There is no execution exec_x: check")
    assert (
        problem_of("--tms-shard", "5/4", **on)
        == "the shard is '5/4': write I/N with I from 1 to N, as in 2/4"
    )
    assert problem_of("-o", "tms_mask=(", **on).startswith("tms_mask: invalid regular expression '(': ")
    assert "unrecognized arguments: --nonsense" in problem_of("--nonsense", **on)
    assert problem_of("-p", "no:tms", **on).startswith("pytest does not load pytest-tms: look for -p no:tms")


@pytest.mark.parametrize(
    ("options", "obstacle"),
    [
        ((), "no shard is named; set --tms-shard, TMS_SHARD or tms_shard"),
        (("--tms-shard", "1/2"), "the shards do not share an execution; give them the same --tms-run-key"),
    ],
)
def test_a_queue_that_has_no_effect_is_noted(tms: TmsServer, options: tuple[str, ...], obstacle: str) -> None:
    status, found = asked("--tms-split", "queue", *options, TMS_URL=tms.url, TMS_API_TOKEN=tms.token)
    assert status == 0
    assert found["notes"] == [f"--tms-split queue has no effect: {obstacle}"]


@pytest.mark.slow
def test_the_first_line_is_the_verdict(folder: Path, tms: TmsServer) -> None:
    on = {"TMS_URL": tms.url, "TMS_API_TOKEN": tms.token}
    works = f"Reporting works: results go to {tms.url} (suite all, environment dev)"
    assert verdict(**on) == works
    keyed = verdict("--tms-shard", "1/2", "--tms-run-key", "pipeline 7", **on)
    assert keyed == works.replace("dev)", "dev, shared by the jobs with the run key pipeline 7)")
    queued = verdict("--tms-shard", "1/2", "--tms-run-key", "7", "--tms-split", "queue", **on)
    assert queued == works.replace(
        "dev)", "dev, shared by the jobs with the run key 7, tests from its queue)"
    )
    assert verdict() == "Reporting is off: there is no URL; set --tms-url, TMS_URL or tms_url"
    assert verdict(TMS_URL="") == "Reporting is off: TMS_URL is empty; set --tms-url, TMS_URL or tms_url"
    assert verdict("--no-tms", **on) == "Reporting is off: --no-tms is given; leave it out to report"
    assert (
        verdict(TMS_DISABLED="1", **on) == "Reporting is off: TMS_DISABLED is given; leave it out to report"
    )
    assert verdict("--tms-offline") == (
        f"Reporting works: offline, results are written to {folder}/.tms/offline and sent by `tms replay`"
    )
    assert verdict(TMS_URL=tms.url) == (
        "Reporting does not work: there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE"
    )


@pytest.mark.slow
def test_a_value_that_is_not_used_is_trouble_and_reporting_works(tms: TmsServer) -> None:
    on = {"TMS_URL": tms.url, "TMS_API_TOKEN": tms.token}
    for arguments, environ, sentence in [
        (["-o", "tms_timeout=x"], {}, "tms_timeout is 'x': write a whole number from 1 to 1000000000"),
        ([], {"TMS_SUIT": "smoke"}, "TMS_SUIT is not a setting: did you mean TMS_SUITE?"),
        (["-o", "tms_tag=a"], {}, "tms_tag is not a setting: did you mean tms_tags?"),
    ]:
        status, found = asked(*arguments, **on, **environ)
        assert (status, found["problems"]) == (1, [sentence])
        assert found["verdict"].startswith("Reporting works: ")
    assert (
        "problem  TMS_SUIT is not a setting: did you mean TMS_SUITE?"
        in run_tms("doctor", TMS_SUIT="smoke", **on).stdout
    )
    status, found = asked(TMS_ZOOM="1", **on)
    assert (status, found["problems"]) == (0, [])
    assert found["notes"] == ["TMS_ZOOM is not a setting of pytest-tms: `tms doctor -v` lists all settings"]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("pyproject.toml", b"[tool.pytest\nx", "pytest does not start here: "),
        ("pyproject.toml", b"\xff\xfe\x00", "pytest does not start here: "),
        ("conftest.py", b"import os; os._exit(0)", "it exits with status 0; check conftest.py"),
        ("conftest.py", b"import sys; print('tms-probe:{'); sys.exit(3)", "pytest does not start here: "),
        ("conftest.py", b"import pytest; pytest.exit('enough')", "pytest does not start here: "),
        ("conftest.py", b"1/0", "pytest does not start here: "),
    ],
)
def test_a_folder_in_which_pytest_does_not_start_is_one_line(
    folder: Path, file: str, content: bytes, said: str
) -> None:
    (folder / file).write_bytes(content)
    first = verdict("--tms-offline")
    assert first.startswith("Reporting does not work: ")
    assert said in first


@pytest.mark.parametrize(
    "content",
    [
        "import os; os.write(1, b'\\xff\\x00tms-probe:{}\\n')",
        "import sys, os; sys.stdout = open(os.devnull, 'w')",
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'])",
    ],
)
def test_what_a_conftest_prints_reads_and_starts_is_no_obstacle(folder: Path, content: str) -> None:
    (folder / "conftest.py").write_text(content)
    assert verdict("--tms-offline").startswith("Reporting works: offline")


@pytest.mark.parametrize(
    "url", ["http://[::1/api", "http://a b/api", "http://127.0.0.1:99999/api", "http:///api", "ftp://a"]
)
def test_a_url_that_cannot_be_is_one_line(url: str) -> None:
    shown = verdict(TMS_URL=url, TMS_API_TOKEN="t")
    assert shown.startswith(f"Reporting does not work: invalid TMS URL {url!r}: ")


@pytest.mark.slow
def test_what_the_server_would_refuse_of_a_run_is_found_before_it(folder: Path, tms: TmsServer) -> None:
    made = run_tms(
        "token", "create", "--name", "reader", "--scope", "executions:read", "--data-dir", str(tms.data_dir)
    )
    on = {"TMS_URL": tms.url, "TMS_API_TOKEN": made.stdout.strip()}
    wrong = ("--tms-suite", "payments", "--tms-environment", "moon")
    status, found = asked(*wrong, **on)
    assert status == 1
    suite, environment, scope = found["problems"]
    assert suite == (
        "the TMS refuses the suite 'payments': use one of smoke, regression, api, ui, all (--tms-suite), "
        "or let its operator allow it with TMS_SERVER_SUITES"
    )
    assert "the environment 'moon': use one of dev, staging, prod" in environment
    assert environment.endswith("TMS_SERVER_ENVIRONMENTS")
    assert scope.endswith("lacks executions:write: use a token that has it")
    on["TMS_API_TOKEN"] = tms.token
    assert problem_of("--tms-suite", "payments", **on) == suite
    with tms.client() as client:
        asked_for = wire.ExecutionRequest(test_suite="all", environment="dev")
        joined = client.create_execution(asked_for).execution_id
    assert asked(*wrong, "--tms-execution", joined, **on)[0] == 0  # it creates none


@pytest.mark.slow
def test_a_suite_that_the_operator_allows_is_well(folder: Path, tmp_path: Path) -> None:
    names = {"TMS_SERVER_SUITES": "payments", "TMS_SERVER_ENVIRONMENTS": "moon,mars"}
    with running(tmp_path / "data", **names) as api:
        on = {"TMS_URL": api.url, "TMS_API_TOKEN": api.token, "TMS_SUITE": "payments"}
        assert asked("--tms-environment", "mars", **on)[0] == 0
        assert "use one of moon, mars (" in problem_of("--tms-environment", "dev", **on)
        body = {"testSuite": "all", "environment": "dev"}
        details = expect_error(api.request("POST", "/executions", body), 422)["details"]
        assert {each["field"]: each["message"] for each in details} == {
            "testSuite": "Must be one of: payments",
            "environment": "Must be one of: moon, mars",
        }
        for nobody in ("", "nonsense"):  # only a valid token sees the lists
            shown = expect_success(api.request("GET", "/", token=nobody), 200)
            assert (shown["suites"], shown["environments"]) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hangs", "does not answer: it timed out"),
        ("drips", "did not respond in full within 12 s"),
        ("resets", "does not answer: the connection was cut off"),
        ("html", "answered 200 with text/html, not as a TMS does: check that the base URL includes /api"),
        ("login", "redirects elsewhere (302): check the base URL"),
        ("expired", "does not answer: its TLS certificate is not accepted"),
    ],
)
def test_a_peer_that_is_no_tms_is_named(folder: Path, name: str, said: str) -> None:
    with named_faulty_server(name, folder) as url:
        assert said in problem_of(TMS_URL=url, TMS_API_TOKEN="t")


@pytest.mark.slow
def test_a_server_that_knows_only_the_document_is_well(foreign: ForeignTms) -> None:
    def route(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        knows = foreign.requests[-1]["headers"].get("Authorization") == "Bearer t"
        return (404 if knows else 401), {"Content-Type": "application/json"}, b'{"error": {"message": "No"}}'

    foreign.route = route
    status, found = asked(TMS_URL=foreign.url, TMS_API_TOKEN="t")
    assert (status, found["problems"], found["capabilities"], found["token"]) == (0, [], [], None)
    assert problem_of(TMS_URL=foreign.url, TMS_API_TOKEN="u") == "No: set TMS_API_TOKEN to a valid token"


def test_a_clock_that_is_wrong_is_trouble() -> None:
    body = b'{"service": "s", "token": {"scopes": ["admin"]}}'
    with faulty_server(responds_with("200 OK", body, Date="Mon, 01 Jan 1990 00:00:00 GMT")) as url:
        assert "s ahead of the clock of the TMS: set it, or times" in problem_of(
            TMS_URL=url, TMS_API_TOKEN="t"
        )
