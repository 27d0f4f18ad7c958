"""Readers of the files that `tms submit` takes: one module per format, all with the interface ``Report``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Protocol

from pytest_tms import wire
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.source import Source

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
    """A file that cannot be read, or is of no known format: no results and one problem."""

    def __init__(self, problem: str) -> None:
        self.status: wire.SubmittedStatus | None = "error"
        self.problems = [problem]
        self.properties: dict[str, dict[str, Any]] = {}
        self.artifacts: list[wire.Artifact] = []

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Yield nothing."""
        return iter(())


def read_report(source: Source, node_ids: NodeIds) -> Report:
    """Return the report in ``source``; how its text begins tells the format."""
    text = source.text()
    start = ""
    try:
        for chunk in text:
            start = chunk.lstrip(BLANK)
            source.skipped_lines += chunk[: len(chunk) - len(start)].count("\n")
            if start:
                break
    except (OSError, ValueError) as error:
        return Unreadable(f"{source.name}: {reason(error)}")
    if start.startswith("<"):
        from pytest_tms.cli.formats.junit import JUnitReport

        return JUnitReport(source, chain((start,), text), node_ids)
    if start.startswith("{"):
        from pytest_tms.cli.formats.report_log import ReportLog

        return ReportLog(source, chain((start,), text), node_ids)
    return Unreadable(
        f"{source.name} is neither JUnit XML nor a report log of pytest-reportlog: submit one of these"
    )


def reason(error: Exception) -> str:
    """Return why a file cannot be read and what to do, as part of a sentence."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}: name a file that can be read"
    return str(error)


BLANK = "".join(map(chr, range(33))) + "\x85\xa0\ufeff\ufffe\ufffd"
"""Characters that may come before a report: white space, control characters, byte order marks."""
