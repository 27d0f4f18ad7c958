"""Causes of failures: those with the same exception, normalised message and location have one cause."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from pytest_tms import wire
from pytest_tms.server.domain.column_values import without_nul

MAX_MESSAGE = 300
"""Characters of a normalised message."""
MAX_LOCATION = 300
"""Characters of a location."""
MAX_EXCEPTION = 200
"""Characters of the name of an exception."""
MAX_READ = 1_000
"""Characters that are read of an error."""
MAX_TRACEBACK = 20_000
"""Characters that are read of the end of a traceback."""


class FailureCause(NamedTuple):
    """The cause of a failed test.

    ``fingerprint`` is 16 hexadecimal digits, the same for the same cause in every execution. ``exception`` is
    the name of its type, empty if it is not known. ``message`` is normalised: see ``normalise``. ``location``
    is the last frame of the user's own code as ``path in function``, empty if it is not known or does not
    distinguish the cause.
    """

    fingerprint: str
    exception: str
    message: str
    location: str

    @property
    def number(self) -> int:
        """The fingerprint as it is stored: a signed number of 64 bits."""
        return number_of(self.fingerprint)


class Frame(NamedTuple):
    """One entry of a traceback; ``is_own`` is whether it is the user's code."""

    path: str
    function: str
    is_own: bool


def cause_of(test: wire.TestResult) -> FailureCause | None:
    """Return the cause of a failed test, None if it did not fail.

    The exception type and the frames that the runner sent are used; without them, what the error and the
    traceback show.
    """
    if test.status != "failed":
        return None
    return cause(
        error=test.error or "",
        traceback=test.longrepr or "",
        function=_function(test),
        outcome=test.outcome or "",
        exception=test.exception_type or "",
        frames=_sent_frames(test.frames or ()),
    )


def cause(
    *,
    error: str,
    traceback: str = "",
    function: str = "",
    outcome: str = "",
    exception: str = "",
    frames: Sequence[Frame] = (),
) -> FailureCause:
    """Return the cause of a failure from its texts; ``function`` is the name of the test's function."""
    lines = traceback[-MAX_TRACEBACK:].splitlines()
    text = _first_line(error[:MAX_READ]) or _marked_line(lines) or _last_line(lines) or outcome or "failed"
    named = _EXCEPTION.match(text)
    if named is not None:
        exception = exception or named[1]
        if exception.rpartition(".")[2] == named[1].rpartition(".")[2]:
            text = text[named.end() :]
    exception = without_nul(exception.strip()[:MAX_EXCEPTION])
    found = list(frames) or list(_frames(lines))
    message = without_nul(normalise(text))
    location = without_nul(
        _location(found, function, is_assertion=_is_assertion(exception, text))[:MAX_LOCATION]
    )
    key = f"{exception}\0{message}\0{location}".encode()
    return FailureCause(blake2b(key, digest_size=8).hexdigest(), exception, message, location)


def normalise(text: str) -> str:
    """Return a message without what differs between failures of the same cause.

    UUIDs, times, addresses, hashes, temporary paths, quoted values and numbers are replaced by placeholders.
    The result is one line of at most ``MAX_MESSAGE`` characters.
    """
    text = " ".join(text[:MAX_READ].split())
    for pattern, placeholder in _REPLACEMENTS:
        text = pattern.sub(placeholder, text)
    return text[:MAX_MESSAGE].rstrip()


def fingerprint_of(number: int) -> str:
    """Return the fingerprint that is stored as ``number``."""
    return number.to_bytes(8, "big", signed=True).hex()


def number_of(fingerprint: str) -> int:
    """Return a fingerprint as it is stored.

    Raises:
        ValueError: It is not 16 hexadecimal digits.
    """
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ValueError(f"Invalid fingerprint {fingerprint[:100]!r}: it has 16 hexadecimal digits.")
    return int.from_bytes(bytes.fromhex(fingerprint), "big", signed=True)


