"""Readers of the reports that `tms submit` sends: a module per format, all with the interface ``Report``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Protocol

from pytest_tms import wire
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.report_file import ReportFile

MAX_PROBLEMS = 20
"""Problems of one file that are named."""


class Report(Protocol):
    """One file while it is read.

    Iterate it once: results come as they are read, each under a node id of its own. Nothing in a file makes
    the iteration raise. Afterwards ``status`` is how the file says that its run ended (None: as its tests
    did), ``problems`` are sentences that begin with the file's name, ``properties`` are those of whole suites
    by the suite's name, and ``artifacts`` are files that belong to no single test.
    """

    status: wire.SubmittedStatus | None
    problems: list[str]
    properties: dict[str, dict[str, Any]]
    artifacts: list[wire.Artifact]

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Yield each result in the order of the file."""


class Unreadable:
    """A file that cannot be read or has an unknown format: no results and one problem."""

    def __init__(self, problem: str) -> None:
        self.status: wire.SubmittedStatus | None = "error"
        self.problems = [problem]
        self.properties: dict[str, dict[str, Any]] = {}
        self.artifacts: list[wire.Artifact] = []

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Yield nothing."""
        return iter(())


def read_report(source: ReportFile, node_ids: NodeIds) -> Report:
    """Return the report in ``source``; the beginning of its text determines the format."""
    text = source.text()
    head = ""
    try:
        for chunk in text:
            content = head + chunk if head else chunk.lstrip(BLANK)
            if not head:
                source.skipped_lines += chunk[: len(chunk) - len(content)].count("\n")
            head = content
            if len(head) >= HEAD or head.startswith("<"):
                break
    except (OSError, ValueError) as error:
        if not head:
            return Unreadable(f"{source.name}: {reason(error)}")
        text = _raising(error)
    text = chain((head,), text)
    if head.startswith("<"):
        from pytest_tms.cli.formats.junit import JUnitReport

        return JUnitReport(source, text, node_ids)
    if head.startswith("{"):
        return _json_report(head, source, text, node_ids)
    return Unreadable(f"{source.name} {UNKNOWN_FORMAT}")


def _json_report(head: str, source: ReportFile, text: Iterator[str], node_ids: NodeIds) -> Report:
    """Return the report in a JSON document, or in lines of JSON."""
    if REPORT_LOG.search(head):
        from pytest_tms.cli.formats.report_log import ReportLog

        return ReportLog(source, text, node_ids)
    found = JSON_FORMAT.search(head)
    if found is not None and found["ctrf"]:
        from pytest_tms.cli.formats.ctrf import CtrfReport

        return CtrfReport(source, text, node_ids)
    if found is not None:
        from pytest_tms.cli.formats.allure import AllureReport

        return AllureReport([source], node_ids, text=text)
    return Unreadable(f"{source.name} {UNKNOWN_FORMAT}")


def _raising(error: Exception) -> Iterator[str]:
    raise error
    yield


def reason(error: Exception) -> str:
    """Return why a file cannot be read and what to do, as part of a sentence."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}: name a file that can be read"
    return str(error)


HEAD = 1 << 16
"""Characters at the beginning of a JSON file that determine its format."""
REPORT_LOG = re.compile(r'"\$report_type"\s*:')
JSON_FORMAT = re.compile(
    r'"(?:(?P<ctrf>results|reportFormat|specVersion)|uuid|historyId|testCaseId|fullName|statusDetails)"\s*:'
)
"""Members by which CTRF and Allure are recognised."""
UNKNOWN_FORMAT = "is neither JUnit XML, pytest-reportlog, CTRF nor an Allure result: submit one of these"
BLANK = "".join(map(chr, range(33))) + "\x85\xa0\ufeff\ufffe\ufffd"
"""Characters that may come before a report: white space, control characters, byte order marks."""
