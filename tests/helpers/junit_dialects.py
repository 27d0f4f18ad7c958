"""A JUnit XML file of each runner, with the node id, the status and the outcome of its tests."""

from __future__ import annotations

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
