"""CTRF: fields, outcomes, totals, and damaged, hostile and large files."""

from __future__ import annotations

import copy
import json
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.cli.formats import read_report
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.report_file import ReportFile
from tests.helpers.report_files import only_result, read

FULL: dict[str, Any] = {
    "id": "5f1c",
    "name": "pays by card",
    "status": "passed",
    "duration": 5200,
    "start": 1767225603500,
    "stop": 1767225608700,
    "suite": ["Checkout", "Card"],
    "type": "e2e",
    "tags": ["smoke", "@slow"],
    "labels": {"priority": "P2", "owners": ["qa", "web"]},
    "filePath": "tests/checkout.test.js",
    "line": 42,
    "browser": "chromium",
    "threadId": "worker-2",
    "flaky": True,
    "retries": 1,
    "retryAttempts": [
        {
            "attempt": 1,
            "status": "failed",
            "rawStatus": "timedOut",
            "duration": 5100,
            "message": "no answer",
            "trace": "Error: no answer\n    at pay",
            "attachments": [{"name": "first", "contentType": "image/png", "path": "/a/1"}],
        },
        {"attempt": 2, "status": "passed", "duration": 5200},
    ],
    "stdout": ["one", "two"],
    "stderr": ["bad"],
    "parameters": {"currency": "EUR"},
    "steps": [{"name": "open", "status": "passed"}, {"name": "pay", "status": "failed"}],
    "attachments": [{"name": "video.webm", "contentType": "video/webm", "path": "/a/video.webm"}],
    "extra": {"team": "shop"},
}


def report(*tests: Any, **summary: Any) -> dict[str, Any]:
    return {
        "reportFormat": "CTRF",
        "specVersion": "1.0.0",
        "results": {"tool": {"name": "runner"}, "summary": summary, "tests": list(tests)},
    }


def of(tmp_path: Path, **test: Any) -> wire.TestResult:
    return only_result(tmp_path, json.dumps(report({"name": "t", "status": "passed", "duration": 1, **test})))


def test_every_field_is_kept(tmp_path: Path) -> None:
    assert msgspec.to_builtins(of(tmp_path, **FULL)) == {
        "title": "Checkout::Card::pays by card",
        "status": "passed",
        "outcome": "passed",
        "file": "tests/checkout.test.js",
        "duration": 5200,
        "retries": 1,
        "tags": ["@smoke", "@slow"],
        "nodeId": "tests/checkout.test.js::Checkout::Card::pays by card",
        "startedAt": "2026-01-01T00:00:03.500Z",
        "worker": "worker-2",
        "stdout": "one\ntwo",
        "stderr": "bad",
        "parameters": {"currency": "EUR"},
        "properties": {
            "id": "5f1c",
            "type": "e2e",
            "line": 42,
            "browser": "chromium",
            "extra": {"team": "shop"},
            "priority": "P2",
            "owners": ["qa", "web"],
        },
        "artifacts": [{"name": "video.webm", "kind": "video", "path": "/a/video.webm"}],
        "attempts": [
            {
                "outcome": "timedout",
                "duration": 5100,
                "error": "no answer",
                "longrepr": "Error: no answer\n    at pay",
                "artifacts": [{"name": "first", "kind": "screenshot", "path": "/a/1"}],
            },
            {"outcome": "passed", "duration": 5200},
        ],
        "subtests": [{"title": "open", "status": "passed"}, {"title": "pay", "status": "failed"}],
    }


@pytest.mark.parametrize(
    ("status", "raw", "expected"),
    [
        ("passed", None, ("passed", "passed")),
        ("failed", None, ("failed", "failed")),
        ("failed", "timedOut", ("failed", "timedout")),
        ("failed", "broken", ("failed", "error")),
        ("skipped", None, ("skipped", "skipped")),
        ("pending", None, ("skipped", "pending")),
        ("other", None, ("failed", "other")),
        ("other", "interrupted", ("failed", "interrupted")),
        ("other", "not run", ("skipped", "skipped")),
        ("great", None, ("failed", "great")),
        (None, None, ("failed", "unknown")),
        (7, "passed", ("failed", "passed")),
    ],
)
def test_only_passed_is_passed(tmp_path: Path, status: Any, raw: Any, expected: tuple[str, str]) -> None:
    result = of(tmp_path, status=status, rawStatus=raw)
    assert (result.status, result.outcome) == expected