_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_EXCEPTION = re.compile(
    r"((?:[^\W\d]\w*\.)*(?:[^\W\d]\w*(?:Error|Exception|Warning|Interrupt|Timeout|Exit)|Failed|Skipped))"
    r"(?::\s*|\s*$)"
)
_ASSERTIONS = ("AssertionError", "Failed")
_REPLACEMENTS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"(?<!\w)'[^']*'(?!\w)"), "'…'"),
    (re.compile(r'(?<!\w)"[^"]*"(?!\w)'), '"…"'),
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<uuid>"),
    (
        re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\w)"),
        "<time>",
    ),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?(?!\w)"), "<time>"),
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b"), "<address>"),
    (
        re.compile(
            r"(?<![\w/])(?:/private)?/(?:tmp|var/folders|var/tmp)/[^\s'\",;:)\]]*"
            r"|\b[A-Za-z]:\\(?:[^\s\\]+\\)*Temp\\[^\s'\",;)\]]*"
        ),
        "<temporary path>",
    ),
    (re.compile(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b"), "<hash>"),
    (re.compile(r"(?<![\w.])[-+]?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?"), "#"),
    (re.compile(r"\d+"), "#"),
)
_NATIVE_FRAME = re.compile(r'\s*File "([^"]+)", line \d+, in (.+)')
_PYTEST_FRAME = re.compile(r"([^\s:][^:]*\.pyx?|<[^>]*>):\d+: ?(?:in (\S+)|[\w.]*)\s*")
_FUNCTION = re.compile(r">?\s*(?:async )?def (\w+)\(")
_FOREIGN = ("site-packages/", "dist-packages/", "/lib/python", "/usr/lib/", "<frozen ", "/_pytest/")


def _function(test: wire.TestResult) -> str:
    return (test.node_id or test.title).partition("[")[0].rpartition("::")[2].strip()


def _sent_frames(frames: Sequence[Any]) -> list[Frame]:
    return [Frame(each.path or "", each.function or "", bool(each.is_own)) for each in frames]


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _marked_line(lines: Sequence[str]) -> str:
    """Return the first line of the last message that pytest marks with an E."""
    found = ""
    was_marked = False
    for line in lines:
        is_marked = line.startswith("E ") and bool(line[1:].strip())
        if is_marked and not was_marked:
            found = line[1:].strip()
        was_marked = is_marked
    return found[:MAX_READ]


def _last_line(lines: Sequence[str]) -> str:
    return next((line.strip()[:MAX_READ] for line in reversed(lines) if line.strip()), "")


def _frames(lines: Sequence[str]) -> Iterator[Frame]:
    """Yield the frames of a traceback of pytest or of Python, the outermost first."""
    function = ""
    for line in lines:
        if len(line) > MAX_READ:
            continue
        if found := _NATIVE_FRAME.fullmatch(line):
            yield Frame(found[1], found[2].strip(), _is_own(found[1]))
        elif found := _FUNCTION.match(line):
            function = found[1]
        elif found := _PYTEST_FRAME.fullmatch(line):
            yield Frame(found[1], found[2] or function, _is_own(found[1]))
            function = ""


def _is_own(path: str) -> bool:
    path = path.replace("\\", "/")
    return not path.startswith("<") and not any(part in path for part in _FOREIGN)


def _is_assertion(exception: str, text: str) -> bool:
    name = exception.rpartition(".")[2]
    return name in _ASSERTIONS or (not name and text.startswith("assert"))


def _location(frames: Sequence[Frame], function: str, *, is_assertion: bool) -> str:
    """Return where the error was raised, as ``path in function``.

    If a library raised the error and only the test itself called it, the location would divide one cause,
    such as an unreachable service, by test. Then it is empty.
    """
    last = next((number for number in reversed(range(len(frames))) if frames[number].is_own), None)
    if last is None:
        return ""
    frame = frames[last]
    if not is_assertion and last < len(frames) - 1 and frame.function.rpartition(".")[2] == function:
        return ""
    path = frame.path.replace("\\", "/")
    return f"{path} in {frame.function}" if frame.function else path
