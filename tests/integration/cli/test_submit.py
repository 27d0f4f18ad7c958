"""`tms submit`: what other runners wrote, sent as a shard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_tms import wire
from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import TmsServer, run_tms

Submit = Callable[..., list[dict[str, Any]]]

SUITE = """
import pytest

@pytest.fixture
def broken(): raise RuntimeError("setup")

@pytest.fixture
def leaking():
    yield
    raise RuntimeError("teardown")

def test_passes(): print("out")
def test_fails(): assert 0, "why"
@pytest.mark.xfail(reason="later")
def test_xfails(): assert 0
@pytest.mark.xfail(reason="later")
def test_xpasses(): pass
@pytest.mark.skip(reason="no")
def test_skipped(): pass
def test_broken(broken): pass
def test_leaks(leaking): pass
class TestMore:
    @pytest.mark.parametrize("n", [1, 2])
    def test_n(self, n, record_property): record_property("n", n)
def test_parts(subtests):
    with subtests.test("a", i="x"): assert 0
    with subtests.test("b"): pass
"""


@pytest.fixture
def execution(tms: TmsServer) -> str:
    with tms.client() as client:
        request = wire.ExecutionRequest(test_suite="all", environment="dev")
        return client.create_execution(request).execution_id


@pytest.fixture
def submit(tms: TmsServer, execution: str, tmp_path: Path) -> Submit:
    """Submit a file's text; the tests that the TMS has then."""

    def submit(content: str, *options: str) -> list[dict[str, Any]]:
        path = tmp_path / "report"
        path.write_text(content)
        completed = submitted(tms, execution, path, *options)
        assert (completed.returncode, completed.stderr) == (0, "")
        with tms.client() as client:
            return list(client.iter_tests(execution))

    return submit


