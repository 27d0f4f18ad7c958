"""Test cases as CSV: a row for each suite and environment in which a case has a result."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from pytest_tms.exports.csv import cell
from pytest_tms.exports.fields import in_chunks
from pytest_tms.wire.cases import Case

COLUMNS = ("id", "title", "project", "planned", "tests", "testSuite", "environment", "status", "lastRun")


def write_cases(cases: Iterable[Case]) -> Iterator[bytes]:
    """Yield a header line and the lines of each case, in UTF-8 with a byte order mark, which Excel needs.

    A case without a result has one line. A cell that a spreadsheet would execute as a formula begins with an
    apostrophe.
    """
    yield "\ufeff".encode()
    yield from in_chunks(_lines(cases))


def _lines(cases: Iterable[Case]) -> Iterator[str]:
    yield _line(COLUMNS)
    for case in cases:
        tests = "\n".join(test.node_id or test.title for test in case.tests)
        start = (case.id, case.title, case.project, "yes" if case.is_planned else "no", tests)
        for result in case.results:
            yield _line((*start, result.test_suite, result.environment, result.status, result.at))
        if not case.results:
            yield _line((*start, "", "", "", ""))


def _line(values: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow([cell(value) for value in values])
    return buffer.getvalue()
