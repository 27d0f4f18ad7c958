"""JUnit XML: what each writer's file becomes, and what damaged, hostile and huge ones do."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.cli.formats import read_report
from pytest_tms.cli.formats.durations import milliseconds
from pytest_tms.cli.formats.junit import Text
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.source import Source
from pytest_tms.text import clean
from tests.helpers.report_files import read


def one(tmp_path: Path, content: str | bytes) -> wire.TestResult:
    """The only result of a file that has no problem."""
    (result,), report = read(tmp_path, content)
    assert report.problems == []
    return result


def case(tmp_path: Path, inside: str, attributes: str = "") -> wire.TestResult:
    return one(tmp_path, f'<testsuite><testcase name="t" {attributes}>{inside}</testcase></testsuite>')


# Dialects ---------------------------------------------------------------------------------------

DIALECTS: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "gradle": (
        """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="com.acme.CartTest" tests="3" skipped="1" failures="1" errors="0" timestamp="2026-01-01T00:00:00" hostname="ci" time="0.02">
  <properties/>
  <testcase name="adds()" classname="com.acme.CartTest" time="0.01"/>
  <testcase name="drops()" classname="com.acme.CartTest" time="0.0"><skipped/></testcase>
  <testcase name="pays(int)[1]" classname="com.acme.CartTest" time="0.0">
    <failure message="org.opentest4j.AssertionFailedError: expected: &lt;1&gt; but was: &lt;2&gt;" type="org.opentest4j.AssertionFailedError">org.opentest4j.AssertionFailedError: expected: &lt;1&gt; but was: &lt;2&gt;
	at com.acme.CartTest.pays(CartTest.java:9)
</failure></testcase>
  <system-out><![CDATA[]]></system-out><system-err><![CDATA[]]></system-err>
</testsuite>""",
        [
            ("com.acme.CartTest::adds()", "passed", "passed"),
            ("com.acme.CartTest::drops()", "skipped", "skipped"),
            ("com.acme.CartTest::pays(int)[1]", "failed", "failed"),
        ],
    ),
    "mocha-junit-reporter, as Cypress runs it": (
        """<testsuites name="Mocha Tests" time="1.5" tests="2" failures="1">
  <testsuite name="Root Suite" timestamp="2026-01-01T00:00:00" tests="0" file="cypress/e2e/cart.cy.js" time="0.0000" failures="0"></testsuite>
  <testsuite name="cart" timestamp="2026-01-01T00:00:00" tests="2" time="1.5" failures="1">
    <testcase name="cart adds" time="1.4" classname="adds"></testcase>
    <testcase name="cart pays" time="0.1" classname="pays"><failure message="no button" type="CypressError"><![CDATA[CypressError: no button
    at Context.eval]]></failure></testcase>
  </testsuite>
</testsuites>""",
        [
            ("cypress/e2e/cart.cy.js::adds::cart adds", "passed", "passed"),
            ("cypress/e2e/cart.cy.js::pays::cart pays", "failed", "failed"),
        ],
    ),
    "Playwright": (
        """<testsuites id="" name="" tests="4" failures="1" skipped="1" errors="0" time="3.1">
<testsuite name="cart.spec.ts" timestamp="2026-01-01T00:00:00.000Z" hostname="chromium" tests="2" failures="0" skipped="0" time="1" errors="0">
<testcase name="cart › adds" classname="cart.spec.ts" time="0.5"/>
<testcase name="pays" classname="cart.spec.ts" time="0.5"/>
</testsuite>
<testsuite name="cart.spec.ts" timestamp="2026-01-01T00:00:00.000Z" hostname="my phone" tests="2" failures="1" skipped="1" time="2" errors="0">
<testcase name="cart › adds" classname="cart.spec.ts" time="2"><failure message="cart.spec.ts:3:1 adds" type="FAILURE"><![CDATA[  [my phone] › cart.spec.ts:3:1 › cart › adds
]]></failure></testcase>
<testcase name="pays" classname="cart.spec.ts" time="0"><skipped></skipped></testcase>
</testsuite></testsuites>""",
        [
            ("cart.spec.ts::[chromium] cart › adds", "passed", "passed"),
            ("cart.spec.ts::[chromium] pays", "passed", "passed"),
            ("cart.spec.ts::[my phone] cart › adds", "failed", "failed"),
            ("cart.spec.ts::[my phone] pays", "skipped", "skipped"),
        ],
    ),
    "Vitest, which writes the machine's name": (
        """<testsuites name="vitest tests" tests="1" failures="0" errors="0" time="0.1">
<testsuite name="src/a.test.ts" timestamp="2026-01-01T00:00:00.000Z" hostname="laptop" tests="1" failures="0" errors="0" skipped="0" time="0.1">
<testcase classname="src/a.test.ts" name="cart &gt; adds" time="0.1"></testcase></testsuite></testsuites>""",
        [("src/a.test.ts::cart > adds", "passed", "passed")],
    ),
    "go-junit-report": (
        """<testsuites tests="3" failures="1" skipped="1">
