"""pytest-reportlog's file: what each line becomes, and what damaged files do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tms import wire
from tests.helpers.report_files import read

START = {"pytest_version": "9.0.0", "$report_type": "SessionStart"}


def finish(status: object = 0) -> dict[str, Any]:
    return {"exitstatus": status, "$report_type": "SessionFinish"}


def phase(name: str, when: str, outcome: str = "passed", **more: Any) -> dict[str, Any]:
    return {
        "nodeid": f"test_a.py::{name}",
        "location": ["test_a.py", 0, name],
        "keywords": {},
        "outcome": outcome,
        "longrepr": None,
        "when": when,
        "user_properties": [],
        "sections": [],
        "duration": 0.25,
        "start": 1_700_000_000.0,
        "stop": 1_700_000_000.25,
        "$report_type": "TestReport",
        **more,
    }


def reports_of(name: str, outcome: str = "passed", **more: Any) -> list[dict[str, Any]]:
    return [phase(name, "setup"), phase(name, "call", outcome, **more), phase(name, "teardown")]


FAILED = reports_of("test_f", "failed", longrepr="AssertionError: why")


def text(*lines: dict[str, Any]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def outcomes(results: list[wire.TestResult]) -> list[tuple[str | None, str]]:
    return [(each.node_id, each.status) for each in results]


BOTH = [("test_a.py::test_p", "passed"), ("test_a.py::test_f", "failed")]
WHOLE = text(START, *reports_of("test_p"), *FAILED, finish(1))


def test_a_whole_file_gives_its_tests(tmp_path: Path) -> None:
    results, report = read(tmp_path, WHOLE)
    assert outcomes(results) == BOTH
    assert results[0].duration == 750
    assert (report.status, report.problems) == (None, [])


@pytest.mark.parametrize(
    "pack",
    [
        lambda text: gzip.compress(text.encode()),
        lambda text: text.encode("utf-16"),
        lambda text: b"\xef\xbb\xbf\n\n" + text.replace("\n", "\r\n").encode(),
        lambda text: text.rstrip("\n").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
    ids=["gzip", "PowerShell", "Windows", "no last newline", "blank lines"],
)
def test_the_form_of_a_file_does_not_matter(tmp_path: Path, pack: Any) -> None:
    results, report = read(tmp_path, pack(WHOLE))
    assert outcomes(results) == BOTH
    assert (report.status, report.problems) == (None, [])


@pytest.mark.parametrize(
    ("exit_status", "status"), [(0, None), (1, None), (2, "cancelled"), (3, "error"), (4, "error")]
)
def test_the_exit_status_ends_the_shard(tmp_path: Path, exit_status: int, status: str | None) -> None:
    assert read(tmp_path, text(START, finish(exit_status)))[1].status == status


def test_a_session_that_did_not_finish_breaks_the_shard(tmp_path: Path) -> None:
    results, report = read(tmp_path, text(START, *reports_of("test_p"), *FAILED[:2]))
    assert outcomes(results) == BOTH
    assert report.status == "error"
    assert report.problems[0].startswith(f"{tmp_path}/report, line 6: the session did not end")


def test_a_cut_last_line_costs_no_other_line(tmp_path: Path) -> None:
    whole = text(START, *reports_of("test_p"), *FAILED)
    results, report = read(tmp_path, whole + json.dumps(finish())[:20])
    assert outcomes(results) == BOTH
    assert report.status == "error"
    (problem,) = report.problems
    assert problem.startswith(f"{tmp_path}/report, line 8: this is not a line of pytest-reportlog")
    assert "(the line is truncated)" in problem


def test_a_cut_gzip_file_keeps_its_complete_lines(tmp_path: Path) -> None:
    lines = [json.dumps(each) for number in range(500) for each in reports_of(f"test_{number}")]
    results, report = read(tmp_path, gzip.compress("\n".join(lines).encode())[:-3000])
    assert 0 < len(results) < 500
    assert report.status == "error"
    assert "its compressed data ends too early" in report.problems[0]


def test_lines_that_are_no_reports_are_named_and_the_others_kept(tmp_path: Path) -> None:
    bad = ["[]", "7", '{"a": 1}', "nothing", '{"$report_type": "TestReport"}', "[" * 100_000]
    lines = [json.dumps(START), *bad, *map(json.dumps, [*reports_of("test_p"), *FAILED, finish(1)])]
    results, report = read(tmp_path, "\n".join(lines))
    assert outcomes(results) == BOTH
    assert report.status == "error"
    assert [problem.partition(", ")[2].partition(";")[0] for problem in report.problems] == [
        "line 2: this is not a line of pytest-reportlog",
        "5 more lines are not lines of pytest-reportlog",
    ]


def test_lines_of_unknown_types_are_passed_over(tmp_path: Path) -> None:
    new = {"$report_type": "CoverageReport", "percent": 97}
    warning = {"$report_type": "WarningMessage", "category": "UserWarning", "when": "runtest", "message": "x"}
    results, report = read(tmp_path, text(START, new, warning, *FAILED, new, finish(1)))
    assert outcomes(results) == BOTH[1:]
    assert (report.status, report.problems) == (None, [])


def test_collection_errors_are_failed_tests_and_break_the_shard(tmp_path: Path) -> None:
    collected: dict[str, Any] = {
        "nodeid": "test_b.py",
        "outcome": "failed",
        "longrepr": "E   ImportError: no",
        "result": None,
        "sections": [],
        "$report_type": "CollectReport",
    }
    results, report = read(tmp_path, text(START, collected, finish(1)))
    assert [(each.title, each.status, each.error) for each in results] == [
        ("test_b.py", "failed", "ImportError: no")
    ]
    assert (report.status, report.problems) == ("error", [])


@pytest.mark.parametrize("duration", [-3.5, float("nan"), float("inf"), "soon"])
def test_a_duration_that_cannot_be_costs_no_result(tmp_path: Path, duration: object) -> None:
    lines = [*reports_of("test_f", "failed", longrepr="why", duration=duration), finish(1)]
    results, _ = read(tmp_path, text(START, *lines))
    assert outcomes(results) == BOTH[1:]
    assert results[0].duration is None or results[0].duration >= 0


def test_the_same_log_twice_gives_tests_of_two_names(tmp_path: Path) -> None:
    results, _ = read(tmp_path, WHOLE.replace(text(finish(1)), "") + WHOLE)
    assert [each.node_id for each in results] == [
        *("test_a.py::test_p", "test_a.py::test_f", "test_a.py::test_p #2", "test_a.py::test_f #2")
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A log of which some values are replaced, and which may be cut."""
    lines = [START, *reports_of("test_p"), *FAILED, finish(1)]
    for _ in range(draw(st.integers(0, 5))):
        index = draw(st.integers(0, len(lines) - 1))
        key = draw(st.sampled_from(sorted(lines[index])))
        lines[index] = {**lines[index], key: draw(JSON)}
    content = text(*lines).encode()
    content = content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
    return gzip.compress(content) if draw(st.booleans()) else content


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary().map(lambda data: b"{" + data) | JSON.map(json.dumps).map(str.encode) | mutated())
def test_whatever_a_file_holds_is_results_and_problems(tmp_path: Path, content: bytes) -> None:
    results, report = read(tmp_path, content)
    assert all("\n" not in each for each in report.problems)
    for result in results:
        cleaned = msgspec.json.encode(msgspec.structs.replace(result, properties=None))
        assert msgspec.json.decode(cleaned, type=wire.TestResult).node_id == result.node_id


@pytest.mark.parametrize("cut", range(1, len(WHOLE) - 3, 97))
def test_a_file_that_is_cut_anywhere_is_never_green(tmp_path: Path, cut: int) -> None:
    assert read(tmp_path, WHOLE[:cut])[1].status == "error"
