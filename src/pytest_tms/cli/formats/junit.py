"""JUnit XML as test runners and converters write it, read as results; memory holds one test at a time."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from xml.parsers import expat

from pytest_tms import wire
from pytest_tms.cli.formats import MAX_PROBLEMS, attachments, reason
from pytest_tms.cli.formats.durations import milliseconds
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.cli.formats.source import Source
from pytest_tms.cli.formats.xml_text import Repair
from pytest_tms.text import clean, first_line, shorten

MAX_TEXT = 100_000
"""Characters of a traceback and of each output that are kept; more is cut in the middle."""
MAX_CASE_TEXT = 4_000_000
"""Characters of all texts of one test."""
MAX_CASE_ELEMENTS = 2000
"""Elements of one test that are kept, beside the first of each name."""
MAX_ATTEMPTS = 100
"""Attempts of one test that are kept, the newest."""
MAX_TITLE = 10_000
"""Characters of a title."""
MAX_DEPTH = 1000
"""Elements that may be open at a time."""
MAX_TAG_BYTES = 16 << 20
"""Bytes of one tag, its attributes included: the parser keeps it whole."""
MAX_SUITE_PROPERTIES = 16_000
"""Characters of the properties of all suites of a file."""

SUITES = ("testsuites", "testsuite")
FAILED = {
    **dict.fromkeys(("failure", "failed", "fail"), "failed"),
    **dict.fromkeys(("error", "errored", "broken", "timeout", "fatal"), "error"),
    "crash": "crashed",
    "crashed": "crashed",
}
"""Elements of a test that failed, with the outcome."""
SUITE_FAILED = ("failure", "error")
"""Elements of a suite that failed as a whole."""
FLAKY = {"flakyfailure": "failed", "flakyerror": "error"}
"""Surefire's elements for the failed attempts of a test that passed in the end."""
RERUN = {"rerunfailure": "failed", "rerunerror": "error"}
"""Surefire's elements for the later attempts of a test that never passed."""
TRIED_AGAIN = {**FLAKY, **RERUN}
SKIPPED = ("skipped", "skip", "ignored", "disabled", "notrun", "pending", "todo", "inconclusive")
"""Elements of a test that was not run."""
OUTPUT = {"system-out": "stdout", "system-err": "stderr"}
LEAVES = {*FAILED, *TRIED_AGAIN, *SKIPPED, *OUTPUT, "property", "attachment"}
"""Elements that are read whole; everything between them and the test is a mere wrapper."""
STACK_TRACE = ("stacktrace", "stack-trace")
PATH_ATTRIBUTES = ("path", "file", "filename", "filepath", "href", "src", "url")

FAILED_WORDS = {
    **dict.fromkeys(
        ("fail", "failed", "failure", "failing", "ko", "nok", "not ok", "unsuccessful"), "failed"
    ),
    **dict.fromkeys(("error", "errored", "errors", "broken", "not runnable", "notrunnable"), "error"),
    **dict.fromkeys(("crash", "crashed"), "crashed"),
    **dict.fromkeys(
        ("blocked", "aborted", "timeout", "timedout", "timed out", "killed", "interrupted", "ambiguous"), None
    ),
}
"""What runners write as a test's ``status``, ``result`` or ``outcome`` if it failed, with the outcome."""
SKIPPED_WORDS = {
    *SKIPPED,
    *("ignore", "suppressed", "excluded", "filtered", "deselected", "undefined", "untested", "cancelled"),
    *("canceled", "not run", "not executed", "notexecuted", "not started"),
}

