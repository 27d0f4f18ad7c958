"""JUnit XML, as its many writers have it, read as results; memory holds one test at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder  # builds; expat below parses
from xml.parsers import expat

from pytest_tms import wire
from pytest_tms.text import clean, first_line

CHUNK = 1 << 20
"""Bytes that are parsed at a time."""
LONGEST = 100_000
"""Characters of a traceback and of each output that are kept; more is cut in the middle."""

FAILED = ("failure", "error")
TRIED_AGAIN = {
    "rerunFailure": "failed",
    "rerunError": "error",
    "flakyFailure": "failed",
    "flakyError": "error",
}
"""Surefire's words for the tries of a test, with pytest's for how they ended."""
NOT_RUN = ("notrun", "disabled", "skipped")
"""What GoogleTest and others write as a test's ``status`` instead of an element."""


class JUnit:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[str] = []
        self._builder: TreeBuilder | None = None
        self._results: list[wire.TestResult] = []

    def __iter__(self) -> Iterator[wire.TestResult]:
        """Every testcase, in the order of the file.

        Raises ValueError, in a sentence with the line, for what is no XML, no JUnit XML, or defines
        entities: a few of those can stand for gigabytes.
        """
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.EntityDeclHandler = self._entity
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    parser.Parse(chunk, False)
                    yield from self._take()
            parser.Parse(b"", True)
        except (expat.ExpatError, ValueError) as error:
            what = expat.ErrorString(error.code) if isinstance(error, expat.ExpatError) else error
            raise ValueError(f"{self._path}, line {parser.CurrentLineNumber}: {what}") from None
        yield from self._take()

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "testcase" and self._builder is None:
            self._builder = TreeBuilder()
        if self._builder is not None:
            self._builder.start(tag, attributes)
            return
        if not self._files and tag not in ("testsuites", "testsuite"):
            raise ValueError(f"this is no JUnit XML, its root is <{tag[:50]}>")
        above = self._files[-1] if self._files else ""
        self._files.append(attributes.get("file") or attributes.get("filepath") or above)

    def _data(self, text: str) -> None:
        if self._builder is not None:
            self._builder.data(text)

    def _end(self, tag: str) -> None:
        if self._builder is None:
            self._files.pop()
            return
        element = self._builder.end(tag.rpartition(":")[2])
        if element.tag == "testcase":
            self._builder = None
            self._results.append(_result(element, self._files[-1]))

    def _entity(self, *_: object) -> None:
        raise ValueError("it defines entities, which no report needs")

    def _take(self) -> Iterator[wire.TestResult]:
        results, self._results = self._results, []
        yield from results


def _result(case: Element, file: str) -> wire.TestResult:
    file = clean(case.get("file") or file)
    title = _title(clean(case.get("name") or ""), clean(case.get("classname") or ""), file)
    status, outcome, decisive = _verdict(case)
    failures = [each for each in case if each.tag in FAILED]
    attempts = [_attempt(each) for each in case if each.tag in TRIED_AGAIN]
    retries = len(attempts)
    if attempts and failures:  # the element is the first try, those of reruns follow
        attempts[:0] = [_attempt(failures[0])]
    elif attempts:
        attempts.append(wire.Attempt(outcome=outcome))
    return wire.TestResult(
        title=title,
        file=file or None,
        status=status,
        duration=_milliseconds(case.get("time")),
        error=None if decisive is None else _error(decisive),
        retries=retries or None,
        node_id=f"{file}::{title}" if file else title,
        outcome=outcome,
        longrepr=_joined(failures) if status == "failed" else None,
        stdout=_joined(case.findall("system-out")),
        stderr=_joined(case.findall("system-err")),
        properties=_properties(case) or None,
        attempts=attempts or None,
    )


def _title(name: str, classname: str, file: str) -> str:
    """The test's name, behind its class where that says more; pytest's own where pytest named the file."""
    name = name or "(a test without a name)"
    module = ".".join(PurePosixPath(file).with_suffix("").parts) if file else ""
    if not classname or classname in (module, file) or name.startswith(classname):
        return name
    if module and classname.startswith(f"{module}."):
        classname = classname.removeprefix(f"{module}.").replace(".", "::")
    return f"{classname}::{name}"


def _verdict(case: Element) -> tuple[wire.TestStatus, str, Element | None]:
    """Status, pytest's word for it, and the element that says why."""
    for each in case:
        if each.tag in FAILED:
            return "failed", "failed" if each.tag == "failure" else "error", each
    skipped = case.find("skipped")
    if skipped is not None:
        return "skipped", "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped", skipped
    if (case.get("status") or "").lower() in NOT_RUN:
        return "skipped", "skipped", None
    return "passed", "passed", None


def _attempt(element: Element) -> wire.Attempt:
    outcome = TRIED_AGAIN.get(element.tag) or ("failed" if element.tag == "failure" else "error")
    return wire.Attempt(
        outcome=outcome,
        duration=_milliseconds(element.get("time")),
        error=_error(element),
        longrepr=_joined([element]),
    )


def _error(element: Element) -> str | None:
    """One line: the message, behind the exception's name where it does not say it."""
    message = first_line(clean(element.get("message") or _text(element).strip()))
    kind = clean(element.get("type") or "")
    if kind.endswith(("Error", "Exception")) and kind.rpartition(".")[2] not in message:
        message = f"{kind}: {message}" if message else kind
    return first_line(message or kind) or None


def _joined(elements: list[Element]) -> str | None:
    texts = [text for text in (_text(each).strip("\n") for each in elements) if text.strip()]
    return clean("\n\n".join(texts), limit=LONGEST) or None


def _text(element: Element) -> str:
    return element.text or element.findtext("stackTrace") or ""


def _properties(case: Element) -> dict[str, Any]:
    found = case.iterfind("properties/property")
    return {clean(each.get("name") or ""): clean(each.get("value") or each.text or "") for each in found}


def _milliseconds(seconds: str | None) -> int | None:
    """``1.5``, and as some locales have it: ``1,234.5`` or ``0,5``."""
    text = (seconds or "").strip()
    try:
        number = float(text.replace(",", "") if "." in text else text.replace(",", "."))
    except ValueError:
        return None
    return round(number * 1000) if math.isfinite(number) and 0 <= number < 1e9 else None
