"""The last lines of a session whose tests failed: which failures are new since the previous run."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable

import pytest
import requests

from tests.helpers.api import expect_success
from tests.helpers.foreign_tms import Reply, served
from tests.helpers.processes import TmsServer

FIRST = """
def test_known(): assert False
def test_fixed(): assert False
def test_passes(): pass
"""
SECOND = """
import pytest

def test_known(): assert False
def test_fixed(): pass
def test_passes(): pass

@pytest.mark.parametrize("n", range(12))
def test_new(n): assert False

@pytest.mark.parametrize("n", range(5))  # so that it is not an infrastructure failure
def test_other(n): pass
"""
DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tms: TmsServer) -> pytest.Pytester:
    """A folder of tests that report to a project of their own."""
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    monkeypatch.setenv("TMS_URL", tms.url)
    monkeypatch.setenv("TMS_PROJECT", pytester.path.name)
    return pytester


def ours(result: pytest.RunResult) -> list[str]:
    """The lines of the summary: without the link that a session shows at its start."""
    lines = [line.removeprefix("tms: ") for line in result.outlines if line.startswith("tms: ")]
    return [line for line in lines if "(suite " not in line]


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=source)
    return pytester.runpytest_subprocess("--tms-url", os.environ["TMS_URL"], *options)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_new_failures_are_counted_and_named(project: pytest.Pytester, workers: list[str]) -> None:
    (only,) = ours(run(project, FIRST, "--tms-meta", "commit=4f2a9c1", *workers))
    assert only.startswith("3 results reported: ")
    changes, *new, more, reported = ours(run(project, SECOND, *workers))
    assert re.fullmatch(rf"13 failed: 12 new, 1 known since 4f2a9c1 \({DAY}\); 1 fixed", changes)
    assert len(new) == 10
    assert all(re.fullmatch(r"new failure: test_it\.py::test_new\[\d+\]", line) for line in new)
    assert more == "… and 2 more new failures (-v lists more)"
    assert reported.startswith("20 results reported: ")
    assert not any("new failure" in line for line in ours(run(project, SECOND, "-v")))
    known = ours(run(project, SECOND))[0]
    assert re.fullmatch(rf"13 failed: 13 known, the oldest since 4f2a9c1 \({DAY}\)", known)


def test_a_passing_session_has_one_line(project: pytest.Pytester) -> None:
    run(project, FIRST)
    (only,) = ours(run(project, "def test_fixed(): pass"))
    assert only.startswith("1 result reported: ")


def test_quiet_sessions_have_no_line(project: pytest.Pytester) -> None:
    run(project, FIRST)
    assert "failed:" not in run(project, FIRST, "-qq").stdout.str().replace("test_it.py", "")


def test_a_shard_counts_its_own_tests(
    project: pytest.Pytester, tms: TmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(project, FIRST)
    headers = {"Authorization": f"Bearer {tms.token}"}
    body = {
        "testSuite": "all",
        "environment": "dev",
        "configuration": {"shards": 2},
        "metadata": {"project": project.path.name},
    }
    created = requests.post(f"{tms.url}/executions", json=body, headers=headers, timeout=20)
    monkeypatch.setenv("TMS_EXECUTION_ID", expect_success(created, 201)["executionId"])
    lines = {shard: ours(run(project, SECOND, "--tms-shard", f"{shard}/2", "-v")) for shard in (1, 2)}
    found = [re.match(r"(\d+) failed in shard (\d): (?:(\d+) new)?", lines[shard][0]) for shard in (1, 2)]
    assert all(found)
    assert [int(each[2]) for each in found if each] == [1, 2]
    assert sum(int(each[1]) for each in found if each) == 13
    assert sum(int(each[3] or 0) for each in found if each) == 12


def routes(changes: Callable[[], Reply | None], asked: list[str]) -> Callable[[str, str], Reply | None]:
    """A TMS with history that accepts everything, and gives the changes of a function."""

    def route(method: str, path: str) -> Reply | None:
        created = {"executionId": "exec_1", "reportUrl": "http://127.0.0.1/r", "capabilities": ["history"]}
        if path.endswith("/executions"):
            return 201, {"Content-Type": "application/json"}, json.dumps(created).encode()
        if "/changes" in path:
            asked.append(path)
            return changes()
        return None

    return route


@pytest.mark.parametrize("response", ["hangs", "error", "nonsense", "hostile"])
def test_without_a_response_the_summary_is_as_before(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, response: str
) -> None:
    over = threading.Event()
    hostile = {
        "executionId": "exec_1",
        "comparedWith": "exec_0",
        "newFailures": {"count": 1, "tests": [{"key": "1", "nodeId": "a\n::error::x\x1b[31m"}]},
        "knownFailures": {
            "count": 1,
            "tests": [{"key": "2", "since": {"executionId": "e", "createdAt": "x\n", "commit": "\n::x"}}],
        },
    }

    def changes() -> Reply | None:
        if response == "hangs":
            over.wait(20)
        status = 500 if response == "error" else 200
        body = json.dumps(hostile).encode() if response == "hostile" else b'{"executionId": 3}'
        return status, {"Content-Type": "application/json"}, body

    asked: list[str] = []
    with served() as foreign:
        foreign.route = routes(changes, asked)
        foreign.add_response(200, {"event": "x", "executionId": "exec_1", "submissionId": "sub_1"})
        monkeypatch.setenv("TMS_API_TOKEN", "t")
        pytester.makepyfile("def test_it(): assert False")
        result = pytester.runpytest_subprocess("--tms-url", foreign.url, "-o", "tms_deadline=2")
        over.set()
    assert len(asked) == 1
    assert result.ret == 1
    lines = [line for line in result.outlines if "tms: " in line or "::" in line[:4] or "\x1b" in line]
    last = lines[-1]
    assert last == "tms: 1 result reported: http://127.0.0.1/r", result.outlines
    if response == "hostile":
        assert "tms: 2 failed: 1 new, 1 known since an earlier run" in result.outlines
        assert "tms: new failure: a ::error::x [31m" in result.outlines
    else:
        assert not any("new" in line for line in lines)


def test_nobody_is_asked_without_the_capability_or_without_failures(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", "t")
    for capabilities, source in ([], "assert False"), (["history"], "pass"):
        asked: list[str] = []

        def route(
            method: str, path: str, known: list[str] = capabilities, asked: list[str] = asked
        ) -> Reply | None:
            asked += [path] if "/changes" in path else []
            created = json.dumps({"executionId": "exec_1", "capabilities": known}).encode()
            is_creation = path.endswith("/executions")
            return (201, {"Content-Type": "application/json"}, created) if is_creation else None

        with served() as foreign:
            foreign.route = route
            foreign.add_response(200, {"event": "x", "executionId": "exec_1", "submissionId": "sub_1"})
            pytester.makepyfile(f"def test_it(): {source}")
            pytester.runpytest_subprocess("--tms-url", foreign.url)
            assert foreign.requests
        assert asked == []