<testsuite name="example.com/shop" tests="3" failures="1" errors="0" id="0" hostname="ci" skipped="1" time="0.3" timestamp="2026-01-01T00:00:00Z">
<properties><property name="go.version" value="go1.22"></property></properties>
<testcase name="TestCart" classname="example.com/shop" time="0.1"></testcase>
<testcase name="TestCart/pays" classname="example.com/shop" time="0.1"><failure message="Failed"><![CDATA[    cart_test.go:9: no]]></failure></testcase>
<testcase name="TestOld" classname="example.com/shop" time="0.0"><skipped message="Skipped"><![CDATA[    old_test.go:3: old]]></skipped></testcase>
<system-out><![CDATA[building]]></system-out></testsuite></testsuites>""",
        [
            ("example.com/shop::TestCart", "passed", "passed"),
            ("example.com/shop::TestCart/pays", "failed", "failed"),
            ("example.com/shop::TestOld", "skipped", "skipped"),
        ],
    ),
    "pytest, whose totals count subtests": (
        """<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="mine" errors="0" failures="2" skipped="0" tests="5" time="0.1" hostname="ci">
<testcase classname="test_a" name="test_parts" time="0.01"><failure message="AssertionError: one">E one</failure><failure message="AssertionError: two">E two</failure></testcase>
<testcase classname="" name="test_bad" time="0.0"><error message="collection failure">E ImportError</error></testcase></testsuite></testsuites>""",
        [
            ("test_a::test_parts", "failed", "failed"),
            ("mine::test_bad", "failed", "error"),
        ],
    ),
    "nose": (
        """<testsuite name="nosetests" tests="3" errors="1" failures="0" skip="1"><testcase classname="tests.test_cart.TestCart" name="test_adds" time="0.001"></testcase>
<testcase classname="tests.test_cart.TestCart" name="test_old" time="0.000"><skipped type="unittest.case.SkipTest" message="old"><![CDATA[SkipTest: old]]></skipped></testcase>
<testcase classname="tests.test_cart.TestCart" name="test_pays" time="0.000"><error type="exceptions.ValueError" message="no money"><![CDATA[Traceback (most recent call last):
ValueError: no money]]></error></testcase></testsuite>""",
        [
            ("tests.test_cart.TestCart::test_adds", "passed", "passed"),
            ("tests.test_cart.TestCart::test_old", "skipped", "skipped"),
            ("tests.test_cart.TestCart::test_pays", "failed", "error"),
        ],
    ),
    "Robot Framework": (
        """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="Shop" tests="3" errors="0" failures="1" skipped="1" time="1.0" timestamp="2026-01-01T00:00:00.000000">
<testsuite name="Cart" tests="3" errors="0" failures="1" skipped="1" time="1.0" timestamp="2026-01-01T00:00:00.000000">
<testcase classname="Shop.Cart" name="Adds An Item" time="0.5"></testcase>
<testcase classname="Shop.Cart" name="Pays" time="0.5"><failure message="Button not found" type="AssertionError"/></testcase>
<testcase classname="Shop.Cart" name="Old" time="0.0"><skipped message="old"/></testcase>
<properties><property name="Owner" value="me"/></properties>
</testsuite></testsuite>""",
        [
            ("Shop.Cart::Adds An Item", "passed", "passed"),
            ("Shop.Cart::Pays", "failed", "failed"),
            ("Shop.Cart::Old", "skipped", "skipped"),
        ],
    ),
    "NUnit, converted": (
        """<testsuites tests="3" failures="1" disabled="1" time="0.1">
<testsuite tests="3" time="0.1" errors="0" failures="1" skipped="1" disabled="0" timestamp="2026" name="Acme.CartTests">
<testcase name="Adds" assertions="1" time="0.01" status="Passed" classname="Acme.CartTests"/>
<testcase name="Pays" assertions="0" time="0.01" status="Failed" classname="Acme.CartTests"><failure><message>Expected: 1
But was:  2</message><stack-trace>at Acme.CartTests.Pays()</stack-trace></failure></testcase>
<testcase name="Old" assertions="0" time="0.0" status="Skipped" classname="Acme.CartTests"/>
</testsuite></testsuites>""",
        [
            ("Acme.CartTests::Adds", "passed", "passed"),
            ("Acme.CartTests::Pays", "failed", "failed"),
            ("Acme.CartTests::Old", "skipped", "skipped"),
        ],
    ),
    "xUnit.net and MSTest, converted": (
        """<testsuites><testsuite name="Acme.dll" tests="4" failures="2" errors="0" skipped="1">
<testcase classname="Acme.CartTests" name="Acme.CartTests.Adds" time="0,01" result="Pass"/>
<testcase classname="Acme.CartTests" name="Acme.CartTests.Pays" time="0,01" result="Fail"/>
<testcase classname="Acme.CartTests" name="Sends" outcome="Timeout"/>
<testcase classname="Acme.CartTests" name="Old" outcome="NotExecuted"/></testsuite></testsuites>""",
        [
            ("Acme.CartTests.Adds", "passed", "passed"),
            ("Acme.CartTests.Pays", "failed", "failed"),
            ("Acme.CartTests::Sends", "failed", "timeout"),
            ("Acme.CartTests::Old", "skipped", "skipped"),
        ],
    ),
    "CTest": (
        """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="(empty)" tests="4" failures="1" disabled="1" skipped="1" hostname="" time="1" timestamp="2026-01-01T00:00:00">
