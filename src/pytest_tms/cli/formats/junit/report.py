"""Reads JUnit XML as a stream of results; memory holds one test at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.parsers import expat

from pytest_tms import wire
from pytest_tms.cli.formats import MAX_PROBLEMS, attachments
from pytest_tms.cli.formats.bounded_text import BoundedText
from pytest_tms.cli.formats.junit.dialects import (
    DETAILS,
    OUTPUT,
    PATH_ATTRIBUTES,
    STACK_TRACE,
    SUITE_FAILED,
    SUITES,
)
from pytest_tms.cli.formats.junit.elements import MAX_CASE_DETAILS, Case, Detail, Suite
from pytest_tms.cli.formats.junit.parser import Parser
from pytest_tms.cli.formats.junit.results import add_property, result_of_case, result_of_suite
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.report_file import ReportFile
from pytest_tms.text import clean, first_line

MAX_DEPTH = 1000
"""Elements that may be open at the same time."""
MAX_SUITE_PROPERTIES = 16_000
"""Characters of the properties of all suites of a file."""


class JUnitReport:
    """One file; see ``Report``. It is the handler of its parser."""

    def __init__(self, source: ReportFile, text: Iterator[str], node_ids: NodeIds) -> None:
        self.status: wire.SubmittedStatus | None = None
        self.problems: list[str] = []
        self.properties: dict[str, dict[str, Any]] = {}
        self.artifacts: list[wire.Artifact] = []
        self._source = source
        self._text = text
        self._node_ids = node_ids
        self._remaining_properties = MAX_SUITE_PROPERTIES
        self._results: list[wire.TestResult] = []
        self._parser = Parser(self, skipped_lines=source.skipped_lines)

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Yield each test and each failure of a whole suite when it ends."""
        count = 0
        try:
            for chunk in self._text:
                self._parser.feed(chunk)
                count += len(self._results)
                yield from self._take_results()
            self._parser.close()
        except (expat.ExpatError, ValueError, OSError) as error:
            count += len(self._results)
            yield from self._take_results()
            self._add_problem(self._parser.describe(error, count))
        yield from self._take_results()
        self._text = iter(())

    def _take_results(self) -> Iterator[wire.TestResult]:
        results, self._results = self._results, []
        yield from results

    def _add_problem(self, sentence: str) -> None:
        self.status = "error"
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{self._source.name}, {sentence}")

    # The parser's handler -----------------------------------------------------------------------

    def start_document(self) -> None:
        """Prepare for a document."""
        self._suite = Suite({})
        self._case: Case | None = None
        self._detail: Detail | None = None
        self._open: list[Suite | Case | Detail | None] = []
        self._root: Mapping[str, str] = {}
        self.is_complete = False

    def start_element(self, tag: str, attributes: dict[str, str]) -> None:
        """Open a suite, a test or a detail; other elements are kept as None."""
        if len(self._open) >= MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} elements are open: write a report that nests fewer")
        tag = tag.rpartition(":")[2].lower()
        opened: Suite | Case | Detail | None = None
        if self._detail is not None:
            self._start_in_detail(self._detail, tag)
        elif tag == "testcase":
            opened = self._case = Case(attributes, self._suite, self._case)
        elif tag in SUITES:
            opened = self._suite = Suite(attributes, self._suite, is_named=tag == "testsuite")
            if not self._open:
                self._root = attributes
        elif not self._open:
            raise ValueError(
                f"this is not JUnit XML: its root is <{clean(tag[:50])}>, not <testsuites>, <testsuite> or "
                "<testcase>: submit the report that the test runner wrote"
            )
        elif tag in DETAILS:
            opened = self._detail = Detail(tag, attributes)
            if tag in OUTPUT:
                self._detail.targets = [self._start_output(tag)]
        self._open.append(opened)

    def end_element(self, _: str) -> None:
        """Close the innermost element."""
        closed = self._open.pop()
        if isinstance(closed, Detail):
            self._detail = None
            if self._case is not None:
                self._case.add(closed)
            else:
                self._end_suite_detail(closed)
        elif isinstance(closed, Case):
            self._case = closed.parent
            result = result_of_case(closed, self._root, self._node_ids, self._source.folder)
            self._results.append(result)
        elif isinstance(closed, Suite):
            self._end_suite(closed)
        elif self._detail is not None:
            self._detail.targets.pop()
        self.is_complete = not self._open

    def character_data(self, text: str) -> None:
        """Append text to the innermost detail, unless its test has too much text."""
        if self._detail is None:
            return
        if self._case is not None:
            self._case.remaining_text -= len(text)
            if self._case.remaining_text < 0:
                return
        self._detail.targets[-1].append(text)

    # Details and suites -------------------------------------------------------------------------

    def _start_in_detail(self, detail: Detail, tag: str) -> None:
        """Choose the text that an element inside a detail belongs to: its own, or that around it."""
        target = detail.targets[-1]
        if tag in STACK_TRACE:
            target = detail.trace
        elif tag in OUTPUT:
            target = self._start_output(tag)
        elif tag == "message":
            target = detail.message_element
        elif tag in PATH_ATTRIBUTES and detail.tag == "attachment":
            target = detail.path_element
        detail.targets.append(target)

    def _start_output(self, tag: str) -> BoundedText:
        text = BoundedText()
        kept: list[BoundedText] = getattr(self._case, OUTPUT[tag]) if self._case else []
        if len(kept) < MAX_CASE_DETAILS:
            kept.append(text)
        return text

    def _end_suite(self, suite: Suite) -> None:
        if missing := suite.describe_missing():
            name = f"suite {first_line(suite.name, limit=200)!r}" if suite.name else "a suite without a name"
            self._add_problem(
                f"line {self._parser.line}, {name}: {missing}; its shard ends as error: see in the runner's"
                " output which tests it left out"
            )
            suite.assume_totals()
        self._suite = suite.close()

    def _end_suite_detail(self, detail: Detail) -> None:
        """Keep a detail of a whole suite: a failure becomes a test that is named after the suite."""
        suite = self._suite
        if detail.tag in SUITE_FAILED:
            self._results.append(result_of_suite(suite, detail, self._node_ids))
            suite.failed += 1
            suite.failures += 1
        elif detail.tag in OUTPUT:
            paths, _ = attachments.in_output(str(detail.targets[0]))
            self._add_artifacts(paths)
        elif detail.tag == "attachment":
            self._add_artifacts([detail.path])
        elif detail.tag == "property":
            name, value = detail.name_and_value
            if attachments.is_attachment(name, value):
                self._add_artifacts([value])
            elif (name or value) and len(name) + len(value) <= self._remaining_properties:
                self._remaining_properties -= len(name) + len(value)
                add_property(self.properties.setdefault(suite.name, {}), name, value)

    def _add_artifacts(self, paths: list[str]) -> None:
        remaining = attachments.MAX_ARTIFACTS - len(self.artifacts)
        self.artifacts += attachments.artifacts([path for path in paths if path], self._source.folder)[
            :remaining
        ]