SEPARATOR = re.compile(r"\s*(?:\.|:|/|\\|#|\$|>|›|»|\||→)|\s+[-–—]\s")
"""What follows a class's name in the name of its test."""
SCRIPT = re.compile(r".*\.[cm]?[jt]sx?", re.I)
"""The name of a JavaScript or TypeScript file."""
BROWSER = re.compile(r"(?:.*(?:chrom|firefox|webkit|safari)|(?:ms|desktop |microsoft )?edge$)", re.I)
"""The names that Playwright's projects have in its templates."""
UNTITLED_SUITES = ("pytest", "nosetests", "Root Suite", "Mocha Tests")
"""Names that a runner gives to every suite."""
ASSERTIONS = re.compile(r"(?:.*\.)?global|.*\.(?:c|cc|cpp|cxx|h|hh|hpp|hxx|mm)", re.I)
"""The class names of runners whose ``tests`` counts assertions: Catch2 and doctest."""
JUNK_AFTER_ROOT, MISPLACED_DECLARATION, INVALID_TOKEN = 9, 17, 4
NO_ELEMENT, UNCLOSED_TOKEN, UNCLOSED_CDATA = 3, 5, 20
CUT = (NO_ELEMENT, UNCLOSED_TOKEN, UNCLOSED_CDATA)
"""expat's numbers of errors."""
BYTE_ORDER_MARK = "\ufeff".encode()


class Text:
    """Text that arrives in pieces; only its beginning and its end are kept."""

    __slots__ = ("_head", "_head_length", "_left_out", "_tail", "_tail_length")

    def __init__(self) -> None:
        self._head: list[str] = []
        self._tail: list[str] = []
        self._head_length = self._tail_length = self._left_out = 0

    def append(self, piece: str) -> None:
        """Add a piece."""
        if self._head_length < MAX_TEXT:
            self._head.append(piece)
            self._head_length += len(piece)
            return
        self._tail.append(piece)
        self._tail_length += len(piece)
        if self._tail_length > 2 * MAX_TEXT:
            kept = "".join(self._tail)[-MAX_TEXT:]
            self._left_out += self._tail_length - len(kept)
            self._tail, self._tail_length = [kept], len(kept)

    def __str__(self) -> str:
        """Return the text; of a long one the beginning and the end, with a note of what is left out."""
        head, tail = "".join(self._head), "".join(self._tail)
        if self._head_length + self._tail_length + self._left_out <= MAX_TEXT:
            return clean(head + tail)
        half = MAX_TEXT // 2
        left_out = self._head_length + self._tail_length + self._left_out - 2 * half
        end = tail[-half:] if len(tail) >= half else (head + tail)[-half:]
        return clean(f"{head[:half]}\n… {left_out} characters left out …\n{end}")


class Suite:
    """An open ``testsuite``: its attributes, and what was found in it and in its suites."""

    def __init__(
        self, attributes: Mapping[str, str], above: Suite | None = None, *, is_named: bool = True
    ) -> None:
        """Open a suite; ``is_named`` is false for ``testsuites``, whose name is that of the runner."""
        self.attributes = attributes
        self.above = above
        self.is_named = is_named
        self.name = clean(attributes.get("name") or "", limit=MAX_TITLE).strip()
        file = attributes.get("file") or attributes.get("filepath") or ""
        self.file: str = clean(file) or (above.file_of_next or above.file if above else "")
        self.file_of_next: str = ""
        self.cases = self.failed = self.failures = self.skipped = 0
        self.counts_other_things: bool = (
            self.name in ("pytest", "pytest tests")  # which counts subtests
            or attributes.get("hostname") == "tbd"  # Catch2, which counts assertions
            or (above is not None and above.counts_other_things)
        )

    @cached_property
    def titles(self) -> list[str]:
        """Return the names that say more than the file: of the suites around it, then its own."""
        names: deque[str] = deque(maxlen=20)
        suite: Suite | None = self
        while suite is not None and suite.above is not None:
            if suite.is_named and suite.name and suite.name not in UNTITLED_SUITES:
                known = suite.name in (self.file, module_of(self.file)) or self.file.endswith(
                    f"/{suite.name}"
                )
                if not known and suite.name not in names:
                    names.appendleft(suite.name)
            suite = suite.above
        return list(names)

    @cached_property
    def key(self) -> str:
        """Return what tells this suite apart from others: its names, and the project of a script's suite."""
        is_script = SCRIPT.fullmatch(self.name) is not None
        return "\n".join([*self.titles, self.attributes.get("hostname", "") if is_script else ""])

    def count(self, case: Case, status: str) -> None:
        """Count a test of this suite."""
        self.cases += 1
        self.failed += status == "failed"
        self.skipped += status == "skipped"
        self.failures += len(case.named(FAILED)) + len(case.named(TRIED_AGAIN))
        self.counts_other_things |= ASSERTIONS.fullmatch(_class_of(case)) is not None

    def missing(self) -> str:
        """Return what the totals count and the suite does not hold, as a part of a sentence; else nothing."""
        failed = _count(self.attributes, "failures", "errors")
        tests = _count(self.attributes, "tests")
        left_out = _count(self.attributes, "skipped", "skip", "disabled", "ignored", "notrun") - self.skipped
        if failed > self.failures and not self.failed:
            return f"its totals say that {failed} failed, and no failed test is in it"
        if tests and not self.cases:
            return f"its totals say {tests} tests, and none is in it"
        if tests > self.cases + max(0, left_out) and not self.counts_other_things:
            return f"its totals say {tests} tests, and {self.cases} are in it"
        return ""