@pytest.mark.parametrize(
    ("summary", "what"),
    [
        ({"tests": 2, "failed": 1}, "its summary says that 1 failed, and 0 failed tests are in it"),
        ({"tests": 2, "failed": 0}, "its summary says 2 tests, and 1 are in it"),
    ],
)
def test_totals_that_exceed_the_tests_break_the_shard(
    tmp_path: Path, summary: dict[str, int], what: str
) -> None:
    results, found = read(tmp_path, json.dumps(report({"name": "a", "status": "passed"}, **summary)))
    assert (len(results), found.status) == (1, "error")
    assert found.problems[0].startswith(f"{tmp_path}/report, {what}")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"reportFormat": "CTRF", "results": {"summary": {"tests": 0}}}, "it has no results.tests"),
        ({"reportFormat": "CTRF", "results": []}, "it has no results.tests"),
        (report({"name": "a", "status": "passed"}, 3), "1 of its tests are not objects"),
    ],
)
def test_a_report_that_does_not_hold_its_tests_is_never_green(
    tmp_path: Path, content: Any, what: str
) -> None:
    _, found = read(tmp_path, json.dumps(content))
    assert (found.status, len(found.problems)) == ("error", 1)
    assert what in found.problems[0]


def test_browsers_distinguish_equal_tests(tmp_path: Path) -> None:
    tests = [{"name": "a", "status": "passed", "browser": name} for name in ("chromium", "firefox", "webkit")]
    results, _ = read(tmp_path, json.dumps(report(*tests)))
    assert [each.node_id for each in results] == ["a", "a [firefox]", "a [webkit]"]


def test_the_environment_and_the_tool_describe_the_run(tmp_path: Path) -> None:
    content = report({"name": "a", "status": "passed"})
    content["results"]["environment"] = {"branchName": "main", "buildNumber": 7}
    _, found = read(tmp_path, json.dumps(content))
    assert found.properties == {
        "tool": {"name": "runner"},
        "environment": {"branchName": "main", "buildNumber": 7},
    }


def test_a_relative_attachment_below_the_report_becomes_absolute(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    result = of(tmp_path, attachments=[{"path": "a.png"}, {"path": "../../etc/passwd"}, {"name": "none"}])
    assert [each.path for each in result.artifacts or ()] == [
        str((tmp_path / "a.png").resolve()),
        "../../etc/passwd",
    ]


def test_a_truncated_file_keeps_its_complete_tests(tmp_path: Path) -> None:
    content = json.dumps(
        report(*[{"name": f"t{n}", "status": "passed"} for n in range(3)], tests=3), indent=1
    )
    results, found = read(tmp_path, content[: content.index("t2")])
    assert [each.title for each in results] == ["t0", "t1"]
    assert found.status == "error"
    assert found.problems == [
        f"{tmp_path}/report, line 21: the file is truncated; 2 tests before it are kept: "
        "write the report again and submit it again"
    ]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    test = json.dumps({"name": "same", "status": "passed", "trace": "x" * 10_000})
    with path.open("w") as file:
        file.write('{"reportFormat": "CTRF", "results": {"tests": [')
        file.write(",".join([test] * 5000))
        file.write("]}}")
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_report(ReportFile(path), NodeIds()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 5000
    assert path.stat().st_size > 50_000_000
    assert peak < 10_000_000


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["passed", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*FULL, "message", "trace", "rawStatus", "screenshot"])


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid report of which values are replaced, and which may be damaged."""
    test = copy.deepcopy(FULL)
    test.update(draw(st.dictionaries(NAMES, VALUES)))
    content = report(
        test, draw(VALUES), **draw(st.dictionaries(st.sampled_from(["tests", "failed"]), VALUES))
    )
    name = draw(st.sampled_from(["tool", "summary", "tests", "environment", "none"]))
    if name != "none":
        content["results"][name] = draw(VALUES)
    text = json.dumps(content)
    if draw(st.booleans()):
        start = draw(st.integers(1, len(text)))
        text = text[:start] + draw(st.text(max_size=5)) + text[start + draw(st.integers(0, 50)) :]
    return text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=mutated())
def test_whatever_a_file_holds_is_results_and_problems(tmp_path: Path, content: str) -> None:
    results, found = read(tmp_path, content.encode("utf-8", "replace"))
    for result in results:
        decoded = msgspec.json.decode(msgspec.json.encode(result), type=wire.TestResult)
        assert decoded.node_id
    assert results or found.problems or '"tests": []' in content
