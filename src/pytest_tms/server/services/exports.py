"""Exports: an execution with its tests as a file, read from the database a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from pytest_tms import wire
from pytest_tms.exports.formats import FORMATS, write_export
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services.execution_status import execution_status
from pytest_tms.server.services.executions import get_snapshot, list_tests
from pytest_tms.server.store import run_changes
from pytest_tms.server.store.database import Database

CHANGED = 1000
"""Tests of each kind of change that an export names."""
PAGE = 50
"""Tests that are read at a time: between two pages, the export holds no connection and no transaction."""


class ExportedFile(NamedTuple):
    """The file of an export: its name, its content type, and its content in parts."""

    name: str
    content_type: str
    content: Iterator[bytes]


def export_execution(database: Database, urls: Urls, execution_id: str, format_name: str) -> ExportedFile:
    """Return an execution in one of ``FORMATS``. Its content is read while it is sent.

    Results that arrive meanwhile may be in it.

    Raises:
        NotFound: The execution does not exist.
    """
    snapshot = get_snapshot(database, execution_id)
    status = execution_status(snapshot, urls)
    chosen = FORMATS[format_name]
    changes = None
    if chosen.has_changes:
        with database.read() as connection:
            found = run_changes.find(connection, snapshot.execution, limit=CHANGED)
        changes = run_changes.as_message(execution_id, found)

    def read_tests(only: wire.TestStatus | None) -> Iterator[dict[str, Any]]:
        after: int | None = 0
        while after is not None:
            tests, after = list_tests(database, execution_id, status=only, after=after, limit=PAGE)
            yield from tests if format_name == "json" else map(_decoded, tests)

    return ExportedFile(
        name=f"{execution_id}.{chosen.extension}",
        content_type=chosen.content_type,
        content=write_export(format_name, status, read_tests, changes),
    )


def _decoded(test: dict[str, Any]) -> dict[str, Any]:
    """Return a test whose fields are values; JSON exports keep the text that the runner sent."""
    return {name: _value(field) if isinstance(field, msgspec.Raw) else field for name, field in test.items()}


def _value(field: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(field)
    except msgspec.DecodeError:  # a number that Python's types do not hold
        return bytes(field).decode("utf-8", "replace")