class Case:
    """An open ``testcase``."""

    def __init__(self, attributes: Mapping[str, str], suite: Suite, above: Case | None) -> None:
        self.attributes = attributes
        self.suite = suite
        self.above = above
        self.leaves: list[Leaf] = []
        self.stdout: list[Text] = []
        self.stderr: list[Text] = []
        self.room = MAX_CASE_TEXT
        self._tags: set[str] = set()

    def keep(self, leaf: Leaf) -> None:
        """Take an element that is complete, unless the test has too many."""
        if len(self.leaves) < MAX_CASE_ELEMENTS or leaf.tag not in self._tags:
            self._tags.add(leaf.tag)
            self.leaves.append(leaf)

    def named(self, tags: Any) -> list[Leaf]:
        """Return the elements of these names, in order."""
        return [leaf for leaf in self.leaves if leaf.tag in tags]


class Leaf:
    """An open element that is read whole: a failure, a skip, output, a property, an attachment."""

    def __init__(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.content = Text()
        self.trace = Text()
        self.message_element = Text()
        self.path_element = Text()
        self.targets = [self.content]

    @cached_property
    def body(self) -> str:
        """The text: the stack trace has an element of its own in Surefire's reports, inside white space."""
        parts = [str(part).strip("\r\n") for part in (self.content, self.trace)]
        return "\n".join(part for part in parts if part.strip())

    @cached_property
    def message(self) -> str:
        """The message, whole."""
        return clean(self.attributes.get("message") or str(self.message_element), limit=MAX_TEXT).strip()

    def whole(self, *, short: str | None = None) -> str:
        """Return the text, after the message unless the text repeats it or it is ``short``."""
        body, message = self.body, self.message
        if not message or message == short or _repeats(body, message):
            return body
        return f"{message}\n\n{body}" if body else message

    @cached_property
    def error(self) -> str | None:
        """The message, after the exception's name if it lacks it; its first line if the text repeats it.

        Of a failure without a message the first line of its text, of a skip all of it.
        """
        if self.tag in SKIPPED:
            message = self.message or self.body.strip()
        else:
            message = first_line(self.message or self.body)
            if self.message and not _repeats(self.body, self.message):
                message = self.message
        kind = first_line(self.attributes.get("type") or "")
        if kind.endswith(("Error", "Exception")) and kind.rpartition(".")[2] not in message:
            message = f"{kind}: {message}" if message else kind
        return shorten("\n".join(line.rstrip() for line in (message or kind).splitlines())) or None


class JUnit:
    """One file; see ``Report``. Defined entities and tags of many megabytes are refused."""

    def __init__(self, source: Source, text: Iterator[str], node_ids: NodeIds) -> None:
        self.status: wire.SubmittedStatus | None = None
        self.problems: list[str] = []
        self.properties: dict[str, dict[str, Any]] = {}
        self.artifacts: list[wire.Artifact] = []
        self._source = source
        self._text = text
        self._node_ids = node_ids
        self._properties_room = MAX_SUITE_PROPERTIES
        self._results: list[wire.TestResult] = []
        self._lines = source.skipped_lines
        self._begin()

    def _begin(self) -> None:
        """Prepare for a document: a file may hold several, one after another."""
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.specified_attributes = True  # a DTD's defaults could multiply a long text
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.EntityDeclHandler = self._entity
        self._fed = 0
        self._suite = Suite({})
        self._case: Case | None = None
        self._leaf: Leaf | None = None
        self._open: list[Suite | Case | Leaf | None] = []
        self._is_complete = False
        self._root: Mapping[str, str] = {}

    # Reading ------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Yield every testcase when it ends, and every failure of a whole suite, in the order of the file."""
        repair = Repair()
        count = 0
        try:
            for chunk in self._text:
                self._parse(repair.feed(chunk).encode())
                count += len(self._results)
                yield from self._take()
            self._parse(repair.finish().encode())
            self._parser.Parse(b"", True)
        except (expat.ExpatError, ValueError, OSError) as error:
            count += len(self._results)
            yield from self._take()
            self._problem(self._describe(error, count))
        yield from self._take()
        self._text = iter(())

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.Parse(data, False)
            except expat.ExpatError as error:
                rest = data[max(0, self._parser.ErrorByteIndex - self._fed) :]
                if not self._is_complete or not self._is_next_document(error.code, rest):
                    raise
                data = rest.removeprefix(BYTE_ORDER_MARK)
                self._lines += self._parser.ErrorLineNumber - 1
                self._begin()
                continue
            self._fed += len(data)
            if self._fed - self._parser.CurrentByteIndex > MAX_TAG_BYTES:
                raise ValueError(f"a tag is longer than {MAX_TAG_BYTES >> 20} MB: shorten its attributes")
            return

    @staticmethod
    def _is_next_document(code: int, rest: bytes) -> bool:
        if code == INVALID_TOKEN:
            return rest.startswith(BYTE_ORDER_MARK)
        return code in (JUNK_AFTER_ROOT, MISPLACED_DECLARATION) and rest.startswith(b"<")

    def _take(self) -> Iterator[wire.TestResult]:
        results, self._results = self._results, []
        yield from results

    def _problem(self, sentence: str) -> None:
        self.status = "error"
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{self._source.name}, {sentence}")

    def _describe(self, error: Exception, count: int) -> str:
        line = self._lines + max(1, self._parser.CurrentLineNumber)
        kept = f"; {count} tests before it are kept" if count else ""
        if isinstance(error, expat.ExpatError):
            what = expat.ErrorString(error.code)
            cut = " (the file is cut)" if error.code in CUT else ""
            return f"line {line}: {what}{cut}{kept}: write the report again and submit it again"
        return f"line {line}: {reason(error)}{kept}"

    def _entity(self, *_: object) -> None:
        raise ValueError("it defines entities, which no report needs: write the report without a DOCTYPE")

    # Elements -----------------------------------------------------------------------------------

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} elements are open: write a report that nests fewer")
        tag = tag.rpartition(":")[2].lower()
        opened: Suite | Case | Leaf | None = None
        if self._leaf is not None:
            self._start_inside(self._leaf, tag)
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
        elif tag in LEAVES:
            opened = self._leaf = Leaf(tag, attributes)
            if tag in OUTPUT:
                self._leaf.targets = [self._new_output(tag)]
        self._open.append(opened)

    def _start_inside(self, leaf: Leaf, tag: str) -> None:
        """Choose the text that an element inside another one belongs to: its own, or that around it."""
        target = leaf.targets[-1]
        if tag in STACK_TRACE:
            target = leaf.trace
        elif tag in OUTPUT:
            target = self._new_output(tag)
        elif tag == "message":
            target = leaf.message_element
        elif tag in PATH_ATTRIBUTES and leaf.tag == "attachment":
            target = leaf.path_element
        leaf.targets.append(target)

    def _new_output(self, tag: str) -> Text:
        text = Text()
        kept: list[Text] = getattr(self._case, OUTPUT[tag]) if self._case else []
        if len(kept) < MAX_CASE_ELEMENTS:
            kept.append(text)
        return text

    def _data(self, text: str) -> None:
        if self._leaf is None:
            return
        if self._case is not None:
            self._case.room -= len(text)
            if self._case.room < 0:
                return
        self._leaf.targets[-1].append(text)

    def _end(self, _: str) -> None:
        closed = self._open.pop()
        if isinstance(closed, Leaf):
            self._leaf = None
            if self._case is not None:
                self._case.keep(closed)
            else:
                self._end_of_suites_leaf(closed)
        elif isinstance(closed, Case):
            self._case = closed.above
            self._end_of_case(closed)
        elif isinstance(closed, Suite):
            self._end_of_suite(closed)
        elif self._leaf is not None:
            self._leaf.targets.pop()
        self._is_complete = not self._open

    def _end_of_suite(self, suite: Suite) -> None:
        above = self._suite = suite.above or suite
        if missing := suite.missing():
            line = self._lines + self._parser.CurrentLineNumber
            name = f"suite {first_line(suite.name, limit=200)!r}" if suite.name else "a suite without a name"
            self._problem(
                f"line {line}, {name}: {missing}; its shard ends as error: see in the runner's output which"
                " tests it left out"
            )
            suite.failed = max(suite.failed, _count(suite.attributes, "failures", "errors"))
            suite.cases = max(suite.cases, _count(suite.attributes, "tests"))
        above.cases += suite.cases
        above.failed += suite.failed
        above.failures += suite.failures
        above.skipped += suite.skipped
        above.counts_other_things |= suite.counts_other_things
        if suite.name == "Root Suite" and suite.attributes.get("file") and not suite.cases:
            above.file_of_next = suite.file  # mocha-junit-reporter: the suites after it are of this file

    def _end_of_suites_leaf(self, leaf: Leaf) -> None:
        """Keep what belongs to a whole suite: a failure as a test that is named after it."""
        suite = self._suite
        if leaf.tag in SUITE_FAILED:
            name = suite.name or "(a suite without a name)"
            names = [title for title in suite.titles if title != name]
            title = clean("::".join([*names, name]), limit=MAX_TITLE)
            node_id = self._node_id([title], suite.file, suite.key)[1]
            self._results.append(
                wire.TestResult(
                    title=title,
                    file=suite.file or None,
                    status="failed",
                    error=leaf.error,
                    node_id=node_id,
                    outcome="error",
                    longrepr=leaf.whole(short=_short(leaf)) or None,
                )
            )
            suite.failed += 1
            suite.failures += 1
        elif leaf.tag in OUTPUT:
            paths, _ = attachments.in_output(str(leaf.targets[0]))
            self._attach(paths)
        elif leaf.tag == "attachment":
            self._attach([_path(leaf)])
        elif leaf.tag == "property":
            name, value = _property(leaf)
            if attachments.is_attachment(name, value):
                self._attach([value])
            elif (name or value) and len(name) + len(value) <= self._properties_room:
                self._properties_room -= len(name) + len(value)
                _add(self.properties.setdefault(suite.name, {}), name, value)

    def _attach(self, paths: list[str]) -> None:
        room = attachments.MAX_ARTIFACTS - len(self.artifacts)
        self.artifacts += attachments.artifacts([path for path in paths if path], self._source.folder)[:room]

    # Results ------------------------------------------------------------------------------------

    def _end_of_case(self, case: Case) -> None:
        status, outcome, decisive = _verdict(case)
        case.suite.count(case, status)
        titles, file = self._titles(case)
        index, node_id = self._node_id(titles, file, case.suite.key)
        attempts, retries = _attempts(case, outcome)
        paths: list[str] = []
        stdout = _output(case.stdout, paths)
        stderr = _output(case.stderr, paths)
        properties = _properties(case, paths)
        self._results.append(
            wire.TestResult(
                title=titles[index],
                file=file or None,
                status=status,
                duration=milliseconds(case.attributes.get("time") or case.attributes.get("duration")),
                error=decisive.error if decisive is not None else _word(case, status),
                retries=retries or None,
                node_id=node_id,
                outcome=outcome,
                longrepr=_longrepr(case, status, decisive),
                stdout=stdout or None,
                stderr=stderr or None,
                properties=properties or None,
                artifacts=attachments.artifacts(paths, self._source.folder) or None,
                attempts=attempts or None,
            )
        )

    def _node_id(self, titles: list[str], file: str, suite: str) -> tuple[int, str]:
        return self._node_ids.take([f"{file}::{title}" if file else title for title in titles], suite)

    def _titles(self, case: Case) -> tuple[list[str], str]:
        """Return the test's title, those that tell it apart from equal ones of other suites, and its file.

        The title is the name, after its class if that says more (as pytest names it if pytest named the
        file), or after its suite if there is no class. Playwright names the suites of all projects alike, and
        each project as a suite's host.
        """
        suite = case.suite
        file = clean(case.attributes.get("file") or suite.file)
        name = clean(case.attributes.get("name") or "", limit=MAX_TITLE).strip() or "(a test without a name)"
        classname = _class_of(case)
        host = clean(suite.attributes.get("hostname") or "", limit=MAX_TITLE)
        is_script = bool(classname) and classname == suite.name and SCRIPT.fullmatch(classname) is not None
        project = f"[{host}] " if host and is_script and not name.startswith(f"[{host}]") else ""
        if project and ("id" in self._root or BROWSER.match(host)):
            return [f"{project}{name}"], file or classname
        prefix = _class_prefix(classname, name, file)
        suites = [title for title in suite.titles if title not in (name, classname)]
        if case.above is not None:
            outer = clean(case.above.attributes.get("name") or "", limit=MAX_TITLE)
            name = f"{outer}::{name}" if outer else name
        title = f"{prefix}{name}"
        within = "::".join([*suites, title])
        if not classname:
            return [within], file
        return list(dict.fromkeys([title, within, f"{project}{title}"])), file


