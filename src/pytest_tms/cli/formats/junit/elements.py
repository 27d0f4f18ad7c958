"""The elements of JUnit XML while they are open: suites, test cases, and the details of both."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping
from functools import cached_property

from pytest_tms.cli.formats.bounded_text import MAX_TEXT, BoundedText
from pytest_tms.cli.formats.failure_text import error_of, longrepr_of, message_and_body
from pytest_tms.cli.formats.junit.dialects import (
    FAILED,
    PATH_ATTRIBUTES,
    RETRIED,
    SKIPPED,
    UNTITLED_SUITES,
    counts_assertions,
    has_inexact_totals,
    is_script,
    module_of,
)
from pytest_tms.text import clean, first_line, shorten

MAX_CASE_TEXT = 4_000_000
"""Characters of all texts of one test."""
MAX_CASE_DETAILS = 2000
"""Details of one test that are kept, in addition to the first of each name."""
MAX_TITLE = 10_000
"""Characters of a title."""
MAX_SUITE_TITLES = 20
"""Names of nested suites in a title, the innermost."""


class Suite:
    """A ``testsuite``: its attributes, and the number of tests in it and in the suites below it."""

    def __init__(
        self, attributes: Mapping[str, str], parent: Suite | None = None, *, is_named: bool = True
    ) -> None:
        """Open a suite; ``is_named`` is false for ``testsuites``, whose name is that of the runner."""
        self.attributes = attributes
        self.parent = parent
        self.is_named = is_named
        self.name = clean(attributes.get("name") or "", limit=MAX_TITLE).strip()
        file = attributes.get("file") or attributes.get("filepath") or ""
        self.file: str = clean(file) or (parent.file_of_next or parent.file if parent else "")
        self.file_of_next: str = ""
        """The file of the suites that follow in this one, if an empty suite before them names it."""
        self.cases = self.failed = self.failures = self.skipped = 0
        self.has_inexact_totals: bool = has_inexact_totals(self.name, attributes) or (
            parent is not None and parent.has_inexact_totals
        )

    @cached_property
    def titles(self) -> list[str]:
        """The names of the suites around this one and its own, without those that only repeat the file."""
        names: deque[str] = deque(maxlen=MAX_SUITE_TITLES)
        suite: Suite | None = self
        while suite is not None and suite.parent is not None:
            if suite.is_named and suite.name and suite.name not in UNTITLED_SUITES:
                repeats_file = suite.name in (self.file, module_of(self.file)) or self.file.endswith(
                    f"/{suite.name}"
                )
                if not repeats_file and suite.name not in names:
                    names.appendleft(suite.name)
            suite = suite.parent
        return list(names)

    @cached_property
    def key(self) -> str:
        """The identity of this suite: its names, and the project if it is one of Playwright."""
        project = self.attributes.get("hostname", "") if is_script(self.name) else ""
        return "\n".join([*self.titles, project])

    def count(self, case: Case, status: str) -> None:
        """Count a test of this suite."""
        self.cases += 1
        self.failed += status == "failed"
        self.skipped += status == "skipped"
        if case.details:
            self.failures += len(case.named(FAILED)) + len(case.named(RETRIED))
        if not self.has_inexact_totals:
            self.has_inexact_totals = counts_assertions(case.classname)

    def describe_missing(self) -> str:
        """Return how its totals exceed the tests in it, as part of a sentence; "" if they do not."""
        failed = total(self.attributes, "failures", "errors")
        tests = total(self.attributes, "tests")
        omitted = total(self.attributes, "skipped", "skip", "disabled", "ignored", "notrun") - self.skipped
        if failed > self.failures and not self.failed:
            return f"its totals say that {failed} failed, and no failed test is in it"
        if tests and not self.cases:
            return f"its totals say {tests} tests, and none is in it"
        if tests > self.cases + max(0, omitted) and not self.has_inexact_totals:
            return f"its totals say {tests} tests, and {self.cases} are in it"
        return ""

    def assume_totals(self) -> None:
        """Count as many tests and failures as the totals say, so that suites around it are not named too."""
        self.failed = max(self.failed, total(self.attributes, "failures", "errors"))
        self.cases = max(self.cases, total(self.attributes, "tests"))

    def close(self) -> Suite:
        """Add the counts to those of the suite around it, and return that suite; the outermost has none."""
        parent = self.parent or self
        parent.cases += self.cases
        parent.failed += self.failed
        parent.failures += self.failures
        parent.skipped += self.skipped
        parent.has_inexact_totals |= self.has_inexact_totals
        if self.name == "Root Suite" and self.attributes.get("file") and not self.cases:
            parent.file_of_next = self.file  # mocha-junit-reporter
        return parent


class Case:
    """A ``testcase``."""

    def __init__(self, attributes: Mapping[str, str], suite: Suite, parent: Case | None) -> None:
        """Open a test of ``suite``; ``parent`` is the test case around it, which some runners write."""
        self.attributes = attributes
        self.suite = suite
        self.parent = parent
        self.details: list[Detail] = []
        self.stdout: list[BoundedText] = []
        self.stderr: list[BoundedText] = []
        self.remaining_text = MAX_CASE_TEXT
        self._tags: set[str] = set()

    @cached_property
    def classname(self) -> str:
        """The class of the test."""
        found = self.attributes
        text = found.get("classname") or found.get("className") or found.get("class") or ""
        return clean(text, limit=MAX_TITLE).strip()

    def add(self, detail: Detail) -> None:
        """Keep a detail that is complete, unless the test has too many."""
        if len(self.details) < MAX_CASE_DETAILS or detail.tag not in self._tags:
            self._tags.add(detail.tag)
            self.details.append(detail)

    def named(self, tags: Container[str]) -> list[Detail]:
        """Return the details of these names, in order."""
        return [detail for detail in self.details if detail.tag in tags]


class Detail:
    """A failure, a skip, output, a property or an attachment, of a test or of a suite."""

    def __init__(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.content = BoundedText()
        self.trace = BoundedText()
        self.message_element = BoundedText()
        self.path_element = BoundedText()
        self.targets = [self.content]
        """The text that each open element belongs to, the innermost last."""

    @cached_property
    def body(self) -> str:
        """The text; in Surefire's reports the stack trace is in an element of its own."""
        parts = [str(part).strip("\r\n") for part in (self.content, self.trace)]
        return "\n".join(part for part in parts if part.strip())

    @cached_property
    def message(self) -> str:
        """The whole message."""
        return clean(self.attributes.get("message") or str(self.message_element), limit=MAX_TEXT).strip()

    @cached_property
    def error(self) -> str | None:
        """The message, after the exception's name if it lacks it; its first line if the text repeats it.

        Without a message, the first line of a failure's text, and all of a skip's text.
        """
        if self.tag in SKIPPED:
            message = self.message or self.body.strip()
        else:
            message = error_of(self.message, self.body) or ""
        kind = first_line(self.attributes.get("type") or "")
        if kind.endswith(("Error", "Exception")) and kind.rpartition(".")[2] not in message:
            message = f"{kind}: {message}" if message else kind
        return shorten("\n".join(line.rstrip() for line in (message or kind).splitlines())) or None

    @property
    def longrepr(self) -> str:
        """The text, after the message unless ``error`` or the text contains it."""
        return longrepr_of(self.message, self.body, self.error)

    @property
    def message_and_body(self) -> str:
        """The text, after the message unless the text contains it."""
        return message_and_body(self.message, self.body)

    @property
    def path(self) -> str:
        """The path that an attachment names."""
        named = (self.attributes.get(name) for name in PATH_ATTRIBUTES)
        return next((path for path in named if path), str(self.path_element) or str(self.content)).strip()

    @property
    def name_and_value(self) -> tuple[str, str]:
        """The name and the value of a property, which is an attribute or the text."""
        name = clean(self.attributes.get("name") or "", limit=MAX_TITLE)
        value = self.attributes.get("value")
        return name, str(self.content).strip() if value is None else clean(value, limit=MAX_TEXT)


def total(attributes: Mapping[str, str], *names: str) -> int:
    """Return the sum of these totals; a value that is not a number is 0."""
    texts = (attributes.get(name, "").strip() for name in names)
    return sum(int(text) for text in texts if text.isdecimal() and len(text) < 16)
