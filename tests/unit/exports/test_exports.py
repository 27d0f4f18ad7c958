"""Exports: what each format holds, that no value breaks one, and that memory is bounded."""

from __future__ import annotations

import csv
import io
import json
import re
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.exports.csv import write_csv
from pytest_tms.exports.ctrf import write_ctrf
from pytest_tms.exports.html import write_html
from pytest_tms.exports.json import write_json
from pytest_tms.exports.junit import write_junit_xml
from pytest_tms.exports.markdown import marker, write_markdown
from tests.helpers.report_files import read

Writer = Callable[[wire.ExecutionStatus, Iterable[Mapping[str, Any]]], Iterator[bytes]]

WRITERS: dict[str, Writer] = {
    "junit": write_junit_xml,
    "json": write_json,
    "csv": write_csv,
    "ctrf": write_ctrf,
    "markdown": write_markdown,
    "html": write_html,
}
EXECUTION = wire.ExecutionStatus(
    execution_id="exec_1",
    status="completed",
    test_suite="smoke",
    environment="dev",
    provider="pytest",
    created_at="2026-01-01T00:00:00.000Z",
    progress=wire.Progress(
        started_at="2026-01-01T00:00:01.000Z",
        completed_at="2026-01-01T00:00:03.000Z",
        duration=2000,
        tests_expected=10,
        tests_not_run=5,
    ),
    results=wire.Counts(total=5, passed=3, failed=1, skipped=1, flaky=1),
    shard_results=[
        wire.ShardResult(shard_id="1", not_run=5, not_run_tests=["t::x"], not_run_reason="stopping")
    ],
    artifacts=wire.Links(report_url="https://tms.example/executions/exec_1"),
    metadata={"branch": "main"},
)
TESTS: list[dict[str, Any]] = [
    {
        "title": "TestCart::test_pays[EUR]",
        "nodeId": "tests/test_cart.py::TestCart::test_pays[EUR]",
        "file": "tests/test_cart.py",
        "status": "failed",
        "outcome": "error",
        "duration": 1234,
        "error": "KeyError: '<x>'",
        "longrepr": "def test_pays():\nE   KeyError: '<x>'\x1b[0m",
        "stdout": "out ]]> & more",
        "stderr": "err",
        "tags": ["@smoke", "@slow"],
        "owner": "ann",
        "worker": "gw0",
        "startedAt": "2026-01-01T00:00:01.000Z",
        "parameters": {"currency": "EUR"},
        "properties": {"ticket": ["A-1", "A-2"], "note": "a\nb"},
        "artifacts": [{"name": "shot.png", "kind": "screenshot", "path": "/a/shot.png"}],
    },
    {
        "title": "flaky",
        "nodeId": "other-id",
        "status": "passed",
        "outcome": "passed",
        "duration": 5,
        "retries": 1,
        "attempts": [
            {"outcome": "failed", "error": "no", "longrepr": "trace\nno", "duration": 3},
            {"outcome": "passed"},
        ],
    },
    {"title": "skips", "nodeId": "skips", "status": "skipped", "outcome": "xfailed", "error": "known"},
    {"title": "passes", "nodeId": "f.py::passes", "file": "f.py", "status": "passed", "outcome": "xpassed"},
    {"title": "=1+1", "nodeId": "=cmd|' /C calc'!A0", "status": "passed", "outcome": "passed"},
]


def written(name: str, tests: Iterable[Mapping[str, Any]] = TESTS, **options: Any) -> str:
    return b"".join(WRITERS[name](EXECUTION, tests, **options)).decode()


def test_junit_xml_is_read_back_as_the_same_tests(tmp_path: Path) -> None:
    results, report = read(tmp_path, written("junit"))
    assert (report.problems, report.status) == ([], None)
    expected = [dict(test) for test in TESTS]
    expected[0]["longrepr"] = expected[0]["longrepr"].replace("\x1b", "\ufffd")
    read_back = msgspec.to_builtins(results)
    for test, result in zip(expected, read_back, strict=True):
        assert {name: result.get(name) for name in test if name != "attempts"} == {
            name: value for name, value in test.items() if name != "attempts"
        }
    assert read_back[1]["attempts"] == expected[1]["attempts"]


TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1).map(
    lambda text: " ".join(text.split())
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    tests=st.lists(
        st.fixed_dictionaries(
            {
                "title": TEXT.filter(bool),
                "nodeId": TEXT.filter(bool),
                "status": st.sampled_from(["passed", "failed", "skipped"]),
            },
            optional={
                "file": TEXT.filter(bool),
                "duration": st.integers(0, 10**8),
                "owner": TEXT.filter(bool),
            },
        ),
        unique_by=lambda test: test["nodeId"],
    )
)
def test_any_names_survive_junit_xml(tmp_path: Path, tests: list[dict[str, Any]]) -> None:
    execution = msgspec.structs.replace(EXECUTION, results=wire.Counts())
    content = b"".join(write_junit_xml(execution, tests))
    results, report = read(tmp_path, content)
    assert report.problems == []
    read_back = msgspec.to_builtins(results)
    assert [
        {name: result.get(name) for name in test} for test, result in zip(tests, read_back, strict=True)
    ] == tests


def test_junit_xml_has_the_attributes_and_the_order_that_readers_need() -> None:
    root = ElementTree.fromstring(written("junit"))  # of our own
    assert [element.tag for element in root] == ["testsuite"]
    suite = root[0]
    assert {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"} <= set(suite.attrib)
    assert [element.tag for element in suite] == ["properties", *["testcase"] * len(TESTS)]
    for case in suite.findall("testcase"):
        assert {"name", "classname", "time"} <= set(case.attrib)
        order = ["properties", "failure", "error", "skipped", "flakyFailure", "system-out", "system-err"]
        tags = [element.tag for element in case]
        assert tags == sorted(tags, key=order.index)


def test_json_has_the_execution_and_the_tests() -> None:
    document = json.loads(written("json"))
    assert document["tests"] == TESTS
    assert document["execution"] == msgspec.to_builtins(EXECUTION)


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_failure_in_quarantine_is_named(name: str) -> None:
    tests = [{"title": "t", "status": "failed", "nodeId": "a.py::t"}]
    plain, marked = written(name, tests), written(name, [{**tests[0], "quarantined": True}])
    if name == "csv":
        assert (plain.endswith(",\r\n"), marked.endswith(",true\r\n")) == (True, True)
    else:
        assert ("quarantine" in plain, "quarantine" in marked) == (False, True)


def test_csv_has_a_row_for_each_test_and_no_formula() -> None:
    content = written("csv")
    assert content.startswith("\ufeffexecutionId,")
    rows = list(csv.DictReader(io.StringIO(content.removeprefix("\ufeff"), newline="")))
    assert [row["status"] for row in rows] == ["failed", "passed", "skipped", "passed", "passed"]
    assert rows[0]["durationMs"] == "1234"
    assert rows[0]["tags"] == "'@smoke @slow"
    assert (rows[4]["title"], rows[4]["nodeId"]) == ("'=1+1", "'=cmd|' /C calc'!A0")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "＝"])
def test_no_cell_begins_as_a_formula(start: str) -> None:
    content = written("csv", [{"title": "t", "status": "failed", "error": f"{start}1"}])
    row = next(csv.DictReader(io.StringIO(content.removeprefix("\ufeff"), newline="")))
    assert row["error"] == f"'{start}1"