<testcase name="cart" classname="cart" time="0.5" status="run"><properties/><system-out>ok</system-out></testcase>
<testcase name="pay" classname="pay" time="0.5" status="fail"><failure message=""/><properties/><system-out>no</system-out></testcase>
<testcase name="old" classname="old" time="0" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>
<testcase name="off" classname="off" time="0" status="disabled"><properties/><system-out>Disabled</system-out></testcase></testsuite>""",
        [
            ("cart", "passed", "passed"),
            ("pay", "failed", "failed"),
            ("old", "skipped", "skipped"),
            ("off", "skipped", "skipped"),
        ],
    ),
    "PHPUnit": (
        """<?xml version="1.0" encoding="UTF-8"?>
<testsuites><testsuite name="/app/phpunit.xml" tests="3" assertions="3" errors="0" failures="1" skipped="0" time="0.03">
<testsuite name="unit" tests="3" assertions="3" errors="0" failures="1" skipped="0" time="0.03">
<testsuite name="Tests\\CartTest" file="/app/tests/CartTest.php" tests="3" assertions="3" errors="0" failures="1" skipped="0" time="0.03">
<testcase name="testAdds" file="/app/tests/CartTest.php" line="9" class="Tests\\CartTest" classname="Tests.CartTest" assertions="1" time="0.01"/>
<testsuite name="Tests\\CartTest::testPays" tests="2" assertions="2" errors="0" failures="1" skipped="0" time="0.02">
<testcase name="testPays with data set #0" file="/app/tests/CartTest.php" line="15" class="Tests\\CartTest" classname="Tests.CartTest" assertions="1" time="0.01"/>
<testcase name="testPays with data set #1" file="/app/tests/CartTest.php" line="15" class="Tests\\CartTest" classname="Tests.CartTest" assertions="1" time="0.01">
<failure type="PHPUnit\\Framework\\ExpectationFailedException">Tests\\CartTest::testPays with data set #1 (2)
Failed asserting that 2 is identical to 1.</failure></testcase></testsuite></testsuite></testsuite></testsuite></testsuites>""",
        [
            ("/app/tests/CartTest.php::Tests.CartTest::testAdds", "passed", "passed"),
            ("/app/tests/CartTest.php::Tests.CartTest::testPays with data set #0", "passed", "passed"),
            ("/app/tests/CartTest.php::Tests.CartTest::testPays with data set #1", "failed", "failed"),
        ],
    ),
    "Karma": (
        """<testsuites><testsuite name="Chrome 120 (Linux)" package="" timestamp="2026-01-01T00:00:00" id="0" hostname="ci" tests="1" errors="0" failures="0" time="0.1">
<properties><property name="browser.fullName" value="Mozilla/5.0"/></properties>
<testcase name="cart adds" time="0.1" classname="cart"/><system-out></system-out><system-err/></testsuite>
<testsuite name="Firefox 120 (Linux)" package="" timestamp="2026-01-01T00:00:00" id="0" hostname="ci" tests="1" errors="0" failures="1" time="0.1">
<testcase name="cart adds" time="0.1" classname="cart"><failure type="">no</failure></testcase></testsuite></testsuites>""",
        [
            ("cart::cart adds", "passed", "passed"),
            ("Firefox 120 (Linux)::cart::cart adds", "failed", "failed"),
        ],
    ),
    "ESLint and cppcheck": (
        """<testsuites><testsuite package="org.eslint" time="0" tests="1" errors="1" name="/app/a.js">
<testcase time="0" name="org.eslint.no-undef" classname="/app/a"><failure message="&apos;x&apos; is not defined."><![CDATA[line 1, col 1, Error - 'x' is not defined. (no-undef)]]></failure></testcase></testsuite>
<testsuite name="src/a.cpp" tests="1" errors="1"><testcase name="nullPointer" classname="src/a.cpp"><error message="null pointer" type="nullPointer">src/a.cpp:3</error></testcase></testsuite></testsuites>""",
        [
            ("/app/a::org.eslint.no-undef", "failed", "failed"),
            ("src/a.cpp::nullPointer", "failed", "error"),
        ],
    ),
    "Bazel": (
        """<?xml version="1.0" encoding="UTF-8"?><testsuites><testsuite name="cart/cart_test" tests="1" failures="0" errors="1">
<testcase name="cart/cart_test" status="run" duration="3" time="3"><error message="exited with error code 1"></error></testcase>
<system-out>Generated test.log (if the file is not UTF-8, then this may be unreadable):
<![CDATA[no]]></system-out></testsuite></testsuites>""",
        [("cart/cart_test", "failed", "error")],
    ),
    "Catch2, whose totals count assertions": (
        """<testsuites><testsuite name="tests" errors="0" failures="1" skipped="0" tests="7" hostname="tbd" time="0.1" timestamp="2026-01-01T00:00:00Z">