def module_of(file: str) -> str:
    """Return a file's path as Python names a module: ``tests/test_a.py`` is ``tests.test_a``."""
    folder, slash, name = file.rpartition("/")
    stem = name.rpartition(".")[0] or name
    return f"{folder}{slash}{stem}".strip("/").replace("/", ".")


def _class_of(case: Case) -> str:
    found = case.attributes
    text = found.get("classname") or found.get("className") or found.get("class") or ""
    return clean(text, limit=MAX_TITLE).strip()


def _class_prefix(classname: str, name: str, file: str) -> str:
    """Return what a test's class adds to its title, with the separator; nothing if the name contains it."""
    module = module_of(file)
    if not classname or classname in (module, file, name):
        return ""
    if name.startswith(classname) and SEPARATOR.match(name, len(classname)):
        return ""
    if module and classname.startswith(f"{module}."):
        classname = classname.removeprefix(f"{module}.").replace(".", "::")
    return f"{classname}::"


def _verdict(case: Case) -> tuple[wire.TestStatus, str, Leaf | None]:
    """Return status, outcome, and the element that says why.

    A failure counts more than a skip, and an element more than a word in an attribute.
    """
    for leaf in case.leaves:
        if leaf.tag in FAILED:
            return "failed", FAILED[leaf.tag], leaf
    if reruns := case.named(RERUN):
        return "failed", RERUN[reruns[-1].tag], reruns[-1]
    for leaf in case.named(SKIPPED):
        return "skipped", "xfailed" if leaf.attributes.get("type") == "pytest.xfail" else "skipped", leaf
    words = _words(case)
    for word in words:
        if word in FAILED_WORDS:
            return "failed", FAILED_WORDS[word] or word.replace(" ", ""), None
    attributes = case.attributes
    if attributes.get("success", "").lower() == "false" and attributes.get("executed", "").lower() != "false":
        return "failed", "failed", None
    if attributes.get("executed", "").lower() == "false" or not SKIPPED_WORDS.isdisjoint(words):
        return "skipped", "skipped", None
    return "passed", "passed", None


