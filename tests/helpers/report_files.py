"""Reads a report as `tms submit` does, without a server."""

from __future__ import annotations

from pathlib import Path

from pytest_tms import wire
from pytest_tms.cli.formats import Report, read_report
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.report_file import ReportFile


def read(
    folder: Path, content: str | bytes, node_ids: NodeIds | None = None
) -> tuple[list[wire.TestResult], Report]:
    """The results in a file of this content, and the report after it was read."""
    path = folder / "report"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    report = read_report(ReportFile(path), node_ids or NodeIds())
    return list(report), report


def only_result(tmp_path: Path, content: str | bytes) -> wire.TestResult:
    """The only result of a file that has no problem."""
    (result,), report = read(tmp_path, content)
    assert report.problems == []
    return result


def result_of_case(tmp_path: Path, inside: str, attributes: str = "") -> wire.TestResult:
    return only_result(
        tmp_path, f'<testsuite><testcase name="t" {attributes}>{inside}</testcase></testsuite>'
    )


def names(tmp_path: Path, content: str) -> list[str | None]:
    results, report = read(tmp_path, content)
    assert report.problems == []
    return [each.node_id for each in results]
