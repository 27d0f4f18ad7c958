"""The vocabulary of JUnit XML, and the peculiarities of the runners that write it."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
RETRIED = {**FLAKY, **RERUN}
SKIPPED = ("skipped", "skip", "ignored", "disabled", "notrun", "pending", "todo", "inconclusive")
"""Elements of a test that was not run."""
OUTPUT = {"system-out": "stdout", "system-err": "stderr"}
"""Elements with captured output, and the field of the result."""
DETAILS = {*FAILED, *RETRIED, *SKIPPED, *OUTPUT, "property", "attachment"}
"""Elements that describe a test or a suite. Unknown elements around them are ignored."""
STACK_TRACE = ("stacktrace", "stack-trace")
PATH_ATTRIBUTES = ("path", "file", "filename", "filepath", "href", "src", "url")
"""Names of attributes and elements with the path of an attachment."""

UNTITLED_SUITES = ("pytest", "nosetests", "Root Suite", "Mocha Tests")
"""Names that a runner gives to every suite."""

_SEPARATOR = re.compile(r"\s*(?:\.|:|/|\\|#|\$|>|›|»|\||→)|\s+[-–—]\s")
_SCRIPT = re.compile(r".*\.[cm]?[jt]sx?", re.I)
_BROWSER = re.compile(r"(?:.*(?:chrom|firefox|webkit|safari)|(?:ms|desktop |microsoft )?edge$)", re.I)
_COUNTING_CLASS = re.compile(r"(?:.*\.)?global|.*\.(?:c|cc|cpp|cxx|h|hh|hpp|hxx|mm)", re.I)


def is_script(name: str) -> bool:
    """Return whether this is the name of a JavaScript or TypeScript file, as a suite of Playwright has."""
    return _SCRIPT.fullmatch(name) is not None


def is_browser(name: str) -> bool:
    """Return whether this is a name that projects have in Playwright's templates."""
    return _BROWSER.match(name) is not None


def counts_assertions(classname: str) -> bool:
    """Return whether this class is one of Catch2 or doctest, whose ``tests`` counts assertions."""
    return _COUNTING_CLASS.fullmatch(classname) is not None


def has_inexact_totals(name: str, attributes: Mapping[str, str]) -> bool:
    """Return whether the totals of a suite count more than tests: pytest's subtests, Catch2's assertions."""
    return name in ("pytest", "pytest tests") or attributes.get("hostname") == "tbd"


def module_of(file: str) -> str:
    """Return a file's path as Python names a module: ``tests/test_a.py`` is ``tests.test_a``."""
    folder, slash, name = file.rpartition("/")
    stem = name.rpartition(".")[0] or name
    return f"{folder}{slash}{stem}".strip("/").replace("/", ".")


def class_prefix(classname: str, name: str, file: str) -> str:
    """Return the prefix of a title from the test's class, with the separator.

    Empty if the name begins with the class, or if the class is the file.
    """
    module = module_of(file)
    if not classname or classname in (module, file, name):
        return ""
    if name.startswith(classname) and _SEPARATOR.match(name, len(classname)):
        return ""
    if module and classname.startswith(f"{module}."):
        classname = classname.removeprefix(f"{module}.").replace(".", "::")
    return f"{classname}::"