def submitted(tms: TmsServer, execution: str, *arguments: Any) -> Any:
    options = ["--execution", execution, *map(str, arguments)]
    return run_tms("submit", *options, TMS_URL=tms.url, TMS_API_TOKEN=tms.token)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_report_log_gives_what_the_plugin_gives(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    tms: TmsServer,
    submit: Submit,
    workers: tuple[str, ...],
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    if pytest.version_tuple < (9,):
        pytest.skip("this pytest has no subtests of its own")
    pytester.makepyfile(test_it=SUITE, test_bad="import nothing_like_this")
    options = ["--report-log=log.jsonl", "--continue-on-collection-errors", "--tms-shard", "1", *workers]
    result = pytester.runpytest_subprocess("--tms-url", tms.url, *options)
    link = next(line for line in result.outlines if "reported: " in line)
    with tms.client() as client:
        live = list(client.iter_tests(link.rpartition("/")[2]))
    log = submit((pytester.path / "log.jsonl").read_text())
    assert len(live) == 11
    for test in live:  # which a report log does not hold
        for name in ("parameters", "exceptionType", "frames"):
            test.pop(name, None)
    assert sorted(log, key=lambda test: test["nodeId"]) == sorted(live, key=lambda test: test["nodeId"])


def test_a_report_log_whose_session_did_not_end_breaks_its_shard(
    tms: TmsServer, execution: str, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text('{"pytest_version": "9.2.0", "$report_type": "SessionStart"}\n')
    submitted(tms, execution, tmp_path / "log")
    with tms.client() as client:
        assert [shard.status for shard in client.get_execution(execution).shard_results] == ["error"]


DIALECTS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "pytest": (
        """<testsuites><testsuite name="pytest" errors="1" tests="3" time="0.592"
        ><testcase classname="tests.test_it.TestC" name="test_n[1]" file="tests/test_it.py" line="1" time="0.318"
        ><properties><property name="n" value="1" /></properties></testcase><testcase classname="tests.test_it"
        name="test_x" file="tests/test_it.py" time="0.000"><skipped type="pytest.xfail" message="later" /></testcase
        ><testcase classname="tests.test_it" name="test_e" time="1,234.5"><error message="failed on setup with
        &quot;RuntimeError: bad&quot;">E  RuntimeError</error><system-out>o&lt;ut</system-out></testcase
        ></testsuite></testsuites>""",
        [
            {
                "title": "TestC::test_n[1]",
                "nodeId": "tests/test_it.py::TestC::test_n[1]",
                "file": "tests/test_it.py",
                "status": "passed",
                "outcome": "passed",
                "duration": 318,
                "properties": {"n": "1"},
            },
            {
                "title": "test_x",
                "nodeId": "tests/test_it.py::test_x",
                "file": "tests/test_it.py",
                "status": "skipped",
                "outcome": "xfailed",
                "duration": 0,
                "error": "later",
            },
            {
                "title": "tests.test_it::test_e",
                "nodeId": "tests.test_it::test_e",
                "status": "failed",
                "outcome": "error",
                "duration": 1234500,
                "error": 'failed on setup with         "RuntimeError: bad"',
                "longrepr": "E  RuntimeError",
                "stdout": "o<ut",
            },
        ],
    ),
    "surefire": (
        """<?xml version="1.0" encoding="ISO-8859-1"?>
        <testsuite name="com.acme.CartTest"><properties><property name="java.home" value="/"/></properties>
        <testcase name="flaky" classname="com.acme.CartTest" time="0.5"><flakyFailure message="1 != 2"
        type="org.opentest4j.AssertionFailedError"><stackTrace>at A</stackTrace></flakyFailure></testcase>
        <testcase name="fails" classname="com.acme.CartTest" time="0.1"><failure message="x"
        type="java.lang.IllegalStateException">at B</failure><rerunError message="y" type="E">at C</rerunError>
        <system-err><![CDATA[warned & dined]]></system-err></testcase></testsuite>""",
        [
            {
                "title": "com.acme.CartTest::flaky",
                "nodeId": "com.acme.CartTest::flaky",
                "status": "passed",
                "outcome": "passed",
                "duration": 500,
                "retries": 1,
                "attempts": [
                    {
                        "outcome": "failed",
                        "error": "org.opentest4j.AssertionFailedError: 1 != 2",
                        "longrepr": "at A",
                    },
                    {"outcome": "passed"},
                ],
            },
            {
                "title": "com.acme.CartTest::fails",
                "nodeId": "com.acme.CartTest::fails",
                "status": "failed",
                "outcome": "failed",
                "duration": 100,
                "retries": 1,
                "error": "java.lang.IllegalStateException: x",
                "longrepr": "at B",
                "stderr": "warned & dined",
                "attempts": [
                    {"outcome": "failed", "error": "java.lang.IllegalStateException: x", "longrepr": "at B"},
                    {"outcome": "error", "error": "y", "longrepr": "at C"},
                ],
            },
        ],
    ),
    "jest and mocha, nested": (
        """<testsuites name="jest"><testsuite name="outer" file="src/a.test.js"><testsuite name="inner">
        <testcase classname="cart adds" name="cart adds" time="0,25"/></testsuite>
        <testcase classname="cart" name="drops" time="soon"><failure>Error: no
    at Object.&lt;anonymous&gt;</failure></testcase></testsuite></testsuites>""",
        [
            {
                "title": "cart adds",
                "nodeId": "src/a.test.js::cart adds",
                "file": "src/a.test.js",
                "status": "passed",
                "outcome": "passed",
                "duration": 250,
            },
            {
                "title": "cart::drops",
                "nodeId": "src/a.test.js::cart::drops",
                "file": "src/a.test.js",
                "status": "failed",
                "outcome": "failed",
                "error": "Error: no",
                "longrepr": "Error: no\n    at Object.<anonymous>",
            },
        ],
    ),
    "gotestsum and GoogleTest": (
        """<testsuites><testsuite name="example.com/shop"><testcase classname="example.com/shop"
        name="TestCart/empty" time="0.010"><failure message="Failed" type="">=== RUN</failure></testcase>
        <testcase classname="example.com/shop" name="TestOld" time="0"><skipped message="old"></skipped></testcase>
        <testcase name="Off" status="notrun" classname="Suite"/><testcase name="Off" status="run" classname="Suite"/>
        </testsuite></testsuites>""",
        [
            {
                "title": "example.com/shop::TestCart/empty",
                "nodeId": "example.com/shop::TestCart/empty",
                "status": "failed",
                "outcome": "failed",
                "duration": 10,
                "error": "Failed",
                "longrepr": "=== RUN",
            },
            {
                "title": "example.com/shop::TestOld",
                "nodeId": "example.com/shop::TestOld",
                "status": "skipped",
                "outcome": "skipped",
                "duration": 0,
                "error": "old",
            },
            {"title": "Suite::Off", "nodeId": "Suite::Off", "status": "skipped", "outcome": "skipped"},
            {"title": "Suite::Off", "nodeId": "Suite::Off #2", "status": "passed", "outcome": "passed"},
        ],
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_junit_xml_is_understood(submit: Submit, dialect: str) -> None:
    content, expected = DIALECTS[dialect]
    assert submit(content) == [{"shardId": "1", **test} for test in expected]


def test_the_same_again_changes_nothing(tms: TmsServer, execution: str, submit: Submit) -> None:
    content = DIALECTS["gotestsum and GoogleTest"][0]
    assert submit(content) == submit(content)
    with tms.client() as client:
        found = client.get_execution(execution)
    assert (found.status, found.results.total, found.results.failed) == ("completed", 4, 1)
    assert [(shard.shard_id, shard.status) for shard in found.shard_results] == [("1", "failed")]


def test_several_files_are_one_shard(tms: TmsServer, execution: str, tmp_path: Path) -> None:
    names = ["a b.xml", "c.xml"]
    for name in names:
        (tmp_path / name).write_text(
            f'\ufeff<testsuite><testcase name="{name}"/></testsuite>', encoding="utf-8"
        )
    completed = submitted(
        tms, execution, "--shard", "linux/x64", "--json", *(tmp_path / name for name in names)
    )
    response = json.loads(completed.stdout)
    assert response["results"] == {"total": 2, "passed": 2, "failed": 0, "skipped": 0, "flaky": 0}
    assert response["refused"] == []
    assert response["reportUrl"].endswith(execution)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><testsuite>&l9;</testsuite>',
            ", line 1: it defines entities",
        ),
        ("<html><body>Sign in</body></html>", ", line 1: this is not JUnit XML: its root is <html>"),
        ("<testsuite>\n<testcase name='a'>", ", line 2: no element found"),
        ("", " is neither JUnit XML, pytest-reportlog, CTRF nor an Allure result"),
        ("PASSED", " is neither JUnit XML, pytest-reportlog, CTRF nor an Allure result"),
        ('{"a": 1}\n', " is neither JUnit XML, pytest-reportlog, CTRF nor an Allure result"),
        ('{"$report_type": "TestReport", "x": []}\n', ", line 1: this is not a line of pytest-reportlog"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    tms: TmsServer, tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "report"
    path.write_text(content)
    completed = submitted(tms, "exec_x", path)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr.startswith(f"tms: {path}{said}")
    assert completed.stderr.count("\n") == 1


def test_a_server_that_knows_only_the_document_gets_one_submission(
    foreign: ForeignTms, tmp_path: Path
) -> None:
    def route(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/api/":
            return 404, {}, b"Not Found"
        return (
            200,
            {"Content-Type": "application/json"},
            b'{"executionId": "exec_1", "submissionId": "sub_1"}',
        )

    foreign.route = route
    (tmp_path / "r.xml").write_text(DIALECTS["surefire"][0])
    completed = submitted(TmsServer(foreign.url, "t", tmp_path), "exec_1", "--shard", "2", tmp_path / "r.xml")
    assert (completed.returncode, completed.stderr) == (0, "")
    (body,) = [json.loads(each["body"]) for each in foreign.requests if each["path"] == "/api/results"]
    assert (body["executionId"], body["shardId"], body["status"]) == ("exec_1", "2", "failed")
    assert body["results"] == {"total": 2, "passed": 1, "failed": 1, "skipped": 0, "flaky": 1}
    assert [test["title"] for test in body["tests"]] == [
        "com.acme.CartTest::flaky",
        "com.acme.CartTest::fails",
    ]
