"""Tracebacks of pytest as frames with source lines, from their text in the styles long, short and native.

Lines that are not understood stay text, so that nothing of a traceback is lost. Every function takes linear
time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pytest_tms import wire

MAX_PARTS = 300
"""Parts of one traceback; what follows them is one text."""

PartKind = Literal["frame", "error", "chain", "text", "separator"]
LineKind = Literal["source", "current", "error", "text"]

_LOCATION = re.compile(
    r"(?P<path>(?:[A-Za-z]:[\\/])?[^\s:][^:\n]{0,1000}):(?P<line>\d{1,9}):(?: (?P<rest>.*))?"
)
_NATIVE = re.compile(r'  File "(?P<path>[^"\n]{1,1000})", line (?P<line>\d{1,9})(?:, in (?P<function>.*))?')
_ERROR = re.compile(r"E(?: {3}.*| *)?")
_SEPARATOR = re.compile(r"(?:_ ){5,}_?\s*")
_DEFINITION = re.compile(r"\s*(?:async )?def (?P<name>[^\W\d]\w*)")
_EXCEPTION_NAME = re.compile(r"[^\W\d][\w.]*")
_CHAINS = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_HEADING = "Traceback (most recent call last):"
_INSTALLED = ("site-packages", "dist-packages")


class SourceLine(NamedTuple):
    """A line of a frame; ``number`` is its number in the file, None if it is not known.

    ``text`` is without the mark of the traceback (``>`` or ``E``).
    """

    kind: LineKind
    text: str
    number: int | None = None


class TracebackPart(NamedTuple):
    """Consecutive lines of a traceback; ``raw`` joined by line ends is the traceback.

    A frame has a location, and may have no lines; ``path`` is the one of the sent ``frames`` if there is one.
    """

    kind: PartKind
    raw: str
    lines: tuple[SourceLine, ...] = ()
    path: str = ""
    line: int | None = None
    function: str = ""
    is_own: bool = False
    error: str = ""


def parse_traceback(text: str, frames: Sequence[wire.Frame] = ()) -> list[TracebackPart]:
    """Return the parts of a traceback without escape sequences, in its order.

    ``frames`` are those that the runner sent; they decide which frames are own and name their functions.
    Without them, a relative path outside of ``site-packages`` is own.
    """
    return _Parser(_KnownFrames(frames)).parse(text)


class _KnownFrames:
    """Frames that the runner sent, by the last part of their path and the line."""

    def __init__(self, frames: Sequence[wire.Frame]) -> None:
        self._frames: dict[tuple[str, int | None], list[wire.Frame]] = {}
        for frame in frames[:100]:
            self._frames.setdefault((_name(frame.path), frame.line), []).append(frame)

    def find(self, path: str, line: int) -> wire.Frame | None:
        shown = "/" + _relative(path)
        for frame in self._frames.get((_name(path), line), ()):
            known = "/" + frame.path.lstrip("/")
            if shown.endswith(known) or known.endswith(shown):
                return frame
        return None


class _Parser:
    def __init__(self, known: _KnownFrames) -> None:
        self._known = known
        self._parts: list[TracebackPart] = []
        self._pending: list[str] = []
        self._open: tuple[str, int, str] | None = None

    def parse(self, text: str) -> list[TracebackPart]:
        lines = text.split("\n")
        for position, line in enumerate(lines):
            if len(self._parts) >= MAX_PARTS:
                self._flush()
                self._parts.append(TracebackPart("text", "\n".join(lines[position:])))
                return self._parts
            self._take(line.rstrip("\r"), line)
        self._flush()
        return self._parts

    def _take(self, line: str, raw: str) -> None:
        if self._open is not None and not self._continues(line):
            self._flush()
        if line.strip() in _CHAINS or line == _HEADING:
            self._flush()
            self._parts.append(TracebackPart("chain" if line != _HEADING else "separator", raw))
        elif _SEPARATOR.fullmatch(line):
            self._flush()
            self._parts.append(TracebackPart("separator", raw))
        elif native := _NATIVE.fullmatch(line):
            self._flush()
            self._open = (native["path"], int(native["line"]), native["function"] or "")
            self._pending = [raw]
        elif location := _LOCATION.fullmatch(line):
            self._locate(location, raw)
        else:
            self._pending.append(raw)

    def _continues(self, line: str) -> bool:
        """Return whether a line belongs to the open frame, whose location came first."""
        return line.startswith(("    ", ">   ")) or bool(_ERROR.fullmatch(line))

    def _locate(self, location: re.Match[str], raw: str) -> None:
        path, line, rest = location["path"], int(location["line"]), location["rest"] or ""
        if rest.startswith("in "):  # short: the source follows
            self._flush()
            self._open = (path, line, rest[3:])
            self._pending = [raw]
            return
        has_source = any(each.startswith((">", "    ")) or _ERROR.fullmatch(each) for each in self._pending)
        if not (has_source or not rest or _EXCEPTION_NAME.fullmatch(rest) or not self._pending):
            self._pending.append(raw)
            return
        if has_source or rest:  # long: the source came before; or the style line
            self._pending.append(raw)
            self._add_frame(path, line, "", self._pending, _long_lines(self._pending[:-1], line), rest)
            self._pending = []
        else:
            self._pending.append(raw)
            self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        opened, self._open = self._open, None
        if not pending:
            return
        if opened is not None:
            path, line, function = opened
            self._add_frame(path, line, function, pending, _short_lines(pending[1:], line), "")
        else:
            is_error = any(_ERROR.fullmatch(each) for each in pending)
            self._parts.append(
                TracebackPart(
                    "error" if is_error else "text",
                    "\n".join(pending),
                    tuple(_line(each, None) for each in pending) if is_error else (),
                )
            )

    def _add_frame(
        self, path: str, line: int, function: str, raw: list[str], lines: list[SourceLine], error: str
    ) -> None:
        known = self._known.find(path, line)
        if not function:
            function = _defined(lines)
        self._parts.append(
            TracebackPart(
                "frame",
                "\n".join(raw),
                tuple(lines),
                path=known.path if known else _relative(path),
                line=line,
                function=(known.function if known and known.function else function),
                is_own=known.is_own if known else _is_own(path),
                error=error,
            )
        )


def _line(text: str, number: int | None) -> SourceLine:
    text = text.rstrip("\r")
    if _ERROR.fullmatch(text):
        return SourceLine("error", text[4:])
    if text.startswith(">"):
        return SourceLine("current", text[4:] if text[1:4].isspace() else text[1:], number)
    if text.startswith("    "):
        return SourceLine("source", text[4:], number)
    return SourceLine("text", text)


def _short_lines(pending: Sequence[str], line: int) -> list[SourceLine]:
    """Return lines that follow a location; the first is the one that ran."""
    found = []
    for position, text in enumerate(pending):
        shown = _line(text, None)
        if shown.kind == "source" and position == 0:
            shown = SourceLine("current", shown.text, line)
        found.append(shown)
    return found


def _long_lines(pending: Sequence[str], line: int) -> list[SourceLine]:
    """Return the lines before a location, numbered backwards from the marked one, which has the number."""
    found = [_line(text, None) for text in pending]
    marked = [position for position, shown in enumerate(found) if shown.kind == "current"]
    while found and not found[-1].text and found[-1].kind in ("text", "source"):
        found.pop()
    if not marked:
        return found
    number = line
    for position in range(marked[0], -1, -1):
        shown = found[position]
        if shown.kind not in ("source", "current") and (shown.text or position == 0):
            break
        if number > 0:
            found[position] = SourceLine(
                shown.kind if shown.kind == "current" else "source", shown.text, number
            )
        number -= 1
    for position, shown in enumerate(found):  # blank lines before the source are not of the file
        if shown.number is not None and shown.text:
            break
        found[position] = SourceLine("text", shown.text)
    start = 0
    while start < len(found) and not found[start].text and found[start].kind == "text":
        start += 1
    return found[start:]


def _defined(lines: Sequence[SourceLine]) -> str:
    for line in lines:
        if line.kind in ("source", "current") and (found := _DEFINITION.match(line.text)):
            return found["name"]
    return ""


def _relative(path: str) -> str:
    """Return a path with slashes, without leading steps upwards."""
    parts = path.replace("\\", "/")
    while parts.startswith(("../", "./")):
        parts = parts.partition("/")[2]
    return parts


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _is_own(path: str) -> bool:
    parts = path.replace("\\", "/").split("/")
    is_relative = parts[0] not in ("", "..") and not parts[0].endswith(":") and not path.startswith("<")
    return is_relative and not any(part in _INSTALLED for part in parts)
