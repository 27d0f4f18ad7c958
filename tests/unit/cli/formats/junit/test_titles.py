"""JUnit XML: titles and node ids."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_tms.cli.formats.node_ids import NodeIds
from tests.helpers.report_files import names, only_result, read


def test_the_suite_is_part_of_a_title_without_a_class(tmp_path: Path) -> None:
    content = """<testsuites name="all"><testsuite name="cart"><testcase name="works"/></testsuite>
    <testsuite name="pay"><testsuite name="card"><testcase name="works"/></testsuite></testsuite></testsuites>"""
    assert names(tmp_path, content) == ["cart::works", "pay::card::works"]


@pytest.mark.parametrize(
    ("classname", "name", "title"),
    [
        ("User", "User can log in", "User::User can log in"),
        ("User", "Username is short", "User::Username is short"),
        ("User", "User", "User"),
        ("User", "User.can_log_in", "User.can_log_in"),
        ("User", "User::can log in", "User::can log in"),
        ("User", "User › can log in", "User › can log in"),
        ("User", "User > can log in", "User > can log in"),
        ("a.User", "can log in", "a.User::can log in"),
        ("", "", "(a test without a name)"),
        (" ", " padded ", "padded"),
    ],
)
def test_a_class_is_left_out_only_before_a_separator(
    tmp_path: Path, classname: str, name: str, title: str
) -> None:
    content = f'<testsuite><testcase classname="{classname}" name="{name}"/></testsuite>'
    assert only_result(tmp_path, content).title == title


@pytest.mark.parametrize("file", ["/", ".", "..", "", "a/", ".hidden", "a.b/c", "C:\\tests\\a.py", "//"])
def test_any_file_name_is_taken(tmp_path: Path, file: str) -> None:
    result = only_result(tmp_path, f'<testsuite><testcase file="{file}" classname="K" name="n"/></testsuite>')
    assert (result.title, result.file) == ("K::n", file or None)


def test_equal_tests_of_two_suites_are_told_apart_by_the_suite(tmp_path: Path) -> None:
    suite = '<testsuite name="{}"><testcase classname="K" name="a"/><testcase classname="K" name="b"/></testsuite>'
    content = f"<testsuites>{suite.format('one')}{suite.format('two')}{suite.format('two')}</testsuites>"
    assert names(tmp_path, content) == [
        "K::a",
        "K::b",
        "two::K::a",
        "two::K::b",
        "two::K::a #2",
        "two::K::b #2",
    ]


def test_truly_equal_tests_are_numbered(tmp_path: Path) -> None:
    cases = '<testcase name="same"/>' * 20_000
    results, _ = read(tmp_path, f"<testsuite>{cases}</testsuite>")
    assert [results[0].node_id, results[1].node_id, results[-1].node_id] == [
        "same",
        "same #2",
        "same #20000",
    ]
    assert len({each.node_id for each in results}) == 20_000


def test_the_work_for_equal_tests_grows_as_their_number_does() -> None:
    def lines(tests: int) -> int:
        count = 0

        def trace(*_: object) -> Any:
            nonlocal count
            count += 1
            return trace

        node_ids = NodeIds()
        before = sys.gettrace()
        sys.settrace(trace)
        for _ in range(tests):
            node_ids.take(["same"], "suite")
        sys.settrace(before)
        return count

    assert 0 < lines(2000) < 2.5 * lines(1000)


def test_a_number_that_is_a_test_s_own_name_is_passed_over(tmp_path: Path) -> None:
    content = '<testsuite><testcase name="a #2"/><testcase name="a"/><testcase name="a"/></testsuite>'
    assert names(tmp_path, content) == ["a #2", "a", "a #3"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('<testcase name="a"><failure/></testcase>', [("a", "failed")]),
        (
            '<testsuite><testcase name="outer"><testcase name="inner"><failure/></testcase></testcase></testsuite>',
            [("outer::inner", "failed"), ("outer", "passed")],
        ),
        (
            '<testsuite><testcase name="o"><testsuite name="s"><testcase classname="K" name="i"/></testsuite></testcase></testsuite>',
            [("K::o::i", "passed"), ("o", "passed")],
        ),
        ("<testsuites><wrapper><testcase name='a'/></wrapper></testsuites>", [("a", "passed")]),
    ],
)
def test_a_testcase_is_read_wherever_it_is(
    tmp_path: Path, content: str, expected: list[tuple[str, str]]
) -> None:
    results, report = read(tmp_path, content)
    assert [(each.title, each.status) for each in results] == expected
    assert report.problems == []
