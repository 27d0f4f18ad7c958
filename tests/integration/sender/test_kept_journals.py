"""Results are kept whenever reporting was asked for, and the command that the summary prints sends them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import TmsServer, run_tms

SUITE = "def test_a(): pass\ndef test_b(): assert 0\n"


@pytest.fixture(autouse=True)
def suite(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=SUITE)


def printed(result: pytest.RunResult) -> list[str]:
    """The command that the summary names, without the `tms` before it."""
    (command,) = re.findall(r"send with: tms (.*)$", result.stdout.str(), re.M)
    return shlex.split(command)


@pytest.mark.slow
def test_a_run_without_a_token_is_kept_and_sent_by_the_printed_command(
    pytester: pytest.Pytester, tms: TmsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = pytester.runpytest_subprocess("--tms-url", tms.url, "--tms-suite", "smoke")
    result.stdout.fnmatch_lines(
        [
            "tms: not reporting: there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE; results are kept in *",
            "problem: there is no token: *",
        ]
    )
    monkeypatch.chdir(tmp_path)
    sent = run_tms(*printed(result), TMS_API_TOKEN=tms.token)
    assert (sent.returncode, sent.stderr) == (0, "")
    (execution,) = re.findall(r"(exec_\w+)  2 tests", sent.stdout)
    with tms.client() as client:
        assert client.get_execution(execution).test_suite == "smoke"
    again = run_tms(*printed(result), TMS_API_TOKEN=tms.token)
    assert (again.returncode, again.stdout.rpartition(" is ")[2]) == (0, "already delivered\n")


@pytest.mark.slow
@pytest.mark.parametrize("url", ["tms.example.com", "ftp://tms.example.com/api", "http//tms.example.com/api"])
def test_a_run_with_a_wrong_url_is_kept_and_sent_to_the_right_one(
    pytester: pytest.Pytester, tms: TmsServer, url: str
) -> None:
    result = pytester.runpytest_subprocess("--tms-url", url)
    result.stdout.fnmatch_lines([f"problem: invalid TMS URL '{url}': use http(s)://HOST/api, or local"])
    refused = run_tms(*printed(result), "--url", url, TMS_API_TOKEN=tms.token)
    assert refused.returncode == 1
    assert f" is not sent: invalid TMS URL '{url}': " in refused.stderr
    sent = run_tms(*printed(result), "--url", tms.url, TMS_API_TOKEN=tms.token)
    assert sent.returncode == 0, sent.stderr
    assert "  2 tests" in sent.stdout


@pytest.mark.slow
def test_a_tms_that_asks_for_patience_at_the_start_is_waited_for(
    pytester: pytest.Pytester, foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    foreign.add_response(503, {}, Retry_After="1")
    foreign.add_response(201, {"executionId": "exec_1", "submissionId": "sub_1"})
    result = pytester.runpytest_subprocess("--tms-url", foreign.url)
    result.stdout.fnmatch_lines(["tms: 2 results reported: */reports/exec_1"])


@pytest.mark.slow
def test_what_can_never_be_sent_is_named_once_and_can_be_discarded(
    pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    wrong = pytester.runpytest_subprocess("--tms-url", tms.url, "--tms-suite", "no-such")
    wrong.stdout.fnmatch_lines(["problem: *Must be one of*", "2 results kept; send with: *"])
    sent = run_tms(*printed(wrong), TMS_API_TOKEN=tms.token)
    assert sent.returncode == 1
    assert "delete them with --discard" in sent.stderr
    later = pytester.runpytest_subprocess("--tms-url", tms.url)
    later.stdout.fnmatch_lines(["tms: 2 results reported: *"])
    discarded = run_tms(*printed(wrong), "--discard")
    assert (discarded.returncode, discarded.stdout.partition(" in ")[0]) == (0, "1 of 1 runs deleted")
    assert not list(pytester.path.glob(".tms/journal/*.jsonl"))


@pytest.mark.slow
def test_empty_and_foreign_files_are_passed_over_with_a_line(
    pytester: pytest.Pytester, tms: TmsServer
) -> None:
    pytester.runpytest_subprocess("--tms-offline", "--tms-url", tms.url)
    folder = pytester.path / ".tms" / "offline"
    (folder / "empty.jsonl").touch()
    (folder / "foreign.jsonl").write_text('{"$report_type": "SessionStart"}\n')
    sent = run_tms("replay", str(folder), TMS_API_TOKEN=tms.token)
    assert sent.returncode == 0
    assert "  2 tests" in sent.stdout
    assert sorted(sent.stderr.splitlines()) == [
        f"{folder}/empty.jsonl is empty and is skipped: --discard deletes it",
        f"{folder}/foreign.jsonl is not a journal of pytest-tms and is skipped",
    ]


@pytest.mark.parametrize("name", ["train.jsonl", "train.txt"])
def test_files_that_are_not_journals_are_not_deleted(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    file = tmp_path / name
    file.write_text('{"prompt": "x"}\n')
    for path in (tmp_path, file):
        completed = run_tms("replay", str(path), "--discard")
        assert completed.returncode == 0, completed.stderr
        assert file.read_text() == '{"prompt": "x"}\n'
    assert completed.stderr == f"{file} is not a journal of pytest-tms and is kept\n"
    assert completed.stdout == f"0 of 0 runs deleted in {file}\n"
    assert not (tmp_path / "empty.jsonl").exists()


def test_a_session_that_never_starts_leaves_no_journal(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "import pytest\n@pytest.hookimpl(tryfirst=True)\ndef pytest_cmdline_main(): return 0\n"
    )
    pytester.runpytest_subprocess("--tms-offline")
    assert not (pytester.path / ".tms").exists()


@pytest.mark.slow
def test_a_rootdir_of_slash_writes_nothing_there(pytester: pytest.Pytester, tmp_path: Path) -> None:
    pytester.runpytest_subprocess("--tms-offline", "--rootdir", "/")
    assert not Path("/.tms").exists()
    assert list(pytester.path.glob(".tms/offline/*.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "environ", "reason"),
    [
        ((), {"TMS_URL": ""}, "required, but nothing was reported: TMS_URL is empty: set --tms-url*"),
        ((), {}, "required, but nothing was reported: there is no TMS URL: set --tms-url*"),
        (
            ("--tms-url", "URL"),
            {},
            "exit status 1: required, but not everything was reported: there is no token*",
        ),
        (("--tms-url", "x"), {"TMS_API_TOKEN": "t"}, "exit status 1: required, *invalid TMS URL*"),
        (
            ("--tms-url", "http://127.0.0.1:1/api"),
            {"TMS_API_TOKEN": "t"},
            "exit status 1: required, but not everything was reported: *the connection is refused",
        ),
        (("--tms-offline",), {}, "exit status 1: required, *--tms-offline sends nothing"),
    ],
)
def test_required_fails_with_a_reason_if_nothing_is_delivered(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    tms: TmsServer,
    options: tuple[str, ...],
    environ: dict[str, str],
    reason: str,
) -> None:
    pytester.makepyfile(test_it="def test_a(): pass")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    asked = [option.replace("URL", tms.url) for option in options]
    result = pytester.runpytest_subprocess("--tms-required", *asked)
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"*{reason}*"])


TEN = "import pytest\n@pytest.mark.parametrize('n', range(10))\ndef test_it(n): pass\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "environ"),
    [
        ((), {}),
        (("--no-tms",), {}),
        (("--tms-offline",), {}),
        (("--tms-url", "URL"), {}),
        (("--tms-url", "nonsense"), {"TMS_API_TOKEN": "t"}),
    ],
)
def test_a_shard_selects_its_part_whether_or_not_it_reports(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    tms: TmsServer,
    options: tuple[str, ...],
    environ: dict[str, str],
) -> None:
    pytester.makepyfile(test_it=TEN)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    asked = [option.replace("URL", tms.url) for option in options]
    parts = []
    for shard in ("1/2", "2/2"):
        result = pytester.runpytest_subprocess("--tms-shard", shard, "-rA", *asked)
        parts.append(set(re.findall(r"^PASSED (\S+)$", result.stdout.str(), re.M)))
    assert parts[0] | parts[1] == {f"test_it.py::test_it[{n}]" for n in range(10)}
    assert not parts[0] & parts[1]
    assert all(parts)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["5/4", "0/3", "1/0", "a/b", "1/", "/2", "-1/2"])
@pytest.mark.parametrize("by", ["option", "environment", "ini"])
def test_a_shard_that_is_not_one_is_a_usage_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, shard: str, by: str
) -> None:
    options = [f"--tms-shard={shard}"] if by == "option" else []
    if by == "environment":
        monkeypatch.setenv("TMS_SHARD", shard)
    elif by == "ini":
        pytester.makeini(f"[pytest]\ntms_shard = {shard}\n")
    result = pytester.runpytest_subprocess(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *'{shard}'*I/N*"])


@pytest.mark.slow
def test_a_backlog_delays_nothing(
    pytester: pytest.Pytester, foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier run is refused for now, again and again; this one is delivered meanwhile."""
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    pytester.runpytest_subprocess("--tms-offline", "--tms-url", foreign.url, "--tms-suite", "earlier")
    (kept,) = pytester.path.glob(".tms/offline/*.jsonl")
    (pytester.path / ".tms" / "journal").mkdir()
    kept.rename(pytester.path / ".tms" / "journal" / kept.name)

    def route(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        body = foreign.requests[-1]["body"]
        if b'"earlier"' in body:
            return 503, {"Retry-After": "3600"}, b"{}"
        return 201, {"Content-Type": "application/json"}, b'{"executionId":"exec_1","submissionId":"sub_1"}'

    foreign.route = route
    result = pytester.runpytest_subprocess("--tms-url", foreign.url)
    result.stdout.fnmatch_lines(["*2 results reported: *"])
    sent = [json.loads(request["body"]).get("testSuite") for request in foreign.requests]
    assert "all" in sent


@pytest.mark.slow
@pytest.mark.parametrize("asked", [False, True])
def test_a_session_inside_a_test_reports_only_if_an_option_asks_for_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tms: TmsServer, asked: bool
) -> None:
    """This very test is the outer one."""
    monkeypatch.setenv("TMS_URL", tms.url)
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    result = pytester.runpytest_subprocess(*(["--tms-url", tms.url] if asked else []))
    result.assert_outcomes(passed=1, failed=1)
    assert ("results reported" in result.stdout.str()) == asked
