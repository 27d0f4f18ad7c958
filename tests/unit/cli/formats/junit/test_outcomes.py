"""JUnit XML: outcomes, and totals that exceed the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.report_files import only_result, read, result_of_case


@pytest.mark.parametrize(
    ("attributes", "inside", "status", "outcome"),
    [
        ('status="failed"', "", "failed", "failed"),
        ('status="FAIL"', "", "failed", "failed"),
        ('result="Failure"', "", "failed", "failed"),
        ('result="error"', "", "failed", "error"),
        ('outcome="Timed_Out"', "", "failed", "timedout"),
        ('status="blocked"', "", "failed", "blocked"),
        ('status="run" result="failed"', "", "failed", "failed"),
        ('executed="True" success="False"', "", "failed", "failed"),
        ('executed="False" success="False"', "", "skipped", "skipped"),
        ('status="ignored"', "", "skipped", "skipped"),
        ('status="Not-Run"', "", "skipped", "skipped"),
        ('result="suppressed"', "", "skipped", "skipped"),
        ('status="pending"', "", "skipped", "skipped"),
        ('status="passed"', "<failure/>", "failed", "failed"),
        ('status="run"', "", "passed", "passed"),
        ('status="0"', "", "passed", "passed"),
        ("", "<ignored/>", "skipped", "skipped"),
        ("", "<disabled/>", "skipped", "skipped"),
        ("", "<error/>", "failed", "error"),
        ("", '<rerunFailure message="x"/>', "failed", "failed"),
        ("", "<rerunError/>", "failed", "error"),
        ("", "<flakyError/>", "passed", "passed"),
        ('status="failed"', "<flakyError/>", "failed", "failed"),
        ("", '<skipped type="pytest.xfail"/>', "skipped", "xfailed"),
        ("", "<ns:failure xmlns:ns='urn:x'/>", "failed", "failed"),
    ],
)
def test_no_failure_is_taken_for_a_pass(
    tmp_path: Path, attributes: str, inside: str, status: str, outcome: str
) -> None:
    result = result_of_case(tmp_path, inside, attributes)
    assert (result.status, result.outcome) == (status, outcome)


def test_a_word_in_an_attribute_is_kept_as_the_error(tmp_path: Path) -> None:
    assert result_of_case(tmp_path, "", 'status="blocked"').error == "status='blocked'"


@pytest.mark.parametrize("tag", ["failure", "error"])
def test_a_suite_that_failed_is_a_failed_test_of_its_name(tmp_path: Path, tag: str) -> None:
    content = f"""<testsuites><testsuite name="outer"><testsuite name="db" file="t.py" tests="0" errors="1">
    <{tag} message="no database&#10;at all" type="x.SetupError">at A</{tag}></testsuite></testsuite></testsuites>"""
    result = only_result(tmp_path, content)
    assert (result.title, result.status, result.outcome, result.file) == (
        "outer::db",
        "failed",
        "error",
        "t.py",
    )
    assert (result.error, result.longrepr) == (
        "x.SetupError: no database\nat all",
        "no database\nat all\n\nat A",
    )


@pytest.mark.parametrize(
    ("suite", "what"),
    [
        ('<testsuite tests="6" failures="2"/>', "a suite without a name: its totals say that 2 failed"),
        ('<testsuite name="s" tests="6"></testsuite>', "suite 's': its totals say 6 tests, and none is in it"),
        ('<testsuite name="s" errors="1"><testcase name="a"/></testsuite>', "suite 's': its totals say that 1 failed"),
        ('<testsuite name="s" tests="3"><testcase name="a"/></testsuite>', "suite 's': its totals say 3 tests, and 1 are in it"),
        ('<testsuite name="pytest" tests="3" failures="1"><testcase name="a"/></testsuite>', "suite 'pytest': its totals say that 1"),
        ('<testsuites failures="1"><testsuite name="s"><testcase name="a"/></testsuite></testsuites>', "its totals say that 1 failed"),
    ],
)  # fmt: skip
def test_totals_that_say_more_than_the_cases_break_the_shard(tmp_path: Path, suite: str, what: str) -> None:
    _, report = read(tmp_path, f"<testsuites>\n{suite}\n</testsuites>")
    assert report.status == "error"
    (problem,) = report.problems
    assert problem.startswith(f"{tmp_path}/report, line 2, ")
    assert what in problem


@pytest.mark.parametrize(
    "content",
    [
        "<testsuites/>",
        '<testsuite tests="0"/>',
        '<testsuite tests="3" skipped="2"><testcase name="a"/></testsuite>',
        '<testsuite tests="2" failures="1"><testcase name="a"><flakyFailure/></testcase><testcase name="b"/></testsuite>',
        '<testsuite tests="many" failures="-1"><testcase name="a"/></testsuite>',
        '<testsuite tests="1"><testcase name="a"/><testcase name="b"/></testsuite>',
    ],
)
def test_totals_that_the_cases_explain_are_no_problem(tmp_path: Path, content: str) -> None:
    _, report = read(tmp_path, content)
    assert (report.problems, report.status) == ([], None)
