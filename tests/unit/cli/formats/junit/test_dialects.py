"""JUnit XML: the results of each writer's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_tms import wire
from tests.helpers.junit_dialects import DIALECTS
from tests.helpers.report_files import read


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialect_gives_its_tests_and_their_outcomes(tmp_path: Path, dialect: str) -> None:
    content, expected = DIALECTS[dialect]
    results, report = read(tmp_path, content)
    assert [(each.node_id, each.status, each.outcome) for each in results] == expected
    assert (report.problems, report.status) == ([], None)


def test_surefire_reruns_are_attempts_with_their_stack_traces(tmp_path: Path) -> None:
    content = """<testsuite name="com.acme.CartTest" tests="2" errors="0" failures="1" flakes="1">
    <testcase name="flaky" classname="com.acme.CartTest" time="0.5">
      <flakyFailure message="boom" type="org.opentest4j.AssertionFailedError">
        <stackTrace><![CDATA[org.opentest4j.AssertionFailedError: boom
	at com.acme.CartTest.flaky(CartTest.java:9)]]></stackTrace>
        <system-out>first try</system-out>
      </flakyFailure>
      <flakyError message="bang" type="E" time="0.25"><stackTrace>at Z</stackTrace><system-err>broken pipe</system-err></flakyError>
      <system-out>last try</system-out>
    </testcase>
    <testcase name="never" classname="com.acme.CartTest" time="0.1">
      <rerunFailure message="a" type="E"><stackTrace>at A</stackTrace></rerunFailure>
      <rerunError message="b" type="E"><stackTrace>at B</stackTrace></rerunError>
    </testcase></testsuite>"""
    (flaky, never), report = read(tmp_path, content)
    assert report.problems == []
    assert (flaky.status, flaky.retries, flaky.error, flaky.longrepr) == ("passed", 2, None, None)
    assert flaky.attempts == [
        wire.Attempt(
            outcome="failed",
            error="org.opentest4j.AssertionFailedError: boom",
            longrepr="org.opentest4j.AssertionFailedError: boom\n\tat com.acme.CartTest.flaky(CartTest.java:9)",
        ),
        wire.Attempt(outcome="error", duration=250, error="bang", longrepr="at Z"),
        wire.Attempt(outcome="passed"),
    ]
    assert (flaky.stdout, flaky.stderr) == ("first try\n\nlast try", "broken pipe")
    assert (never.status, never.outcome, never.retries, never.error) == ("failed", "error", 1, "b")
    assert [each.longrepr for each in never.attempts or ()] == ["at A", "at B"]
    assert never.longrepr == "at B"