<properties><property name="random-seed" value="1"/></properties>
<testcase classname="tests.global" name="cart adds" time="0.1" status="run"/>
<testcase classname="tests.global" name="cart pays/with card" time="0.1" status="run"><failure message="1 == 2" type="REQUIRE">FAILED:
  REQUIRE( 1 == 2 )
at cart.cpp:9</failure></testcase></testsuite></testsuites>""",
        [
            ("tests.global::cart adds", "passed", "passed"),
            ("tests.global::cart pays/with card", "failed", "failed"),
        ],
    ),
    "GoogleTest": (
        """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1" disabled="1" errors="0" time="0.1" timestamp="2026-01-01T00:00:00.000" name="AllTests">
<testsuite name="Cart" tests="3" failures="1" disabled="1" skipped="0" errors="0" time="0.1" timestamp="2026-01-01T00:00:00.000">
<testcase name="Adds" file="cart.cc" line="3" status="run" result="completed" time="0.1" timestamp="2026" classname="Cart" />
<testcase name="Pays" file="cart.cc" line="9" status="run" result="completed" time="0." timestamp="2026" classname="Cart">
<failure message="cart.cc:9&#x0A;Expected equality" type=""><![CDATA[cart.cc:9
Expected equality]]></failure><failure message="cart.cc:10&#x0A;Failed" type=""><![CDATA[cart.cc:10
Failed]]></failure></testcase>
<testcase name="DISABLED_Old" file="cart.cc" line="12" status="notrun" result="suppressed" time="0." timestamp="2026" classname="Cart" />
</testsuite></testsuites>""",
        [
            ("cart.cc::Cart::Adds", "passed", "passed"),
            ("cart.cc::Cart::Pays", "failed", "failed"),
            ("cart.cc::Cart::DISABLED_Old", "skipped", "skipped"),
        ],
    ),
    "TAP, converted": (
        """<testsuites><testsuite name="cart.t" tests="3" failures="1" errors="0"><testcase name="#1 adds"/>