def _words(case: Case) -> list[str]:
    """Return what the attributes call the outcome, in small letters and with spaces."""
    given = (case.attributes.get(name) for name in ("status", "result", "outcome"))
    return [" ".join(re.split(r"[\s_-]+", word.strip().lower())) for word in given if word]


def _word(case: Case, status: str) -> str | None:
    """Return why a test without an element for it failed: what its attributes say."""
    if status != "failed":
        return None
    named = [
        f"{name}={case.attributes[name]!r}"
        for name in ("status", "result", "outcome", "success")
        if name in case.attributes
    ]
    return first_line(" ".join(named)) or None


def _longrepr(case: Case, status: str, decisive: Leaf | None) -> str | None:
    """Return the text of everything that failed; of a skip only what its one line leaves out."""
    if decisive is None or status == "passed":
        return None
    leaves = case.named(FAILED) or [decisive] if status == "failed" else case.named(SKIPPED)
    if len(leaves) > 1:
        whole = _joined(leaf.whole() for leaf in leaves)
    else:
        whole = _joined([decisive.whole(short=_short(decisive))])
    if status == "skipped" and whole.strip() == (decisive.error or ""):
        return None
    return whole or None


def _short(leaf: Leaf) -> str | None:
    """Return the message if it is one line that ``error`` has whole."""
    return leaf.message if "\n" not in leaf.message and leaf.message in (leaf.error or "") else None


