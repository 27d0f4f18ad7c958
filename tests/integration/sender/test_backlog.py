"""What an earlier run left is delivered by the next, before anyone asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_tms.journal.lines import Opened, encode
from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import TmsServer, run_tms

HEALED = """
import os, time
def test_a():
    deadline = time.monotonic() + 20
    while os.path.exists(os.environ.get('UNTIL_GONE', '')) and time.monotonic() < deadline:
        time.sleep(0.02)
def test_b(): assert os.environ.get('HEALED')
"""
"""A suite of two, that goes on until the journal UNTIL_GONE is delivered."""


def left(path: Path) -> list[str]:
    return [file.name for file in path.glob(".tms/journal/*.jsonl")]


def keep_one(pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run once without a TMS, and say that it was for ``tms``; answers the journal's name."""
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makepyfile(test_it=HEALED)
    pytester.runpytest_subprocess("--tms-url", "http://127.0.0.1:1/api", "--tms-suite", "smoke")
    (name,) = left(pytester.path)
    journal = pytester.path / ".tms" / "journal" / name
    journal.write_bytes(journal.read_bytes().replace(b"http://127.0.0.1:1/api", tms.url.encode()))
    return name


@pytest.mark.slow
def test_the_next_run_delivers_what_the_one_before_kept(
    pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = keep_one(pytester, tms, monkeypatch)
    monkeypatch.setenv("UNTIL_GONE", str(pytester.path / ".tms" / "journal" / name))
    with tms.client() as client:
        result = pytester.runpytest_subprocess("--tms-url", tms.url)
        result.stdout.fnmatch_lines(["backlog: 1 earlier run delivered (2 results)"])
        result.stdout.no_fnmatch_line("*send with*")
        assert left(pytester.path) == []
        assert client.describe_service().service == "pytest-tms"
    again = run_tms("replay", str(pytester.path / ".tms"), "--url", tms.url, TMS_API_TOKEN=tms.token)
    assert again.stdout == f"there are no journals in {pytester.path / '.tms'}\n", name


@pytest.mark.slow
def test_what_was_kept_for_another_tms_stays(
    pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    pytester.makepyfile(test_it=HEALED)
    pytester.runpytest_subprocess("--tms-url", "http://127.0.0.1:1/api")
    kept = left(pytester.path)
    result = pytester.runpytest_subprocess("--tms-url", tms.url)
    result.stdout.no_fnmatch_line("earlier *")
    assert left(pytester.path) == kept != []


@pytest.mark.slow
def test_a_file_that_is_not_a_journal_is_passed_over(
    pytester: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    folder = pytester.mkdir(".tms") / "journal"
    folder.mkdir()
    (folder / "empty.jsonl").touch()
    (folder / "nonsense.jsonl").write_bytes(b"\xff\x00{]\n")
    (folder / "newer.jsonl").write_bytes(encode(Opened(version=99, run="newer", url=tms.url)))
    pytester.makepyfile("def test(): pass")
    result = pytester.runpytest_subprocess("--tms-url", tms.url)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "1 result reported: *",
            "warning: */newer.jsonl of an earlier run was not sent: *was written by a newer version: update pytest-tms",
        ]
    )
    assert sorted(left(pytester.path)) == ["empty.jsonl", "newer.jsonl", "nonsense.jsonl"]


@pytest.mark.slow
def test_a_refused_test_stays_on_disk_however_often_it_is_replayed(
    pytester: pytest.Pytester, foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile("def test(): pass")
    pytester.runpytest_subprocess("--tms-offline")
    created = {
        "executionId": "exec_1",
        "webhookUrl": f"{foreign.url}/webhooks/executions/exec_1",
        "webhookToken": "t",
    }
    for status, body in (
        (201, created),
        (200, {}),
        (200, {}),
        (422, {}),
        (200, {}),
        (200, {}),
        (200, {}),
        (200, {}),
    ):
        foreign.add_response(status, body)
    for _ in range(2):
        sent = run_tms("replay", ".tms", "--url", foreign.url, TMS_API_TOKEN="t")
        assert sent.returncode == 1
        assert "refused test (shard 1)" in sent.stderr
        assert len(list(pytester.path.glob(".tms/offline/*.jsonl"))) == 1
