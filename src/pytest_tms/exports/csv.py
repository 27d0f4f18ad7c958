"""CSV (RFC 4180): a row for each test, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_tms.exports.fields import (
    in_chunks,
    is_quarantined,
    number,
    retries_of,
    status_of,
    text,
    texts,
    title_of,
)
from pytest_tms.wire.executions import ExecutionStatus

COLUMNS = (
    *("executionId", "nodeId", "title", "status", "outcome", "durationMs", "retries", "file"),
    *("tags", "owner", "worker", "startedAt", "error", "quarantined"),
)
MAX_CELL = 32_000
"""Characters of a cell; spreadsheets keep 32,767."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Beginnings of a cell that a spreadsheet may execute; the last four are the full-width forms."""


def write_csv(execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a header line and a line for each test, in UTF-8 with a byte order mark, which Excel needs.

    A cell that a spreadsheet would execute as a formula begins with an apostrophe.
    """
    yield "\ufeff".encode()
    yield from in_chunks(_lines(execution, tests))


def _lines(execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for test in tests:
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        row = (
            *(execution.execution_id, text(test, "nodeId"), title_of(test), status_of(test)),
            *(text(test, "outcome"), number(test, "duration"), retries_of(test), text(test, "file")),
            *(" ".join(texts(test, "tags")), text(test, "owner"), text(test, "worker")),
            *(text(test, "startedAt"), text(test, "error"), "true" if is_quarantined(test) else ""),
        )
        writer.writerow([cell(value) if isinstance(value, str) else value for value in row])
    yield buffer.getvalue()


def cell(value: str) -> str:
    """Return a text as a cell that no spreadsheet executes."""
    value = value.replace("\0", "\ufffd")[:MAX_CELL]
    return f"'{value}" if value.lstrip(" ").startswith(FORMULA) else value
