"""The formats of exports: their names, file extensions and content types, and the writer of each.

The command loads this for its help: standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pytest_tms.wire.base import ExportFormat, TestStatus
    from pytest_tms.wire.executions import ExecutionStatus
    from pytest_tms.wire.history import RunChanges

    Test = Mapping[str, Any]
    ReadTests = Callable[[TestStatus | None], Iterable[Test]]
    """Returns the tests of an execution, of one status or all of them."""
    Writer = Callable[..., Iterator[bytes]]

FAILED_FIRST: tuple[TestStatus, ...] = ("failed", "skipped", "passed")


class Format(NamedTuple):
    """A format: ``writer`` is the name of its function in the module ``pytest_tms.exports.{name}``.

    ``extension`` ends the names of its files. A format that people read lists the failed tests first.
    One with ``has_changes`` names new failures.
    """

    name: ExportFormat
    writer: str
    extension: str
    content_type: str
    is_failed_first: bool = False
    has_changes: bool = False


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format("junit", "write_junit_xml", "xml", "application/xml"),
        Format("json", "write_json", "json", "application/json"),
        Format("csv", "write_csv", "csv", "text/csv; charset=utf-8"),
        Format("ctrf", "write_ctrf", "ctrf.json", "application/json"),
        Format("markdown", "write_markdown", "md", "text/markdown; charset=utf-8", has_changes=True),
        Format("html", "write_html", "html", "text/html; charset=utf-8", is_failed_first=True),
    )
}
"""The formats by their names."""


def write_export(
    name: str, execution: ExecutionStatus, read_tests: ReadTests, changes: RunChanges | None = None
) -> Iterator[bytes]:
    """Yield an execution and its tests in a format; ``read_tests`` is called when the first part is needed.

    ``changes`` is of use to formats with ``has_changes``.

    Raises:
        KeyError: The format does not exist.
    """
    chosen = FORMATS[name]
    write: Writer = getattr(import_module(f"pytest_tms.exports.{name}"), chosen.writer)
    if chosen.has_changes:
        return write(execution, read_tests(None), changes=changes)
    if chosen.is_failed_first:
        return write(execution, chain.from_iterable(map(read_tests, FAILED_FIRST)))
    return write(execution, read_tests(None))
