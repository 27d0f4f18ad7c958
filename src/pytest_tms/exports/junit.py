"""JUnit XML, in the dialect that pytest, Surefire and Jenkins understand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_tms.exports.fields import (
    as_text,
    in_chunks,
    is_quarantined,
    mapping,
    number,
    objects,
    retries_of,
    status_of,
    text,
    title_of,
)
from pytest_tms.wire.executions import ExecutionStatus

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not have, as the control characters of a terminal."""
ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
NAME = "pytest-tms"
"""The name of the root element, by which `tms submit` recognises such a document."""
RETRIES = ("flakyFailure", "flakyError", "rerunFailure", "rerunError")
IN_TEXT = re.compile("[&<>\r]")
IN_ATTRIBUTE = re.compile('[&<>"\t\n\r]')


def write_junit_xml(execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a document with one suite, whose totals are those of the execution.

    The attempts of a test that passed are ``flakyFailure``, the later attempts of a test that failed are
    ``rerunFailure`` elements, as Surefire writes them. Properties whose names begin with ``tms.`` are fields
    that JUnit XML does not have; `tms submit` reads them. Characters that XML does not have become U+FFFD.
    """
    return in_chunks(_document(execution, tests))


def _document(execution: ExecutionStatus, tests: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    counts = execution.results
    totals = {"tests": str(counts.total), "failures": str(counts.failed), "errors": "0"}
    suite = {
        "name": execution.test_suite or "tests",
        **totals,
        "skipped": str(counts.skipped),
        **({"timestamp": execution.created_at} if execution.created_at else {}),
        "time": _seconds(execution.progress.duration),
    }
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield f"{_start('testsuites', {'name': NAME, **totals})}\n{_start('testsuite', suite)}\n"
    run = {name: getattr(execution, name) for name in ("execution_id", "environment", "provider", "status")}
    yield f"{_properties(run)}\n"
    for test in tests:
        yield from _case(test, execution.test_suite or "tests")
    yield "</testsuite>\n</testsuites>\n"


def _case(test: Mapping[str, Any], suite: str) -> Iterator[str]:
    """Yield a test; a ``failure`` is its first attempt, and its only one if there are no others."""
    status = status_of(test)
    outcome = text(test, "outcome")
    file = text(test, "file")
    attributes = {
        "classname": module_of(file) or suite,
        "name": title_of(test),
        **({"file": file} if file else {}),
        "time": _seconds(number(test, "duration")),
    }
    yield _start("testcase", attributes)
    yield _properties(_case_properties(test, outcome))
    attempts = objects(test, "attempts")
    if status == "failed":
        yield _failure("error" if outcome == "error" else "failure", attempts[0] if attempts else test)
        for attempt in attempts[1:]:
            yield _failure("rerunError" if attempt.get("outcome") == "error" else "rerunFailure", attempt)
    elif status == "skipped":
        kind = {"type": "pytest.xfail"} if outcome == "xfailed" else {}
        yield f"{_start('skipped', {**kind, **_message(test)})}{_text(text(test, 'longrepr'))}</skipped>"
    else:
        for attempt in attempts[:-1]:
            yield _failure("flakyError" if attempt.get("outcome") == "error" else "flakyFailure", attempt)
    for name, element in (("stdout", "system-out"), ("stderr", "system-err")):
        if content := text(test, name):
            yield f"<{element}>{_text(content)}</{element}>"
    yield "</testcase>\n"


def module_of(file: str) -> str:
    """Return a file's path as Python names a module: ``tests/test_a.py`` is ``tests.test_a``."""
    folder, slash, name = file.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}".strip("/").replace("/", ".")


def _failure(element: str, item: Mapping[str, Any]) -> str:
    duration = number(item, "duration")
    time = {"time": _seconds(duration)} if duration is not None and element in RETRIES else {}
    return f"{_start(element, {**_message(item), **time})}{_text(text(item, 'longrepr'))}</{element}>"


def _message(item: Mapping[str, Any]) -> dict[str, str]:
    error = text(item, "error")
    return {"message": error} if error else {}


def _case_properties(test: Mapping[str, Any], outcome: str) -> dict[str, Any]:
    """Return the properties, the files, and the fields that JUnit XML does not have."""
    found = dict(mapping(test, "properties"))
    if paths := [path for each in objects(test, "artifacts") if (path := text(each, "path"))]:
        found["attachment"] = [*_values(found.get("attachment")), *paths]
    others = {"nodeId": test.get("nodeId"), "outcome": outcome, "retries": retries_of(test)}
    others.update({name: test.get(name) for name in ("owner", "tags", "worker", "startedAt", "parameters")})
    if is_quarantined(test):
        others["quarantined"] = True
    found.update({f"tms.{name}": value for name, value in others.items() if value})
    return found


def _properties(values: Mapping[str, Any]) -> str:
    rows = [
        f"{_start('property', {'name': name, 'value': as_text(each)})}</property>"
        for name, value in values.items()
        for each in _values(value)
    ]
    return f"<properties>{''.join(rows)}</properties>" if rows else ""


def _values(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _seconds(milliseconds: int | None) -> str:
    return f"{max(0, milliseconds or 0) / 1000:.3f}"


def _start(element: str, attributes: Mapping[str, str]) -> str:
    written = "".join(f' {name}="{_attribute(value)}"' for name, value in attributes.items())
    return f"<{element}{written}>"


def _attribute(value: str) -> str:
    return IN_ATTRIBUTE.sub(_escape, ILLEGAL.sub("\ufffd", value))


def _text(value: str) -> str:
    return IN_TEXT.sub(_escape, ILLEGAL.sub("\ufffd", value))


def _escape(found: re.Match[str]) -> str:
    return ESCAPED[found[0]]