def test_ctrf_is_read_back_as_the_same_tests(tmp_path: Path) -> None:
    document = json.loads(written("ctrf"))
    assert (document["reportFormat"], document["specVersion"]) == ("CTRF", "1.0.0")
    assert document["results"]["summary"] == {
        "tests": 5,
        "passed": 3,
        "failed": 1,
        "skipped": 1,
        "pending": 0,
        "other": 0,
        "flaky": 1,
        "start": 1767225601000,
        "stop": 1767225603000,
    }
    for test in document["results"]["tests"]:
        assert {"name", "status", "duration"} <= set(test)
    results, report = read(tmp_path, written("ctrf"))
    assert report.problems == []
    assert [(each.title, each.status, each.retries) for each in results] == [
        (test["title"], test["status"], test.get("retries")) for test in TESTS
    ]
    assert results[0].error == TESTS[0]["error"]
    assert results[0].artifacts == [wire.Artifact(name="shot.png", kind="screenshot", path="/a/shot.png")]


def test_markdown_lists_failures_first() -> None:
    content = written("markdown")
    assert content.startswith(
        "<!-- pytest-tms: smoke dev -->\n## smoke on dev: 1 failed\n\n5 tests: 1 failed, 3 passed, 1 skipped, 1 flaky\n"
    )
    headings = re.findall(r"(?m)^### (.+)$", content)
    assert headings == ["1 failed", "Did not run", "Flaky", "Skipped", "Slowest"]
    assert "KeyError: '&lt;x&gt;'</summary>" in content
    assert "stopped early: 5 of 10 did not run" in content


CHANGES = wire.RunChanges(
    execution_id="exec_1",
    compared_with="exec_0",
    new_failures=wire.ChangedTests(count=1, tests=[wire.ComparedTest(key="1", node_id="t.py::new")]),
    known_failures=wire.ChangedTests(
        count=2,
        tests=[
            wire.ComparedTest(
                key=str(number),
                title=f"known {number}",
                since=wire.FailingSince(
                    execution_id="exec_0", created_at="2026-01-02T03:04:05.000Z", commit="4f2a9c1", runs=3
                ),
            )
            for number in range(2)
        ],
    ),
    fixed=wire.ChangedTests(count=1, tests=[wire.ComparedTest(key="9", title="a_b")]),
)


def test_markdown_lists_new_failures_before_known_ones() -> None:
    tests: list[dict[str, Any]] = [
        {"title": "known 0", "status": "failed", "error": "old"},
        {"title": "unknown", "status": "failed"},
        {"title": "new", "nodeId": "t.py::new", "status": "failed", "longrepr": "E   1 == 2", "error": "no"},
        {"title": "known 1", "status": "failed"},
    ]
    content = "".join(each.decode() for each in write_markdown(EXECUTION, tests, changes=CHANGES))
    assert "Since the previous run: 1 new, 2 known since 4f2a9c1 (2026-01-02); 1 fixed\n" in content
    headings = re.findall(r"(?m)^### (.+)$", content)
    assert headings[:3] == ["1 new failure", "2 known failures", "1 other failure"]
    assert headings[-1] == "Fixed"
    new, old = content.index("<summary>t.py::new: no</summary>"), content.index("- known 0 (since 4f2a9c1 ")
    assert new < old < content.index("- unknown\n") < content.index("- a\\_b\n")


def test_markdown_lists_failures_in_quarantine_apart() -> None:
    tests: list[dict[str, Any]] = [
        {"title": "flaky", "status": "failed", "quarantined": True},
        {"title": "broken", "status": "failed"},
    ]
    changes = wire.RunChanges(
        execution_id="exec_1",
        compared_with="exec_0",
        quarantined=wire.ChangedTests(count=1, tests=[wire.ComparedTest(key="1", title="flaky")]),
    )
    execution = msgspec.structs.replace(EXECUTION, results=wire.Counts(total=2, failed=2))
    content = "".join(each.decode() for each in write_markdown(execution, tests, changes=changes))
    assert "## smoke on dev: 1 failed, 1 in quarantine\n" in content
    headings = re.findall(r"(?m)^### (.+)$", content)
    assert headings[:2] == ["1 failed", "1 failure in quarantine"]