<testcase name="#2 pays"><failure message="not ok"/></testcase><testcase name="#3 old"><skipped>TODO later</skipped></testcase></testsuite></testsuites>""",
        [
            ("cart.t::#1 adds", "passed", "passed"),
            ("cart.t::#2 pays", "failed", "failed"),
            ("cart.t::#3 old", "skipped", "skipped"),
        ],
    ),
    "namespaces and other letter case": (
        """<j:TestSuites xmlns:j="urn:j"><j:TestSuite name="s"><j:TestCase name="a"><j:Failure/></j:TestCase></j:TestSuite></j:TestSuites>""",
        [("s::a", "failed", "failed")],
    ),
}


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


# Texts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "error", "longrepr"),
    [
        ("<failure>one <b>x</b> two</failure>", "one x two", "one x two"),
        ("<failure>one <b>x <i>y</i></b> <![CDATA[<two>]]></failure>", "one x y <two>", "one x y <two>"),
        ('<failure message="Expected: 1&#10;But was: 2"/>', "Expected: 1\nBut was: 2", "Expected: 1\nBut was: 2"),
        ('<error message="Expected: 1&#10;But was: 2">at A</error>', "Expected: 1\nBut was: 2", "Expected: 1\nBut was: 2\n\nat A"),
        ('<failure message="a&#10;b">E: a\n  b\nat A</failure>', "a", "E: a\n  b\nat A"),
        ('<failure message="a">at A</failure>', "a", "at A"),
        ('<failure message="a&#10;b">&gt; assert 0\nE   a\nE     b</failure>', "a", "> assert 0\nE   a\nE     b"),
        ('<failure message="a"/><failure message="b"/>', "a", "a\n\nb"),
        ('<failure message="a">at A</failure><error message="b">at B</error>', "a", "a\n\nat A\n\nb\n\nat B"),
        ('<failure message="a">E a</failure><error message="b">B: b!</error>', "a", "E a\n\nB: b!"),
        ('<failure message="no" type="x.BadError">\n    at A\n      at B\n</failure>', "x.BadError: no", "    at A\n      at B"),
        ("<failure/>", None, None),
        ("<assertions><failure>deep</failure></assertions>", "deep", "deep"),
        ("<failure><message>m</message><stack-trace>at A</stack-trace></failure>", "m", "at A"),
        ("<failure>a<testcase name='x'/><failure>b</failure></failure>", "ab", "ab"),
        ("<skipped>later</skipped><failure>no</failure>", "no", "no"),
    ],
)  # fmt: skip
def test_the_whole_text_of_a_failure_is_kept(
    tmp_path: Path, inside: str, error: str | None, longrepr: str | None
) -> None:
    result = case(tmp_path, inside)
    assert (result.status, result.error, result.longrepr) == ("failed", error, longrepr)


def test_a_message_of_one_long_line_is_kept_whole(tmp_path: Path) -> None:
    message = "x" * 1500 + "the end"
    result = case(tmp_path, f'<failure message="{message}">at A</failure>')
    assert result.longrepr == f"{message}\n\nat A"
    assert result.error is not None
    assert len(result.error) <= 1000


@pytest.mark.parametrize(
    ("inside", "error", "longrepr"),
    [
        ("<skipped/>", None, None),
        ('<skipped message="later"/>', "later", None),
        ("<skipped>\n later\n</skipped>", "later", None),
        ("<skipped>needs\na database</skipped>", "needs\na database", None),
        ('<skipped message="needs&#10;a database"/>', "needs\na database", None),
        ('<skipped message="a"/><skipped message="b"/>', "a", "a\n\nb"),
        ('<skipped message="a">File "x.py", line 3</skipped>', "a", 'File "x.py", line 3'),
    ],
)
def test_every_line_of_a_skip_is_kept(
    tmp_path: Path, inside: str, error: str | None, longrepr: str | None
) -> None:
    result = case(tmp_path, inside)
    assert (result.status, result.error, result.longrepr) == ("skipped", error, longrepr)


def test_a_long_text_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(100_000))
    result = case(tmp_path, f"<failure>{text}</failure><system-out>{text}</system-out>")
    for kept in (result.longrepr, result.stdout):
        assert kept is not None
        assert kept.startswith("line 0\nline 1\n")
        assert kept.rstrip().endswith("line 99999")
        assert "characters left out" in kept
        assert len(kept) < 110_000


@pytest.mark.parametrize("length", [0, 1, 99_999, 100_000, 100_001, 199_999, 350_000, 1_000_000])
@pytest.mark.parametrize("size", [7, 1000, 250_000])
def test_text_in_pieces_is_cut_as_whole_text_is(length: int, size: int) -> None:
    whole = "".join(chr(97 + number % 26) for number in range(length))
    text = Text()
    for start in range(0, length, size):
        text.append(whole[start : start + size])
    assert str(text) == clean(whole, limit=100_000)


# Outcomes ---------------------------------------------------------------------------------------


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
    result = case(tmp_path, inside, attributes)
    assert (result.status, result.outcome) == (status, outcome)


def test_a_word_in_an_attribute_is_kept_as_the_error(tmp_path: Path) -> None:
    assert case(tmp_path, "", 'status="blocked"').error == "status='blocked'"


@pytest.mark.parametrize("tag", ["failure", "error"])
def test_a_suite_that_failed_is_a_failed_test_of_its_name(tmp_path: Path, tag: str) -> None:
    content = f"""<testsuites><testsuite name="outer"><testsuite name="db" file="t.py" tests="0" errors="1">
    <{tag} message="no database&#10;at all" type="x.SetupError">at A</{tag}></testsuite></testsuite></testsuites>"""
    result = one(tmp_path, content)
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


# Names ------------------------------------------------------------------------------------------


def names(tmp_path: Path, content: str) -> list[str | None]:
    results, report = read(tmp_path, content)
    assert report.problems == []
    return [each.node_id for each in results]


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
    assert one(tmp_path, content).title == title


@pytest.mark.parametrize("file", ["/", ".", "..", "", "a/", ".hidden", "a.b/c", "C:\\tests\\a.py", "//"])
def test_any_file_name_is_taken(tmp_path: Path, file: str) -> None:
    result = one(tmp_path, f'<testsuite><testcase file="{file}" classname="K" name="n"/></testsuite>')
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


# Properties and attachments ---------------------------------------------------------------------


def test_repeated_properties_are_lists(tmp_path: Path) -> None:
    inside = """<properties><property name="step" value="one"/><property name="step">two</property>
    <property name="step" value="three"/><property name="owner" value="me"/><property/></properties>"""
    assert case(tmp_path, inside).properties == {"step": ["one", "two", "three"], "owner": "me"}


def test_properties_of_suites_are_kept_by_suite(tmp_path: Path) -> None:
    content = """<testsuites><testsuite name="a"><properties><property name="os" value="linux"/>
    <property name="tag" value="x"/><property name="tag" value="y"/></properties><testcase name="t"/></testsuite>
    <testsuite name="b"><properties><property name="os" value="mac"/></properties></testsuite></testsuites>"""
    (result,), report = read(tmp_path, content)
    assert report.properties == {"a": {"os": "linux", "tag": ["x", "y"]}, "b": {"os": "mac"}}
    assert result.properties is None


def test_attachments_become_artifacts(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a[1].png").write_bytes(b"")
    inside = """<properties><property name="attachment" value="video.webm"/>
    <property name="testrail_attachment" value="C:\\logs\\app.txt"/><property name="screenshot" value="x.jpeg"/>
    <property name="attachments" value="3"/><property name="screenshot" value="off"/>
    <property name="attachment" value="https://example.com/a.png"/></properties>
    <system-out>before
[[ATTACHMENT|out/a[1].png]]
  [[ATTACHMENT|trace.zip]]