def _attempts(case: Case, outcome: str) -> tuple[list[wire.Attempt], int]:
    """Return the attempts of a test that was tried several times, and how many followed the first."""
    tried = case.named(TRIED_AGAIN)
    if not tried:
        return [], 0
    attempts = [_attempt(each) for each in tried[-MAX_ATTEMPTS:]]
    if failures := case.named(FAILED):  # the element is the first attempt, those of reruns follow
        return [_attempt(failures[0]), *attempts], len(tried)
    if case.named(RERUN):
        return attempts, len(tried) - 1
    return [*attempts, wire.Attempt(outcome=outcome)], len(tried)


def _attempt(leaf: Leaf) -> wire.Attempt:
    return wire.Attempt(
        outcome=TRIED_AGAIN.get(leaf.tag) or FAILED[leaf.tag],
        duration=milliseconds(leaf.attributes.get("time") or leaf.attributes.get("duration")),
        error=leaf.error,
        longrepr=leaf.whole(short=_short(leaf)) or None,
    )


def _joined(texts: Any) -> str:
    kept = [text for text in (each.strip("\r\n") for each in texts) if text.strip()]
    return clean("\n\n".join(kept), limit=MAX_TEXT)


def _output(texts: list[Text], paths: list[str]) -> str:
    """Return captured output without the lines that name attachments, whose paths are added to ``paths``."""
    if not texts:
        return ""
    found, text = attachments.in_output(_joined(map(str, texts)))
    paths += found
    return text.strip("\n") if found else text