def test_markdown_mentions_nobody() -> None:
    hostile = "@everyone #12 org/repo#3 a@b.c"
    tests = [
        {"title": hostile, "status": "failed", "error": hostile},
        {"title": hostile, "status": "failed", "error": hostile, "longrepr": "x"},
    ]
    content = "".join(each.decode() for each in write_markdown(EXECUTION, tests))
    assert not re.search(r"[@#][A-Za-z0-9]", content.replace("&#8203;", "·"))
    assert "<summary>@&#8203;everyone #&#8203;12 " in content


def test_the_marker_of_a_summary_ends_where_it_should() -> None:
    hostile = msgspec.structs.replace(EXECUTION, test_suite="a --> b\n<script>", environment="x--y")
    assert marker(hostile) == "<!-- pytest-tms: a __ b script x__y -->"


def test_a_failure_that_does_not_fit_is_named() -> None:
    tests = [
        {"title": f"t{number}", "status": "failed", "error": "no", "longrepr": "é" * 2000}
        for number in range(99)
    ]
    content = "".join(each.decode() for each in write_markdown(EXECUTION, tests))
    assert len(content.encode()) <= 65_536
    assert 5 < content.count("<details>") < 30
    assert all(f"t{number}: no" in content for number in range(99))


@pytest.mark.parametrize("limit", [0, 100, 300, 5000, 100_000])
def test_markdown_keeps_its_limit_of_bytes(limit: int) -> None:
    tests = [
        {"title": f"ü{number}", "status": "failed", "error": "é" * 50, "longrepr": "é" * 500}
        for number in range(500)
    ]
    content = written("markdown", tests, limit=limit)
    assert len(content.encode()) <= limit
    if limit >= 300:
        assert "do not fit here" in content


def test_markdown_of_a_traceback_stays_in_its_block() -> None:
    content = written(
        "markdown", [{"title": "t", "status": "failed", "longrepr": "````\n</details><script>"}]
    )
    assert "`````text\n````\n</details><script>\n`````" in content


class Page(HTMLParser):
    """Collects the tags and attributes of a page, and the text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_self_contained() -> None:
    content = written("html")
    page = Page(content)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "form"}
    attributes = {name for _, found in page.tags for name in found}
    assert attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "open"}
    (policy,) = [found["content"] for tag, found in page.tags if "http-equiv" in found]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "prefers-color-scheme: dark" in content
    assert "KeyError: '<x>'" in page.text
    assert content.count("<details open>") == 1


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text()
    | st.sampled_from(["<script>alert(1)</script>", "]]>", '"><img src=x>', "\x00\x1b[0m", "passed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
FIELDS = [*wire.TestResult.__struct_encode_fields__]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(tests=st.lists(st.dictionaries(st.sampled_from(FIELDS), HOSTILE), max_size=3))
def test_no_value_breaks_an_export(tmp_path: Path, tests: list[dict[str, Any]]) -> None:
    for name, writer in WRITERS.items():
        content = b"".join(writer(EXECUTION, tests)).decode()
        if name in ("json", "ctrf"):
            json.loads(content)
        elif name == "junit":
            assert len(ElementTree.fromstring(content).findall(".//testcase")) == len(tests)
        elif name == "html":
            page = Page(content)
            assert not {tag for tag, _ in page.tags} & {"script", "img"}
            assert {key for _, found in page.tags for key in found} <= {
                *("lang", "charset", "http-equiv", "content", "name", "class", "open")
            }


@pytest.mark.parametrize("name", WRITERS)
def test_memory_does_not_grow_with_the_tests(name: str) -> None:
    tests = ({"title": f"t{number}", "status": "failed", "longrepr": "x" * 10_000} for number in range(3000))
    tracemalloc.start()
    try:
        size = sum(len(chunk) for chunk in WRITERS[name](EXECUTION, tests))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 45_000
    assert peak < 12_000_000
