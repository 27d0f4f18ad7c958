"""`tms submit` with files as they come: compressed, on standard input, damaged, and many at once."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_tms import wire
from tests.helpers.processes import TMS, TmsServer

Submit = Callable[..., subprocess.CompletedProcess[bytes]]

GOOD = (
    '<testsuite name="{}"><testcase name="a" time="1.5"/><testcase name="b"><skipped/></testcase></testsuite>'
)
FAILING = '<testsuite name="{}"><testcase name="a"><failure message="no"/></testcase></testsuite>'


@pytest.fixture
def execution(tms: TmsServer) -> str:
    with tms.client() as client:
        request = wire.ExecutionRequest(test_suite="all", environment="dev")
        return client.create_execution(request).execution_id


@pytest.fixture
def submit(tms: TmsServer, execution: str, tmp_path: Path) -> Submit:
    """Run the command in a folder of its own, with these arguments and this standard input."""

    def submit(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*TMS, "submit", "--execution", execution, *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "TMS_URL": tms.url, "TMS_API_TOKEN": tms.token},
            check=False,
        )

    return submit


@pytest.fixture
def stored(tms: TmsServer, execution: str) -> Callable[[], tuple[dict[str, Any], wire.ShardResult]]:
    """The tests that the TMS has, by node id, and their shard."""

    def stored() -> tuple[dict[str, Any], wire.ShardResult]:
        with tms.client() as client:
            tests = {test["nodeId"]: test for test in client.iter_tests(execution)}
            (shard,) = client.get_execution(execution).shard_results
        return tests, shard

    return stored


def test_standard_input_and_gzip_are_read_beside_plain_files(
    tmp_path: Path, submit: Submit, stored: Any
) -> None:
    (tmp_path / "plain.xml").write_text(GOOD.format("plain"))
    (tmp_path / "packed.xml.gz").write_bytes(gzip.compress(GOOD.format("packed").encode()))
    completed = submit("plain.xml", "-", "packed.xml.gz", stdin=FAILING.format("piped").encode())
    assert (completed.returncode, completed.stderr) == (0, b"")
    assert completed.stdout.endswith(b"shard 1: 1 failed, 2 passed, 2 skipped\n")
    tests, shard = stored()
    assert list(tests) == ["plain::a", "plain::b", "piped::a", "packed::a", "packed::b"]
    assert (shard.status, shard.results.failed, shard.duration) == ("failed", 1, 3000)


def test_gzip_on_standard_input_is_read(submit: Submit, stored: Any) -> None:
    completed = submit("-", stdin=gzip.compress(GOOD.format("s").encode()))
    assert (completed.returncode, completed.stderr) == (0, b"")
    assert list(stored()[0]) == ["s::a", "s::b"]


BAD = {
    "cut.xml": (b'<testsuite name="cut">\n<testcase name="kept"/>\n<testcase name="los', ", line 3: unclosed token"),
    "junk.xml": (b"PASSED", " is neither JUnit XML, pytest-reportlog, CTRF nor an Allure result"),
    "empty.xml": (b"", " is neither JUnit XML, pytest-reportlog, CTRF nor an Allure result"),
    "page.xml": (b"<html/>", ", line 1: this is not JUnit XML: its root is <html>"),
    "entities.xml": (b'<!DOCTYPE a [<!ENTITY x "y">]><testsuite/>', ", line 1: it defines entities"),
    "cut.xml.gz": (gzip.compress(b"<testsuite/>")[:-9], ": its compressed data ends too early"),
    "log.jsonl": (b'{"$report_type": "SessionStart"}\n{"$report_ty', ", line 2: this is not a line of pytest-reportlog"),
    "totals.xml": (b'<testsuite name="t" tests="6" failures="2"/>', ", line 1, suite 't': its totals say that 2 failed"),
    "missing.xml": (None, ": No such file or directory"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_never_costs_the_others(tmp_path: Path, submit: Submit, stored: Any, name: str) -> None:
    content, problem = BAD[name]
    (tmp_path / "first.xml").write_text(GOOD.format("first"))
    (tmp_path / "last.xml").write_text(GOOD.format("last"))
    if content is not None:
        (tmp_path / name).write_bytes(content)
    completed = submit("first.xml", name, "last.xml")
    assert completed.returncode == 1
    (line,) = completed.stderr.decode().splitlines()
    assert line.startswith(f"tms: {name}{problem}")
    tests, shard = stored()
    kept = ["cut::kept"] if name == "cut.xml" else []
    assert list(tests) == ["first::a", "first::b", *kept, "last::a", "last::b"]
    assert (shard.status, shard.results.total) == ("error", 4 + len(kept))


def test_a_folder_costs_no_file_its_results(tmp_path: Path, submit: Submit, stored: Any) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.xml").write_text(GOOD.format("s"))
    completed = submit("folder", "a.xml")
    assert (completed.returncode, completed.stderr) == (
        1,
        b"tms: folder holds no report: name a folder with reports, or a file\n",
    )
    assert len(stored()[0]) == 2


def test_ctrf_allure_results_and_a_pattern_are_one_shard(tmp_path: Path, submit: Submit, stored: Any) -> None:
    allure = tmp_path / "allure-results"
    allure.mkdir()
    for number, status in enumerate(["failed", "passed"]):
        document = {
            "uuid": f"u{number}",
            "historyId": "h",
            "name": "retried",
            "status": status,
            "start": number,
        }
        (allure / f"u{number}-result.json").write_text(json.dumps(document))
    tests = [{"name": "fails", "status": "failed", "duration": 1, "message": "no"}]
    (tmp_path / "ctrf.json").write_text(json.dumps({"results": {"summary": {"tests": 1}, "tests": tests}}))
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.xml").write_text(GOOD.format("s"))
    completed = submit("allure-results", "ctrf.json", "**/*.xml")
    assert (completed.returncode, completed.stderr) == (0, b"")
    found, shard = stored()
    assert list(found) == ["retried", "fails", "s::a", "s::b"]
    assert (found["retried"]["status"], len(found["retried"]["attempts"])) == ("passed", 2)
    counts = shard.results
    assert (shard.status, counts.total, counts.failed, counts.flaky) == ("failed", 4, 1, 1)


def test_a_name_that_no_file_can_have_costs_no_file_its_results(
    tmp_path: Path, submit: Submit, stored: Any
) -> None:
    (tmp_path / "a.xml").write_text(GOOD.format("s"))
    completed = submit("x" * 300, "a.xml")
    assert (completed.returncode, completed.stderr.count(b"\n")) == (1, 1)
    assert len(stored()[0]) == 2


def test_a_closed_standard_input_is_one_line(tms: TmsServer, execution: str) -> None:
    command = [*TMS, "submit", "--execution", execution, "-"]
    completed = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command],
        capture_output=True,
        env={**os.environ, "TMS_URL": tms.url, "TMS_API_TOKEN": tms.token},
        check=False,
    )
    assert (completed.returncode, completed.stderr.count(b"\n")) == (1, 1)
    assert completed.stderr.startswith(b"tms: standard input")


def test_each_bad_file_is_one_line_and_json_has_them_by_file(tmp_path: Path, submit: Submit) -> None:
    for name, (content, _) in BAD.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    (tmp_path / "good.xml").write_text(GOOD.format("s"))
    completed = submit("--json", *BAD, "good.xml")
    assert completed.returncode == 1
    lines = completed.stderr.decode().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["tms"] * len(BAD)
    response = json.loads(completed.stdout)
    assert response["results"] == {"total": 3, "passed": 2, "failed": 0, "skipped": 1, "flaky": 0}
    assert list(response["problems"]) == list(BAD)
    assert [f"tms: {problem}" for each in response["problems"].values() for problem in each] == lines


def test_a_bad_file_alone_ends_the_shard_as_error(tmp_path: Path, submit: Submit, stored: Any) -> None:
    (tmp_path / "a.xml").write_text("<html/>")
    completed = submit("a.xml")
    assert completed.returncode == 1
    tests, shard = stored()
    assert (tests, shard.status) == ({}, "error")


def test_names_of_files_alone_that_do_not_exist_are_wrong_usage(
    tms: TmsServer, execution: str, submit: Submit
) -> None:
    completed = submit("*.xml")
    assert (completed.returncode, completed.stdout) == (2, b"")
    assert b"there is no file '*.xml', and nothing was sent" in completed.stderr
    with tms.client() as client:
        assert [shard.status for shard in client.get_execution(execution).shard_results] != ["error"]


def test_a_suite_that_failed_as_a_whole_is_not_green(tmp_path: Path, submit: Submit, stored: Any) -> None:
    (tmp_path / "a.xml").write_text('<testsuite name="db"><error message="down"/></testsuite>')
    completed = submit("a.xml")
    assert (completed.returncode, completed.stderr) == (0, b"")
    tests, shard = stored()
    assert (tests["db"]["status"], tests["db"]["error"], shard.status) == ("failed", "down", "failed")


def test_what_is_no_result_of_one_test_is_the_shard_s(tmp_path: Path, submit: Submit, stored: Any) -> None:
    (tmp_path / "a.xml").write_text(
        """<testsuite name="s"><properties><property name="os" value="linux"/></properties>
        <testcase name="a"><properties><property name="step" value="1"/><property name="step" value="2"/></properties>
        <system-out>[[ATTACHMENT|shot.png]]</system-out></testcase></testsuite>"""
    )
    assert submit("a.xml").returncode == 0
    tests, shard = stored()
    assert tests["s::a"]["properties"] == {"step": ["1", "2"]}
    assert tests["s::a"]["artifacts"] == [{"name": "shot.png", "kind": "screenshot", "path": "shot.png"}]
    assert shard.metadata["suites"] == {"s": {"os": "linux"}}


def test_a_server_s_refusal_is_one_line_with_the_bad_file(
    tms: TmsServer, tmp_path: Path, submit: Submit
) -> None:
    (tmp_path / "a.xml").write_text("<html/>")
    completed = submit("--execution", "exec_none", "a.xml")
    assert (completed.returncode, completed.stdout) == (1, b"")
    (line,) = completed.stderr.decode().splitlines()
    assert line.startswith("tms: a.xml, line 1: this is not JUnit XML")
    assert "nothing was sent: " in line


def test_equal_tests_of_several_files_stay_distinct(tmp_path: Path, submit: Submit, stored: Any) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.xml").write_text(
            f'<testsuite name="{name}"><testcase classname="K" name="t"/></testsuite>'
        )
    assert submit("a.xml", "b.xml", "a.xml").returncode == 0
    tests, shard = stored()
    assert list(tests) == ["K::t", "b::K::t", "K::t #2"]
    assert shard.results.total == 3


@pytest.mark.slow
def test_100_000_tests_of_one_name_arrive(
    tmp_path: Path, submit: Submit, stored: Any, tms: TmsServer
) -> None:
    cases = '<testcase name="same"/>' * 99_999
    (tmp_path / "a.xml").write_text(
        f"<testsuite>{cases}<testcase name='same'><failure/></testcase></testsuite>"
    )
    completed = submit("a.xml")
    assert (completed.returncode, completed.stderr) == (0, b"")
    assert completed.stdout.endswith(b"shard 1: 1 failed, 99999 passed\n")