def _properties(case: Case, paths: list[str]) -> dict[str, Any]:
    """Return a test's properties without those that name attachments, whose paths are added to ``paths``."""
    properties: dict[str, Any] = {}
    for leaf in case.named(("property", "attachment")):
        name, value = ("attachment", _path(leaf)) if leaf.tag == "attachment" else _property(leaf)
        if attachments.is_attachment(name, value):
            paths.append(value)
        elif name or value:
            _add(properties, name, value)
    return properties


def _property(leaf: Leaf) -> tuple[str, str]:
    name = clean(leaf.attributes.get("name") or "", limit=MAX_TITLE)
    value = leaf.attributes.get("value")
    return name, str(leaf.content).strip() if value is None else clean(value, limit=MAX_TEXT)


def _path(leaf: Leaf) -> str:
    named = (leaf.attributes.get(name) for name in PATH_ATTRIBUTES)
    return next((path for path in named if path), str(leaf.path_element) or str(leaf.content)).strip()


def _add(properties: dict[str, Any], name: str, value: str) -> None:
    """Set a property; the values of a name that is repeated are a list."""
    if name not in properties:
        properties[name] = value
    elif isinstance(properties[name], list):
        properties[name].append(value)
    else:
        properties[name] = [properties[name], value]


def _count(attributes: Mapping[str, str], *names: str) -> int:
    """Return the sum of these totals; what is not a number is 0."""
    texts = (attributes.get(name, "").strip() for name in names)
    return sum(int(text) for text in texts if text.isdecimal() and len(text) < 16)


def _repeats(body: str, message: str) -> bool:
    """Return whether the body contains the words of a message, whatever the white space between them."""
    body = re.sub(r"(?m)^E ", "", body)  # before each line of pytest's messages
    body, message = (" ".join(text.split()) for text in (body, message))
    start = -1
    for _ in range(100):  # more occurrences inside of other words than that are not looked at
        start = body.find(message, start + 1)
        if start < 0:
            return False
        around = body[start - 1 : start] + message[:1], message[-1:] + body[start + len(message) :][:1]
        if not any(re.fullmatch(r"\w\w", pair) for pair in around):
            return True
    return False
