"""Allure results: fields, retries, fixtures, and damaged and hostile files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.cli.formats import Report
from pytest_tms.cli.formats.inputs import read_reports
from pytest_tms.cli.formats.node_ids import NodeIds
from tests.helpers.report_files import only_result

FULL: dict[str, Any] = {
    "uuid": "u1",
    "historyId": "h1",
    "testCaseId": "c1",
    "fullName": "tests.test_cart.TestCart#test_pays",
    "name": "test_pays[EUR]",
    "status": "broken",
    "statusDetails": {"message": "KeyError: 'x'", "trace": "Traceback\nKeyError: 'x'", "flaky": True},
    "stage": "finished",
    "start": 1767225603500,
    "stop": 1767225603750,
    "description": "Pays the cart",
    "labels": [
        {"name": "tag", "value": "smoke"},
        {"name": "parentSuite", "value": "tests"},
        {"name": "suite", "value": "test_cart"},
        {"name": "subSuite", "value": "TestCart"},
        {"name": "owner", "value": "ann"},
        {"name": "thread", "value": "1-MainThread"},
        {"name": "severity", "value": "critical"},
        {"name": "story", "value": "pay"},
        {"name": "story", "value": "refund"},
    ],
    "links": [{"type": "issue", "name": "SHOP-1", "url": "https://example.com/SHOP-1"}],
    "parameters": [
        {"name": "currency", "value": "'EUR'"},
        {"name": "seed", "value": "7", "excluded": True},
        {"name": "password", "value": "x", "mode": "masked"},
        {"name": "internal", "value": "y", "mode": "hidden"},
    ],
    "steps": [
        {
            "name": "open",
            "status": "passed",
            "start": 1767225603500,
            "stop": 1767225603600,
            "steps": [
                {
                    "name": "click",
                    "status": "failed",
                    "statusDetails": {"message": "no button"},
                    "attachments": [{"name": "shot", "source": "s-attachment.png", "type": "image/png"}],
                }
            ],
        }
    ],
    "attachments": [{"name": "log", "source": "l-attachment.txt", "type": "text/plain"}],
}


def folder(tmp_path: Path, *results: dict[str, Any], containers: tuple[dict[str, Any], ...] = ()) -> Path:
    place = tmp_path / "allure-results"
    place.mkdir(exist_ok=True)
    for kind, documents in (("result", results), ("container", containers)):
        for number, document in enumerate(documents):
            (place / f"{number}-{kind}.json").write_text(json.dumps(document))
    return place


def read(*paths: Path) -> tuple[list[wire.TestResult], list[Report]]:
    results: list[wire.TestResult] = []
    reports = []
    for _, report in read_reports(paths, NodeIds()):
        results += report
        reports.append(report)
    return results, reports


def test_every_field_is_kept(tmp_path: Path) -> None:
    place = folder(tmp_path, FULL)
    (place / "s-attachment.png").touch()
    (result,), (report,) = read(place)
    assert report.problems == []
    assert msgspec.to_builtins(result) == {
        "title": "tests::test_cart::TestCart::test_pays[EUR]",
        "status": "failed",
        "outcome": "error",
        "duration": 250,
        "error": "KeyError: 'x'",
        "longrepr": "Traceback\nKeyError: 'x'",
        "tags": ["@smoke"],
        "owner": "ann",
        "worker": "1-MainThread",
        "nodeId": "tests.test_cart.TestCart#test_pays[currency='EUR']",
        "startedAt": "2026-01-01T00:00:03.500Z",
        "parameters": {"currency": "'EUR'", "seed": "7", "password": "********"},
        "properties": {
            "historyId": "h1",
            "testCaseId": "c1",
            "fullName": "tests.test_cart.TestCart#test_pays",
            "description": "Pays the cart",
            "links": [{"type": "issue", "name": "SHOP-1", "url": "https://example.com/SHOP-1"}],
            "flaky": True,
            "parentSuite": "tests",
            "suite": "test_cart",
            "subSuite": "TestCart",
            "severity": "critical",
            "story": ["pay", "refund"],
        },
        "artifacts": [
            {"name": "log", "kind": "log", "path": "l-attachment.txt"},
            {"name": "shot", "kind": "screenshot", "path": str((place / "s-attachment.png").resolve())},
        ],
        "subtests": [
            {"title": "open", "status": "passed", "duration": 100},
            {"title": "open / click", "status": "failed", "error": "no button"},
        ],
    }


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("passed", None, ("passed", "passed", None)),
        ("failed", "no", ("failed", "failed", "no")),
        ("broken", "no", ("failed", "error", "no")),
        ("skipped", "later", ("skipped", "skipped", "later")),
        ("skipped", "XFAIL known", ("skipped", "xfailed", "XFAIL known")),
        ("unknown", None, ("failed", "unknown", "the status of the result is unknown: the test may not have ended")),
        (None, None, ("failed", "unknown", "the status of the result is unknown: the test may not have ended")),
        ("odd", "why", ("failed", "odd", "why")),
    ],
)  # fmt: skip
def test_only_passed_is_passed(tmp_path: Path, status: Any, message: Any, expected: Any) -> None:
    document = {"uuid": "u", "name": "t", "status": status, "statusDetails": {"message": message}}
    result = only_result(tmp_path, json.dumps(document))
    assert (result.status, result.outcome, result.error) == expected


def test_results_of_one_history_id_are_attempts_of_one_test(tmp_path: Path) -> None:
    def attempt(number: int, status: str, start: int) -> dict[str, Any]:
        details = {"message": f"no {number}"} if status == "failed" else {}
        return {
            "uuid": f"u{number}",
            "historyId": "h",
            "name": "t",
            "fullName": "m#t",
            "status": status,
            "start": start,
            "stop": start + 5,
            "statusDetails": details,
        }

    start = 1767225600000
    place = folder(
        tmp_path,
        attempt(0, "passed", start + 2000),
        attempt(1, "failed", start),
        attempt(2, "failed", start + 1000),
    )
    (result,), _ = read(place)
    assert (result.status, result.retries, result.node_id) == ("passed", 2, "m#t")
    assert [(each.outcome, each.error) for each in result.attempts or ()] == [
        ("failed", "no 1"),
        ("failed", "no 2"),
        ("passed", None),
    ]


def test_fixtures_of_containers_belong_to_their_tests(tmp_path: Path) -> None:
    place = folder(
        tmp_path,
        {"uuid": "a", "name": "a", "status": "broken"},
        {"uuid": "b", "name": "b", "status": "passed"},
        containers=(
            {
                "uuid": "c",
                "children": ["a", "b"],
                "befores": [
                    {
                        "name": "db",
                        "status": "broken",
                        "statusDetails": {"message": "db is down", "trace": "trace of db"},
                        "attachments": [{"source": "db.log"}],
                    }
                ],
                "afters": [{"name": "close", "status": "passed"}],
            },
        ),
    )
    (first, second), (report,) = read(place)
    assert report.problems == []
    assert (first.error, first.longrepr) == ("db is down", "trace of db")
    assert (second.status, second.error) == ("passed", None)
    assert [each.path for each in second.artifacts or ()] == ["db.log"]


def test_a_test_that_only_a_container_names_breaks_the_shard(tmp_path: Path) -> None:
    place = folder(
        tmp_path,
        {"uuid": "a", "name": "a", "status": "passed"},
        containers=(
            {"uuid": "outer", "children": ["inner"]},
            {"uuid": "inner", "children": ["a", "gone"]},
        ),
    )
    results, (report,) = read(place)
    assert (len(results), report.status) == (1, "error")
    assert report.problems[0].startswith(f"{place}: its containers name 1 tests without a result file")


def test_equal_names_are_distinguished(tmp_path: Path) -> None:
    results, _ = read(
        folder(
            tmp_path,
            {"uuid": "a", "fullName": "m#t", "name": "t", "status": "passed"},
            {"uuid": "b", "fullName": "m#t", "name": "t", "status": "failed"},
        )
    )
    assert [(each.node_id, each.status) for each in results] == [("m#t", "passed"), ("m#t #2", "failed")]


def test_a_bad_file_never_costs_the_others(tmp_path: Path) -> None:
    place = folder(tmp_path, {"uuid": "a", "name": "a", "status": "passed"})
    (place / "bad-result.json").write_text('{"uuid": "x", ')
    (place / "list-result.json").write_text("[]")
    results, (report,) = read(place)
    assert [each.title for each in results] == ["a"]
    assert report.status == "error"
    assert report.problems == [
        f"{place}/bad-result.json: line 1: the file is truncated: write the results again",
        f"{place}/list-result.json: line 1: expected an object: write the results again",
    ]


def test_the_files_of_a_folder_that_are_named_one_by_one_are_one_report(tmp_path: Path) -> None:
    place = folder(
        tmp_path,
        {"uuid": "a", "historyId": "h", "name": "t", "status": "failed", "start": 1767225600000},
        {"uuid": "b", "historyId": "h", "name": "t", "status": "passed", "start": 1767225601000},
    )
    (place / "categories.json").write_text("[]")
    (place / "x-attachment.xml").write_text("<testsuite><testcase name='no'/></testsuite>")
    for paths in ([place], sorted(place.iterdir())):
        (result,), reports = read(*paths)
        assert (result.status, result.retries, len(reports)) == ("passed", 1, 1)


def test_allure_results_below_a_folder_are_read_beside_other_reports(tmp_path: Path) -> None:
    folder(tmp_path, {"uuid": "a", "name": "allure", "status": "passed"})
    (tmp_path / "a.xml").write_text("<testsuite><testcase name='junit'/></testsuite>")
    (tmp_path / "b.json").write_text('{"results": {"tests": [{"name": "ctrf", "status": "passed"}]}}')
    (tmp_path / "notes.txt").write_text("no report")
    results, reports = read(tmp_path)
    assert sorted(each.title for each in results) == ["allure", "ctrf", "junit"]
    assert [report.problems for report in reports] == [[], [], []]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["passed", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(FULL)), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(list(FULL)), VALUES),
    container=st.dictionaries(st.sampled_from(["uuid", "children", "befores", "afters", "name"]), VALUES),
)
def test_whatever_the_files_hold_is_results_and_problems(
    tmp_path: Path, changes: dict[str, Any], container: dict[str, Any]
) -> None:
    results, _ = read(folder(tmp_path, {**FULL, **changes}, containers=(container,)))
    (result,) = results
    decoded = msgspec.json.decode(msgspec.json.encode(result), type=wire.TestResult)
    assert decoded.node_id
