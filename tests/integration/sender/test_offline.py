"""Offline, replay, a deadline and --tms-required, as users meet them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import pytest

from pytest_tms import wire
from tests.helpers.fault_servers import faulty_server, named_faulty_server
from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import TMS, TmsServer, run_tms, wait_for

SUITE = "def test_a(): pass\ndef test_b(): assert 0\n"


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Path:
    pytester.makepyfile(test_it=SUITE)
    return pytester.path


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api"


@pytest.mark.slow
def test_offline_needs_neither_url_nor_token_and_replays_as_if_live(
    pytester: pytest.Pytester, suite: Path, tms: TmsServer
) -> None:
    result = pytester.runpytest_subprocess("--tms-offline", "--tms-suite", "smoke")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            f"tms: offline, writing to {suite}/.tms/offline",
            f"tms: offline, 2 results kept; send with: tms replay {suite}/.tms/offline",
        ]
    )
    sent = run_tms("replay", str(suite / ".tms" / "offline"), "--url", tms.url, TMS_API_TOKEN=tms.token)
    assert (sent.returncode, sent.stderr) == (0, "")
    found = re.search(r"reports/(exec_\w+)  2 tests", sent.stdout)
    assert found is not None
    with tms.client() as client:
        execution = client.get_execution(found[1])
        assert [test["title"] for test in client.iter_tests(found[1])] == ["test_a", "test_b"]
    assert (execution.status, execution.test_suite) == ("completed", "smoke")
    assert (execution.results.total, execution.results.failed) == (2, 1)
    again = run_tms("replay", str(suite / ".tms" / "offline"), "--url", tms.url, TMS_API_TOKEN=tms.token)
    assert again.stdout == f"there are no journals in {suite}/.tms/offline\n"


def test_a_replay_keeps_the_times_of_the_run(pytester: pytest.Pytester, suite: Path, tms: TmsServer) -> None:
    pytester.runpytest_subprocess("--tms-offline")
    (journal,) = suite.glob(".tms/offline/*.jsonl")
    lines = journal.read_text().splitlines()
    moments = {"run": "04:00", "shard": "04:01", "end": "05:01", "close": "05:02"}
    for number, line in enumerate(lines):
        kind = re.match(r'\{"is":"(\w+)"', line)
        assert kind is not None
        at = f'"at":"2026-01-02T03:{moments.get(kind[1], "04:30")}.000Z"'
        lines[number] = re.sub(r'"at":"[^"]+"', at, line, count=1)
    journal.write_text("\n".join(lines) + "\n")
    execution = replayed(suite, tms)
    assert execution.progress.started_at == "2026-01-02T03:04:00.000Z"
    assert execution.progress.completed_at in ("2026-01-02T03:05:01.000Z", "2026-01-02T03:05:02.000Z")
    assert execution.created_at > "2026-11"


@pytest.mark.slow
def test_a_run_that_was_killed_ended_with_its_last_line(
    pytester: pytest.Pytester, suite: Path, tms: TmsServer
) -> None:
    pytester.runpytest_subprocess("--tms-offline")
    (journal,) = suite.glob(".tms/offline/*.jsonl")
    whole = journal.read_text().splitlines()
    journal.write_text("".join(f"{line}\n" for line in whole if not re.match(r'\{"is":"(end|close)"', line)))
    last = datetime.now(timezone.utc).replace(microsecond=0)
    os.utime(journal, (last.timestamp(), last.timestamp()))
    execution = replayed(suite, tms)
    assert execution.status == "failed"
    assert [shard.status for shard in execution.shard_results] == ["error"]
    assert execution.progress.completed_at == last.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def replayed(suite: Path, tms: TmsServer) -> wire.ExecutionStatus:
    sent = run_tms("replay", str(suite / ".tms"), "--url", tms.url, TMS_API_TOKEN=tms.token)
    found = re.search(r"reports/(exec_\w+)", sent.stdout)
    assert found is not None, sent.stderr
    with tms.client() as client:
        return client.get_execution(found[1])


@pytest.mark.slow
def test_offline_writes_where_it_is_told(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.runpytest_subprocess("--tms-offline", "elsewhere", "-q")
    assert len(list((suite / "elsewhere").glob("*.jsonl"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("holds", ["", "junit.xml"])
def test_a_folder_without_tests_is_written_to(pytester: pytest.Pytester, suite: Path, holds: str) -> None:
    folder = suite / "elsewhere"
    folder.mkdir()
    if holds:
        (folder / holds).touch()
    result = pytester.runpytest_subprocess("--tms-offline", "elsewhere")
    result.stdout.fnmatch_lines([f"tms: offline, writing to {folder}"])
    result.assert_outcomes(passed=1, failed=1)


@pytest.mark.slow
def test_a_folder_that_cost_pytest_its_settings_is_named(
    pytester: pytest.Pytester, suite: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """pytest takes what follows an option that it does not know yet for a test path, and looks there."""
    pytester.makeini("[pytest]\naddopts = -rf")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    wrong = pytester.runpytest_subprocess("--tms-offline", str(elsewhere))
    expected = (
        f"tms: pytest took {elsewhere} for a test path when it looked for its settings: write *={elsewhere}"
    )
    wrong.stdout.fnmatch_lines([expected])
    right = pytester.runpytest_subprocess(f"--tms-offline={elsewhere}")
    right.stdout.no_fnmatch_line("tms: pytest took*")
    right.stdout.fnmatch_lines(["rootdir: *", "configfile: tox.ini"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["test_it.py"], ["test_it.py::test_a"], ["test_it.py", "test_more.py"]]
)
def test_tests_behind_the_option_are_tests(
    pytester: pytest.Pytester, suite: Path, arguments: list[str]
) -> None:
    pytester.makepyfile(test_more="def test_c(): pass", test_other="def test_d(): pass")
    result = pytester.runpytest_subprocess("--tms-offline", *arguments)
    passed, failed = {1: (1, 1), 2: (2, 1)}[len(arguments)] if "::" not in arguments[0] else (1, 0)
    result.assert_outcomes(passed=passed, failed=failed)
    assert len(list((suite / ".tms" / "offline").glob("*.jsonl"))) == 1


@pytest.mark.slow
def test_a_run_that_the_tms_will_not_create_holds_up_no_other_and_is_sent_under_another_suite(
    pytester: pytest.Pytester, suite: Path, tms: TmsServer
) -> None:
    pytester.runpytest_subprocess("--tms-offline", "--tms-suite", "no-such")
    pytester.runpytest_subprocess("--tms-offline", "--tms-suite", "smoke")
    folder = suite / ".tms" / "offline"
    bad, _ = sorted(folder.glob("*.jsonl"))
    sent = run_tms("replay", str(folder), "--url", tms.url, TMS_API_TOKEN=tms.token)
    assert sent.returncode == 1
    assert [line.partition("  ")[2] for line in sent.stdout.splitlines() if "/reports/" in line] == [
        "2 tests"
    ]
    why, end = sent.stderr.splitlines()
    assert why.startswith(f"{bad} is not sent: Request validation failed (testSuite: ")
    assert why.endswith("tms replay --suite and --environment send it under others")
    assert end == (
        f"tms: 1 of 2 runs are not sent and stay in {folder}: "
        "correct the error and repeat the command, or delete them with --discard"
    )
    assert sorted(folder.glob("*.jsonl")) == [bad]
    replayed = run_tms("replay", str(folder), "--url", tms.url, "--json", TMS_API_TOKEN=tms.token)
    (failed,) = json.loads(replayed.stdout)["failed"]
    assert failed == {"journal": str(bad), "error": why.partition(" is not sent: ")[2]}
    options = ("--suite", "regression", "--environment", "staging")
    again = run_tms("replay", str(folder), "--url", tms.url, *options, TMS_API_TOKEN=tms.token)
    assert (again.returncode, again.stderr) == (0, "")
    found = re.search(r"/(exec_\w+)  2 tests", again.stdout)
    assert found is not None
    with tms.client() as client:
        execution = client.get_execution(found[1])
    assert (execution.test_suite, execution.environment) == ("regression", "staging")
    assert list(folder.glob("*.jsonl")) == []


@pytest.mark.slow
def test_replay_without_a_tms_keeps_everything(pytester: pytest.Pytester, suite: Path) -> None:
    pytester.runpytest_subprocess("--tms-offline")
    sent = run_tms("replay", ".tms", "--url", "http://127.0.0.1:1/api", TMS_API_TOKEN="t")
    assert sent.returncode == 1
    assert "http://127.0.0.1:1 does not answer: the connection is refused" in sent.stderr
    assert len(list(suite.glob(".tms/offline/*.jsonl"))) == 1


@pytest.mark.slow
def test_a_replay_may_be_interrupted_and_repeated(
    pytester: pytest.Pytester, suite: Path, tms: TmsServer
) -> None:
    pytester.runpytest_subprocess("--tms-offline")
    asked = threading.Event()

    def hang(connection: socket.socket, over: threading.Event) -> None:
        asked.set()
        over.wait()

    with faulty_server(hang) as url:
        sending = subprocess.Popen(
            [*TMS, "replay", "--url", url],
            env={**os.environ, "TMS_API_TOKEN": "t"},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        assert asked.wait(30)
        sending.send_signal(signal.SIGINT)
        _, said = sending.communicate(timeout=30)
    assert sending.returncode == 130
    assert said.strip() == "the rest stays in .tms: the same command continues from there"
    execution = replayed(suite, tms)
    assert (execution.status, execution.results.total) == ("completed", 2)


@pytest.mark.slow
@pytest.mark.parametrize(("required", "status"), [([], 0), (["--tms-required"], 1)])
def test_required_fails_a_run_that_was_not_delivered(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: list[str], status: int
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    pytester.makepyfile("def test(): pass")
    result = pytester.runpytest_subprocess("--tms-url", "http://127.0.0.1:1/api", *required)
    assert result.ret == status


@pytest.mark.slow
def test_required_fails_a_run_whose_settings_are_wrong(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(): pass")
    assert pytester.runpytest_subprocess("--tms-url", "nonsense", "--tms-required").ret == 1


@pytest.mark.slow
def test_required_leaves_a_delivered_run_alone(
    pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makepyfile("def test(): pass")
    assert pytester.runpytest_subprocess("--tms-url", tms.url, "--tms-required").ret == 0


@pytest.mark.slow
def test_a_tms_that_hangs_holds_nobody_up_beyond_the_deadline(
    pytester: pytest.Pytester, suite: Path, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    result = pytester.runpytest_subprocess("--tms-url", silent, "-o", "tms_deadline=1", timeout=60)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "not reported: 2 results",
            "problem: the TMS did not accept all results within 1 s",
            "2 results kept; send with: tms replay *",
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("drips", "the TMS did not accept all results within 1 s"),
        ("resets", "http://* does not answer: the connection was cut off"),
        (
            "html",
            "http://* answered 200 with text/html, not as a TMS does: check that the base URL includes /api",
        ),
        ("login", "http://* redirects elsewhere (302): check the base URL"),
        ("expired", "https://* does not answer: its TLS certificate is not accepted: *"),
    ],
)
def test_a_peer_that_is_no_tms_costs_a_line_and_no_result(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    with named_faulty_server(name, suite) as url:
        result = pytester.runpytest_subprocess("--tms-url", url, "-o", "tms_deadline=1", timeout=60)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "not reported: 2 results",
            f"problem: {said}",
            "2 results kept; send with: tms replay *",
        ]
    )


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_for_a_tms_that_hangs(tmp_path: Path, silent: str) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    run = subprocess.Popen(
        [sys.executable, "-u", "-m", "pytest", "--tms-url", silent, "-o", "tms_deadline=600"],
        cwd=tmp_path,
        env={**os.environ, "TMS_API_TOKEN": "t"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    (journal,) = wait_for(lambda: list(tmp_path.glob(".tms/journal/*.jsonl")))
    wait_for(lambda: '"is":"close"' in journal.read_text())
    # The line is written a moment before the wait begins: until its thread sleeps, it is not waiting.
    wait_for(lambda: Path(f"/proc/{run.pid}/stat").read_text().rpartition(") ")[2].startswith("S"))
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=30)
    assert run.returncode == 1
    assert "problem: the wait for the TMS was interrupted" in said
    assert "2 results kept; send with: tms replay" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_without_a_folder_in_the_project_results_are_kept_in_the_folder_for_temporary_files(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (suite / ".tms").touch()
    result = pytester.runpytest_subprocess("--tms-url", "http://127.0.0.1:1/api")
    result.stdout.fnmatch_lines([f"2 results kept; send with: tms replay {tmp_path}/pytest-tms/journal/*"])


@pytest.mark.slow
def test_a_journal_in_memory_is_delivered_at_the_end(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch, tms: TmsServer
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    without_a_folder(suite, monkeypatch)
    result = pytester.runpytest_subprocess("--tms-url", tms.url)
    result.stdout.fnmatch_lines(["tms: 2 results reported: *"])


@pytest.mark.slow
def test_a_journal_in_memory_that_cannot_be_delivered_is_said_to_be_lost(
    pytester: pytest.Pytester, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    without_a_folder(suite, monkeypatch)
    result = pytester.runpytest_subprocess("--tms-url", "http://127.0.0.1:1/api")
    result.stdout.fnmatch_lines(
        ["2 results lost", "warning: results are kept in memory only: Not a directory, *"]
    )


def without_a_folder(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no folder for journals: neither in the project nor among the temporary files."""
    (suite / ".tms").touch()
    temporary = suite / "temporary"
    temporary.mkdir()
    (temporary / "pytest-tms").touch()
    monkeypatch.setenv("TMPDIR", str(temporary))


