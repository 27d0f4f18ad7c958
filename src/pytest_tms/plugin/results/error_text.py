"""Message and traceback of a failure, from the types that pytest and plugins use for ``longrepr``."""

from __future__ import annotations

import re
from io import StringIO
from itertools import takewhile
from typing import Any

import pytest

from pytest_tms.text import shorten, text_of, without_escapes

try:
    from _pytest._io import TerminalWriter
except ImportError:  # pragma: no cover  # pytest has no public name for it
    TerminalWriter = None  # type: ignore[assignment,misc]  # callers check for None

_LINE = re.compile(r"\r\n|\r|\n")
_TYPE_ALONE = re.compile(r"[\w.]+:")
_ASSERTION = ("AssertionError", "assert ")
_EXCEPTION = re.compile(r" {3}[^\W\d][\w.]*(:|$)")
_CHAINED = re.compile(
    r"(?m)^(?:The above exception was the direct cause|During handling of the above exception).*:$"
)
_LEADING_LINES = re.compile(r"\A(?:[ \t]*\r?\n)+")
_GROUP = re.compile(r"\(\d+ sub-exceptions?\)$")
_MEMBER = re.compile(r"(?m)^ *\| ([^\W\d][\w.]*(?:: .*)?)$")
_NUMBERED = re.compile(r"\d{3,} |\?\?\? ")
_LOCATION = re.compile(r":(\d+|None): DocTestFailure$")
_DOCTEST = ("Expected", "Got", "Differences", "UNEXPECTED EXCEPTION")


def message(text: str) -> str:
    """Return the message of an exception as it is reported, without empty lines at its ends.

    Of an assertion it is the first line: the traceback has pytest's comparison, which follows.
    """
    lines = [line.rstrip() for line in _LINE.split(without_escapes(text).strip())]
    if _TYPE_ALONE.fullmatch(lines[0]):  # the message of "ValueError:" begins further down
        rest = [number for number, line in enumerate(lines[1:], 1) if line]
        if rest:
            lines[: rest[0] + 1] = [f"{lines[0]} {lines[rest[0]].strip()}"]
    if lines[0].startswith(_ASSERTION):
        del lines[1:]
    return shorten("\n".join(lines))


def reason(longrepr: Any, wasxfail: str | None = None) -> str | None:
    """Return why a phase ended as it did: the reason of a skip or xfail, or the exception's message."""
    if wasxfail is not None:
        return message(wasxfail.removeprefix("reason: ")) or None
    if longrepr is None:
        return None
    if isinstance(longrepr, tuple):  # a skip: path, line, reason
        return message(text_of(longrepr[-1] if longrepr else "").removeprefix("Skipped: ")) or None
    if isinstance(longrepr, BaseException):
        return message(f"{type(longrepr).__name__}: {text_of(longrepr)}")
    if isinstance(longrepr, pytest.ExceptionInfo):
        return message(f"{longrepr.typename}: {text_of(longrepr.value)}")
    crash = text_of(getattr(getattr(longrepr, "reprcrash", None), "message", ""))
    if not crash.strip():
        return text_message(traceback(longrepr)) or None
    if _GROUP.search(without_escapes(crash).strip()):
        members = _MEMBER.findall(traceback(longrepr))
        own = [each for each in members if not _GROUP.search(each)]
        return shorten("\n".join([message(crash), *dict.fromkeys(own)]))
    return message(crash)


def text_message(text: str) -> str:
    """Return the message in a traceback that is text, or in any other text.

    It is on the first line that pytest marks, of the last exception in a chain.
    """
    lines = _CHAINED.split(without_escapes(text))[-1].splitlines()
    if found := _doctest(lines):
        return found
    marked = [number for number, line in enumerate(lines) if line.startswith("E ")]
    if marked:
        named = [number for number in marked if _EXCEPTION.match(lines[number][1:])]
        first = named[0] if named else marked[-1]
        following = [lines[first]]
        while first + len(following) in marked:
            following.append(lines[first + len(following)])
        return message("\n".join(line[4:] for line in following))
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        outer = [line for line in lines if line.strip() and not line.startswith((" ", "Traceback ("))]
        if outer:
            return message(outer[-1])
    return message("\n".join(lines))


def _doctest(lines: list[str]) -> str:
    """Return the expected and actual output of the first failed doctest, on one line if they are short."""
    for number in range(1, len(lines)):
        if lines[number].startswith(_DOCTEST) and _NUMBERED.match(lines[number - 1]):
            break
    else:
        return ""
    if lines[number].startswith("UNEXPECTED EXCEPTION"):
        return message(lines[number])
    message_lines = list(takewhile(lambda line: not _LOCATION.search(line), lines[number:]))
    words = [line.strip() for line in message_lines if line.strip()]
    return shorten((" " if len(words) <= 4 else "\n").join(words))


def traceback(longrepr: Any) -> str:
    """Return ``longrepr`` as pytest shows it, without colours; the first line keeps its indentation."""
    if longrepr is None:
        return ""
    try:
        if TerminalWriter is not None and hasattr(longrepr, "toterminal"):
            file = StringIO()
            writer = TerminalWriter(file)
            writer.hasmarkup = False
            longrepr.toterminal(writer)
            text = file.getvalue()
        else:
            text = text_of(longrepr)
    except KeyboardInterrupt:
        raise
    except BaseException:  # a plugin's representation may raise anything
        text = text_of(longrepr)
    return _LEADING_LINES.sub("", without_escapes(text)).rstrip()
