"""JUnit XML: damaged, hostile and large files."""

from __future__ import annotations

import gzip
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
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.report_file import ReportFile
from tests.helpers.junit_dialects import DIALECTS
from tests.helpers.report_files import names, only_result, read

TWO = '<testsuite name="s">\n<testcase name="a"/>\n<testcase name="b"><failure/></testcase>\n'


@pytest.mark.parametrize(
    ("rest", "what"),
    [
        ("", "line 4: no element found (the file is truncated); 2 tests before it are kept"),
        ('<testcase name="c"', "line 4: unclosed token (the file is truncated); 2 tests before it are kept"),
        ('<testcase name="c">', "line 4: no element found (the file is truncated)"),
        ("<testcase name='c'><failure><![CDATA[x", "line 4: unclosed CDATA section (the file is truncated)"),
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
    assert only_result(tmp_path, content).status == "passed"


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


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(cases: int) -> int:
        path = tmp_path / "report"
        with path.open("w") as file:
            file.write("<testsuite>")
            for number in range(cases):
                file.write(f'<testcase name="{number}"><failure>{"x" * 2000}</failure></testcase>')
            file.write("</testsuite>")
        tracemalloc.start()
        for _ in read_report(ReportFile(path), NodeIds()):
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
    reading: Iterator[wire.TestResult] = iter(read_report(ReportFile(path), NodeIds()))
    assert next(reading).title == "s::a"
    del reading  # a file left open is a ResourceWarning, which is an error here