@pytest.mark.slow
def test_secrets_of_the_environment_reach_neither_disk_nor_tms(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", 'hunter2"hünter')
    monkeypatch.setenv("CUSTOMER", "4711-0815")
    monkeypatch.setenv("PWD", str(pytester.path))
    pytester.makeini("[pytest]\ntms_mask =\n    \\d{4}-\\d{4}\n")
    pytester.makepyfile(
        """
        import os, pytest
        @pytest.mark.parametrize("secret", [os.environ["DATABASE_PASSWORD"]])
        def test_leaks(secret, record_property):
            record_property("password", secret)
            print("using", secret, "for", os.environ["CUSTOMER"], "in", os.getcwd())
            assert secret == "x", secret
        """
    )
    pytester.runpytest_subprocess("--tms-offline")
    (journal,) = pytester.path.glob(".tms/offline/*.jsonl")
    written = journal.read_text(encoding="utf-8")
    assert f"using ******** for ******** in {pytester.path}" in written
    assert "hunter2" not in written
    assert "4711-0815" not in written  # a time in milliseconds may contain 4711


@pytest.mark.slow
def test_a_page_of_a_proxy_in_between_only_delays(
    pytester: pytest.Pytester, suite: Path, foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTML from what has answered as a TMS before, and a limit that it sets."""
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    bad = [
        (200, {"Content-Type": "text/html"}, b"<html>Back soon</html>"),
        (429, {"Retry-After": "0"}, b'{"error": {"message": "Slow down"}}'),
    ]

    def route(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("/results") and bad:
            return bad.pop()
        return 201, {"Content-Type": "application/json"}, b'{"executionId":"exec_1","submissionId":"sub_1"}'

    foreign.route = route
    result = pytester.runpytest_subprocess("--tms-url", foreign.url)
    result.stdout.fnmatch_lines(["tms: 2 results reported: *"])
    assert bad == []


@pytest.mark.slow
def test_a_server_that_asks_to_wait_for_ages_breaks_nothing(
    pytester: pytest.Pytester, suite: Path, foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread can wait for so long."""
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    foreign.route = lambda method, path: (429, {"Retry-After": "9" * 400}, b"{}")
    result = pytester.runpytest_subprocess("--tms-url", foreign.url)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["not reported: 2 results"])
    assert "in thread" not in result.stdout.str() + result.stderr.str()


@pytest.mark.slow
def test_one_refused_test_costs_no_other(
    pytester: pytest.Pytester, foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign server that refuses every body with a certain name in it."""
    monkeypatch.setenv("TMS_API_TOKEN", "t")

    def route(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        body = foreign.requests[-1]["body"]
        if path.endswith("/results") and b"test_bad" in body:
            return 422, {}, b'{"error":{"message":"The name is bad"}}'
        response = b'{"executionId":"exec_1","submissionId":"sub_1"}'
        return 201, {"Content-Type": "application/json"}, response

    foreign.route = route
    names = ["a", "b", "bad", "c", "d"]
    pytester.makepyfile("".join(f"def test_{name}(): pass\n" for name in names))
    result = pytester.runpytest_subprocess("--tms-url", foreign.url)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "4 of 5 results reported: *",
            "refused: test_bad (shard 1): The name is bad",
        ]
    )
