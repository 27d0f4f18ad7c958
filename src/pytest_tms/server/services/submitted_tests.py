"""Tests of a message as they are stored."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pytest_tms import wire
from pytest_tms.server.domain import test_keys
from pytest_tms.server.domain.column_values import plain
from pytest_tms.server.domain.page_details import details
from pytest_tms.server.store.results import TestRow

MAX_RETRIES = 2**31 - 1
"""The largest number of an integer column."""
MAX_ERROR = 1000
"""Characters of an error that are stored in its column; the whole text is in the document."""


def to_rows(tests: Sequence[wire.TestResult], documents: Sequence[str]) -> list[TestRow]:
    """Return tests as rows; ``documents`` are their JSON texts as they were sent."""
    return [
        TestRow(
            test_key=key,
            status=test.status,
            title=plain(test.title),
            file=plain(test.file or ""),
            duration=round(test.duration or 0),
            retries=min(test.retries or 0, MAX_RETRIES),
            error=None if test.error is None else plain(test.error[:MAX_ERROR]),
            document=document,
            shown=msgspec.json.encode(details(test)).decode() if test.status == "failed" else None,
        )
        for key, test, document in zip(test_keys.keys(tests), tests, documents, strict=True)
    ]