see [[ATTACHMENT|video.webm]] there
after</system-out><system-err>[[ATTACHMENT|/etc/none.log]]</system-err>
    <attachments><attachment><filePath>db.log</filePath><description>d</description></attachment></attachments>"""
    result = case(tmp_path, inside)
    assert [(each.name, each.kind, each.path) for each in result.artifacts or ()] == [
        ("a[1].png", "screenshot", str(tmp_path / "out" / "a[1].png")),
        ("trace.zip", "trace", "trace.zip"),
        ("video.webm", "video", "video.webm"),
        ("none.log", "log", "/etc/none.log"),
        ("app.txt", "log", "C:\\logs\\app.txt"),
        ("x.jpeg", "screenshot", "x.jpeg"),
        ("db.log", "log", "db.log"),
    ]
    assert (result.stdout, result.stderr) == ("before\nsee [[ATTACHMENT|video.webm]] there\nafter", None)
    assert result.properties == {
        "attachments": "3",
        "screenshot": "off",
        "attachment": "https://example.com/a.png",
    }


def test_attachments_of_a_suite_are_the_report_s(tmp_path: Path) -> None:
    content = """<testsuite><properties><property name="attachment" value="all.mp4"/></properties><testcase name="t"/>
    <system-out>[[ATTACHMENT|server.log]]</system-out></testsuite>"""
    _, report = read(tmp_path, content)
    assert [(each.kind, each.path) for each in report.artifacts] == [
        ("video", "all.mp4"),
        ("log", "server.log"),
    ]


# Durations --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.5", 1500),
        ("1,5", 1500),
        ("0,25", 250),
        (".5", 500),
        ("2.", 2000),
        ("1e-3", 1),
        ("1,5E-02", 15),
        ("+1.5", 1500),
        ("1.234,5", 1_234_500),
        ("1,234.5", 1_234_500),
        ("1 234,5", 1_234_500),
        ("1\u00a0234,5", 1_234_500),
        ("1\u202f234,5", 1_234_500),
        ("1'234.5", 1_234_500),
        ("1’234.5", 1_234_500),
        ("1_234.5", 1_234_500),
        ("1.234.567,5", 1_234_567_500),
        ("1,234,567", 1_234_567_000),
        ("12,34,567.5", 1_234_567_500),
        ("١٫٥", 1500),
        ("80ms", 80),
        ("80 ms", 80),
        ("1.5s", 1500),
        ("1,5 s", 1500),
        ("1,234.5 ms", 1234),
        ("5 seconds", 5000),
        ("1500µs", 2),
        ("2m3s", 123_000),
        ("1h 2m 3.5s", 3_723_500),
        ("1 minute, 3 seconds", 63_000),
        ("PT1.5S", 1500),
        ("PT1H2M3,5S", 3_723_500),
        ("P1DT1S", 86_401_000),
        ("00:01:02.5", 62_500),
        ("01:02", 62_000),
        ("1.02:03:04.5", 93_784_500),
        ("0", 0),
        ("-0.0", 0),
    ],
)
def test_durations_of_every_locale_and_unit_are_understood(text: str, expected: int) -> None:
    assert milliseconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            None,
            "nan",
            "NaN",
            "inf",
            "-Infinity",
            "-1",
            "−1",
            "-80ms",
            "soon",
            "1.2.3",
            "1 2 3",
            "P",
            "PT",
        ),
        *("1:2:3:4", "12 apples", "0x10", "1e400", "9" * 400, "1..5", "ms", "1ms2", "--1"),
    ],
)
def test_what_is_not_a_duration_is_left_out(text: str | None) -> None:
    assert milliseconds(text) is None


@given(st.text() | st.text("0123456789.,' eE+-:PTHMSDmsh\u202f"))
def test_any_duration_is_a_number_or_nothing(text: str) -> None:
    found = milliseconds(text)
    assert found is None or 0 <= found <= 10**12


# Character sets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "codec", "text"),
    [
        ("windows-31j", "cp932", "①テスト"),
        ("Shift_JIS", "shift_jis", "テスト"),
        ("EUC-JP", "euc_jp", "テスト"),
        ("ISO-2022-JP", "iso2022_jp", "テスト"),
        ("GBK", "gbk", "测试"),
        ("gb2312", "gbk", "測試"),
        ("GB18030", "gb18030", "测试😀"),
        ("Big5", "big5", "測試"),
        ("EUC-KR", "euc_kr", "시험"),
        ("windows-949", "cp949", "뷁"),
        ("ISO-8859-1", "latin-1", "Prüfung"),
        ("windows-1252", "cp1252", "“Prüfung” €"),
        ("Cp1252", "cp1252", "€"),
        ("windows-874", "cp874", "ทดสอบ"),
        ("KOI8-R", "koi8_r", "тест"),
        ("x-mac-roman", "mac_roman", "é"),
        ("IBM-850", "cp850", "é"),
        ("IBM037", "cp037", "é"),
        ("UTF-16", "utf-16", "тест😀"),
        ("UTF-16", "utf-16-le", "тест"),
        ("UTF-16BE", "utf-16-be", "тест"),
        ("UTF-32", "utf-32", "тест"),
        ("UTF-32", "utf-32-be", "тест"),
        ("UTF-8", "utf-8-sig", "тест"),
        ("utf-16", "utf-8", "тест"),
        ("UTF-8", "utf-16", "тест"),
        ("no-such-charset", "utf-8", "тест"),
        ("base64", "utf-8", "тест"),
        ("idna", "utf-8", "тест"),
        ("undefined", "utf-8", "тест"),
        ("unicode_escape", "utf-8", "a\\u0041"),
        ("US-ASCII", "ascii", "test"),
    ],
)
def test_every_character_set_is_read(tmp_path: Path, declared: str, codec: str, text: str) -> None:
    content = (
        f"""<?xml version="1.0" encoding="{declared}"?>\n<testsuite><testcase name="{text}"/></testsuite>"""
    )
    assert one(tmp_path, content.encode(codec)).title == text


def test_bytes_outside_the_character_set_are_replaced(tmp_path: Path) -> None:
    assert one(tmp_path, b'<testsuite><testcase name="a\xffb"/></testsuite>').title == "a\ufffdb"


@pytest.mark.parametrize("before", ["\n\n", " \r\n\t", "\ufeff\n", "\n\ufeff", "\x00\n", "\x1a"])
def test_what_is_blank_before_the_declaration_is_passed_over(tmp_path: Path, before: str) -> None:
    content = f'{before}<?xml version="1.1" encoding="utf-8"?><testsuite><testcase name="a"/></testsuite>'
    assert one(tmp_path, content).title == "a"


def test_a_declared_character_set_counts_after_blank_lines(tmp_path: Path) -> None:
    content = (
        b'\n\n<?xml version="1.0" encoding="windows-1252"?><testsuite><testcase name="\x80"/></testsuite>'
    )
    assert one(tmp_path, content).title == "€"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a\x1b[31mb\x00c\x08", "a\ufffd[31mb\ufffdc\ufffd"),
        ("a&#27;b&#x0;c&#xD800;d&#x110000;e&#xFFFE;", "a\ufffdb\ufffdc\ufffdd\ufffde\ufffd"),
        ("a\ufffeb\uffffc", "a\ufffdb\ufffdc"),
        ("<![CDATA[a\x1b&#27;&nbsp;&]]>", "a\ufffd&#27;&nbsp;&"),
        ("a&nbsp;b&eacute;c&LT;d", "a\u00a0bécxd".replace("x", "<")),
        ("a & b && c &unknown; &#; &amp; &lt;", "a & b && c &unknown; &#; & <"),
        ("]]&gt; <![CDATA[]]]]><![CDATA[>]]>", "]]> ]]>"),
        ("&#x1F600;&#10;x", "😀\nx"),
    ],
)
def test_illegal_characters_and_references_are_replaced(tmp_path: Path, written: str, expected: str) -> None:
    assert case(tmp_path, f"<system-out>{written}</system-out>").stdout == expected


def test_references_and_sections_are_whole_at_any_chunk_border(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "<![CDATA[&#27;]]]]><![CDATA[>\x1b]]>&#27;&amp;&nbsp;&x]&]]&gt;é😀"
    content = f'<?xml version="1.0"?><testsuite><testcase name="a"><system-out>{text}</system-out></testcase></testsuite>'
    monkeypatch.setattr("pytest_tms.cli.formats.source.HEAD_BYTES", 4)
    expected = "&#27;]]>\ufffd\ufffd&\u00a0&x]&]]>é😀"
    for size in range(2, 120):
        monkeypatch.setattr("pytest_tms.cli.formats.source.CHUNK_BYTES", size)
        for packed in (content.encode(), gzip.compress(content.encode(), mtime=0)):
            assert one(tmp_path, packed).stdout == expected, size


# Damage and attacks -----------------------------------------------------------------------------

TWO = '<testsuite name="s">\n<testcase name="a"/>\n<testcase name="b"><failure/></testcase>\n'


@pytest.mark.parametrize(
    ("rest", "what"),
    [
        ("", "line 4: no element found (the file is cut); 2 tests before it are kept"),
        ('<testcase name="c"', "line 4: unclosed token (the file is cut); 2 tests before it are kept"),
        ('<testcase name="c">', "line 4: no element found (the file is cut)"),
        ("<testcase name='c'><failure><![CDATA[x", "line 4: unclosed CDATA section (the file is cut)"),
        ("</testcase>", "line 4: mismatched tag; 2 tests before it are kept"),
        ("<testcase name='c' name='d'/>", "line 4: duplicate attribute"),
        ("</testsuite>\ntrailing", "line 5: junk after document element"),
        ("<a>" * 2000, "line 4: more than 1000 elements are open"),
        ("< <", "line 4: not well-formed (invalid token)"),
    ],
)
def test_what_a_damaged_file_has_before_the_damage_is_kept(tmp_path: Path, rest: str, what: str) -> None:
    results, report = read(tmp_path, TWO + rest)
    assert [(each.title, each.status) for each in results] == [("s::a", "passed"), ("s::b", "failed")]
    assert report.status == "error"
    (problem,) = report.problems
    assert problem.startswith(f"{tmp_path}/report, {what}")


def test_line_numbers_count_blank_lines_before_the_declaration(tmp_path: Path) -> None:
    _, report = read(tmp_path, f"\n\n{TWO}")
    assert f"{tmp_path}/report, line 6: " in report.problems[0]


@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0"?>', '\ufeff<?xml version="1.0"?>\n'])
def test_several_documents_in_one_file_are_all_read(tmp_path: Path, declaration: str) -> None:
    document = declaration + "<testsuite name='{}'>\n<testcase name='a'/>\n</testsuite>\n"
    assert names(tmp_path, document.format("x") + document.format("y") * 2) == ["x::a", "y::a", "y::a #2"]


@pytest.mark.parametrize(
    "content",
    [
        '<!DOCTYPE x [<!ENTITY a "ha">]><testsuite><testcase name="&a;"/></testsuite>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite><testcase name="a">&a;</testcase></testsuite>',
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]><testsuite/>',
    ],
)
def test_entities_are_refused(tmp_path: Path, content: str) -> None:
    results, report = read(tmp_path, content)
    assert (results, report.status) == ([], "error")
    assert "it defines entities" in report.problems[0]


def test_an_external_dtd_is_not_loaded_and_its_defaults_are_not_used(tmp_path: Path) -> None:
    content = """<!DOCTYPE testsuite SYSTEM "http://127.0.0.1:9/x.dtd" [<!ATTLIST testcase status CDATA "failed">]>
    <testsuite><testcase name="a"/></testsuite>"""
    assert one(tmp_path, content).status == "passed"


def test_a_tag_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    results, report = read(tmp_path, f'{TWO}<testcase name="{"x" * (20 << 20)}"/></testsuite>')
    assert len(results) == 2
    assert "a tag is longer than 16 MB" in report.problems[0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        " \n",
        "PASSED",
        "\x00" * 5000,
        "PK\x03\x04",
        "[1]",
        "\ufeff",
        "\x1f\x8b",
        gzip.compress(b"", mtime=0),
    ],
)
def test_what_is_no_report_is_named(tmp_path: Path, content: str | bytes) -> None:
    results, report = read(tmp_path, content)
    assert (results, report.status, len(report.problems)) == ([], "error", 1)
    assert report.problems[0].startswith(f"{tmp_path}/report")


@pytest.mark.parametrize("root", ["html", "Error", "test-run", "robot", "properties", "system-out"])
def test_another_root_is_named(tmp_path: Path, root: str) -> None:
    results, report = read(tmp_path, f"<{root}><testcase name='a'/></{root}>")
    assert (results, report.status) == ([], "error")
    assert "this is not JUnit XML: its root is <" in report.problems[0]


def test_gzip_of_several_members_is_read_and_a_cut_one_keeps_what_it_has(tmp_path: Path) -> None:
    content = f"{TWO}</testsuite>".encode()
    packed = gzip.compress(content[:30], mtime=0) + gzip.compress(content[30:], mtime=0) + b"\0" * 512
    results, report = read(tmp_path, packed)
    assert (len(results), report.problems) == (2, [])
    results, report = read(tmp_path, gzip.compress(content, mtime=0)[:-20])
    assert report.status == "error"
    assert "its compressed data ends too early" in report.problems[0]
    results, report = read(tmp_path, gzip.compress(content, mtime=0)[:-8] + b"12345678")
    assert report.status == "error"
    assert "its compressed data is damaged" in report.problems[0]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(cases: int) -> int:
        path = tmp_path / "report"
        with path.open("w") as file:
            file.write("<testsuite>")
            for number in range(cases):
                file.write(f'<testcase name="{number}"><failure>{"x" * 2000}</failure></testcase>')
            file.write("</testsuite>")
        tracemalloc.start()
        for _ in read_report(Source(path), NodeIds()):
            pass
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(8000) < peak(500) + 6_000_000  # the file has 16 MB; a node id is kept of each test


VALID = [content for content, _ in DIALECTS.values()]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file of which parts are cut, repeated or replaced."""
    content = draw(st.sampled_from(VALID)).encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 60)))
        middle = draw(
            st.binary(max_size=8)
            | st.just(content[start:end] * 3)
            | st.sampled_from(
                [b"<testcase>", b"</testsuite>", b'"', b"&x;", b"<![CDATA[", b"<failure>", b"\x00"]
            )
        )
        content = content[:start] + middle + content[end:]
    return gzip.compress(content, mtime=0) if draw(st.booleans()) else content


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.binary().map(lambda data: b"<" + data) | st.binary().map(gzip.compress) | mutated())
def test_whatever_a_file_holds_is_results_and_problems(tmp_path: Path, content: bytes) -> None:
    results, report = read(tmp_path, content)
    assert all("\n" not in each for each in report.problems)
    assert bool(report.problems) == (report.status == "error")
    for result in results:
        sent: Any = msgspec.json.decode(msgspec.json.encode(result), type=wire.TestResult)
        assert sent == result
    assert len({each.node_id for each in results}) == len(results)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_that_is_cut_anywhere_is_never_green(tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(VALID)).strip().encode()
    cut = data.draw(st.integers(1, len(content) - 1))
    _, report = read(tmp_path, content[:cut])
    assert report.status == "error"
    assert report.problems


def test_an_interrupted_reader_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text(f"{TWO}</testsuite>")
    reading: Iterator[wire.TestResult] = iter(read_report(Source(path), NodeIds()))
    assert next(reading).title == "s::a"
    del reading  # a file left open is a ResourceWarning, which is an error here
