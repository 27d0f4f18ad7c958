"""Files of tests reach the TMS after their results, and never cost a run anything."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
import requests

from tests.helpers import reported_runs
from tests.helpers.fault_proxy import proxy
from tests.helpers.processes import TmsServer, run_tms

SUITE = """
import os, pathlib

def attach(tms, name):
    path = pathlib.Path(name)
    path.write_text(f"content of {name}")
    tms.attach(path)

def test_passed(tms):
    attach(tms, "passed.txt")

def test_failed(tms):
    attach(tms, "failed.txt")
    tms.attach(b"bytes of the test", name="bytes.log")
    assert 0
"""
FAILED, BYTES, PASSED = b"content of failed.txt", b"bytes of the test", b"content of passed.txt"


@pytest.fixture(autouse=True)
def token(tms: TmsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)


def uploaded(tms: TmsServer, execution: str, content: bytes) -> bool:
    sha256 = hashlib.sha256(content).hexdigest()
    found = requests.get(f"{tms.root}/files/{execution}/{sha256}/name", timeout=30)
    return found.status_code == 200 and found.content == content


def execution_of(text: str) -> str:
    (found,) = set(re.findall(r"exec_\w+", text))
    return str(found)


def run(pytester: pytest.Pytester, url: str, *ini: str) -> pytest.RunResult:
    pytester.makeini("\n".join(["[pytest]", *ini]))
    return pytester.runpytest_subprocess("--tms-url", url)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("failed", [FAILED, BYTES]), ("all", [FAILED, BYTES, PASSED]), ("none", [])],
)
def test_files_are_uploaded_by_the_setting(
    pytester: pytest.Pytester, tms: TmsServer, setting: str, expected: list[bytes]
) -> None:
    pytester.makepyfile(test_it=SUITE)
    result = run(pytester, tms.url, f"tms_upload = {setting}")
    execution = execution_of(result.stdout.str())
    assert [each for each in (FAILED, BYTES, PASSED) if uploaded(tms, execution, each)] == expected
    with tms.client() as client:
        (test,) = client.iter_tests(execution, status="failed")
        described = [file for file in test["artifacts"] if "sha256" in file]
        assert [file["size"] for file in described] == ([len(FAILED), len(BYTES)] if expected else [])
    assert not list((pytester.path / ".tms" / "journal").glob("*.jsonl"))


@pytest.mark.plugins
def test_files_of_a_failed_attempt_are_uploaded(tmp_path: Path, tms: TmsServer) -> None:
    suite = """
runs = []
def test_flaky(tms):
    runs.append(1)
    tms.attach(f"attempt {len(runs)}".encode(), name="log.txt")
    assert len(runs) > 1
"""
    files = {"test_it.py": suite}
    ran = reported_runs.run(tms, tmp_path, files, "--reruns", "1", environment="rerunfailures")
    assert ran.exit == 0
    assert uploaded(tms, execution_of(ran.output), b"attempt 1")


def test_files_of_a_pattern_go_with_the_shard(pytester: pytest.Pytester, tms: TmsServer) -> None:
    pytester.makepyfile("def test(): pass")
    (pytester.path / "logs").mkdir()
    (pytester.path / "logs" / "service.log").write_bytes(b"of the service")
    result = run(pytester, tms.url, "tms_artifacts = logs/*.log")
    execution = execution_of(result.stdout.str())
    assert uploaded(tms, execution, b"of the service")
    assert "service.log" in requests.get(f"{tms.root}/artifacts/{execution}", timeout=30).text


def test_files_that_cannot_be_uploaded_are_one_warning_each(
    pytester: pytest.Pytester, tms: TmsServer
) -> None:
    pytester.makepyfile(
        test_it="""
        import os, pathlib
        def test(tms):
            for name in ("vanished", "large", "pipe"):
                path = pathlib.Path(f"{name}.log")
                path.write_bytes(b"x")
                tms.attach(path)
            os.unlink("vanished.log")
            os.truncate("large.log", (1 << 20) + 1)
            os.unlink("pipe.log")
            os.mkfifo("pipe.log")
            assert 0
        """
    )
    result = run(pytester, tms.url, "tms_upload_limit = 1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    for name, reason in [
        ("vanished.log", "No such file or directory"),
        ("large.log", "it is larger than 1 MB (tms_upload_limit)"),
        ("pipe.log", "it is not a regular file"),
    ]:
        assert text.count(f"{pytester.path / name} is not uploaded: {reason}") == 1
    assert "1 result reported" in text or "1 results reported" in text


def test_an_offline_run_keeps_copies_that_are_sent_from_another_folder(
    pytester: pytest.Pytester, tms: TmsServer, tmp_path: Path
) -> None:
    pytester.makepyfile(test_it=SUITE)
    pytester.runpytest_subprocess("--tms-offline")
    kept = tmp_path / "elsewhere"
    shutil.copytree(pytester.path / ".tms" / "offline", kept)
    shutil.rmtree(pytester.path / ".tms")
    (pytester.path / "failed.txt").unlink()
    sent = run_tms("replay", str(kept), "--url", tms.url, TMS_API_TOKEN=tms.token)
    assert (sent.returncode, sent.stderr) == (0, "")
    execution = execution_of(sent.stdout)
    assert uploaded(tms, execution, FAILED)
    assert uploaded(tms, execution, BYTES)
    assert not uploaded(tms, execution, PASSED)
    assert not [path for path in kept.iterdir() if path.suffix in (".jsonl", ".files", ".uploads")]


def test_what_is_not_uploaded_in_time_is_sent_by_the_printed_command(
    pytester: pytest.Pytester, tms: TmsServer
) -> None:
    pytester.makepyfile(test_it=SUITE)
    with proxy(tms.url) as between:  # which forwards neither HEAD nor PUT
        result = run(pytester, between.url, "tms_deadline = 3")
    execution = execution_of(result.stdout.str())
    result.stdout.fnmatch_lines(["*2 files were not uploaded in time: tms replay *.jsonl"])
    assert not uploaded(tms, execution, FAILED)
    with tms.client() as client:
        assert client.get_execution(execution).results.total == 2
    journal = re.findall(r"tms replay (\S+\.jsonl)", result.stdout.str())[0]
    sent = run_tms("replay", journal, "--url", tms.url, TMS_API_TOKEN=tms.token)
    assert (sent.returncode, sent.stderr) == (0, "")
    assert uploaded(tms, execution, FAILED)
    assert not os.path.exists(journal)  # noqa: PTH110


@pytest.mark.slow
def test_files_of_a_sender_that_is_killed_are_uploaded_by_the_next(
    pytester: pytest.Pytester, tms: TmsServer
) -> None:
    pytester.makepyfile(
        test_it="""
        import os, pathlib, signal, subprocess

        def senders():
            listed = subprocess.run(["pgrep", "-f", "pytest_tms.sender"], capture_output=True, text=True)
            for pid in listed.stdout.split():
                try:
                    if os.readlink(f"/proc/{pid}/cwd") == os.getcwd():
                        yield int(pid)
                except OSError:  # it has ended
                    pass

        def test_failed(tms):
            tms.attach(b"before the sender dies", name="a.log")
            assert 0

        def test_kills_the_sender(tms):
            pathlib.Path("sender runs").read_text()  # a FIFO: waits until it is written to
            found = list(senders())
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            tms.attach(b"after it died", name="b.log")
            assert found
        """
    )
    fifo = pytester.path / "sender runs"
    os.mkfifo(fifo)
    with proxy(tms.url) as between:  # which forwards no PUT: the files wait when the sender dies

        def start_sender() -> None:
            between.is_used.wait(60)
            fifo.write_text("yes")

        thread = threading.Thread(target=start_sender, daemon=True)
        thread.start()
        result = run(pytester, between.url, "tms_deadline = 5", "tms_upload = all")
        thread.join(60)
    result.assert_outcomes(passed=1, failed=1)
    execution = execution_of(result.stdout.str())
    journal = re.findall(r"tms replay (\S+\.jsonl)", result.stdout.str())[0]
    sent = run_tms("replay", journal, "--url", tms.url, TMS_API_TOKEN=tms.token)
    assert (sent.returncode, sent.stderr) == (0, "")
    assert uploaded(tms, execution, b"before the sender dies")
    assert uploaded(tms, execution, b"after it died")
