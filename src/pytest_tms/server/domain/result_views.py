"""What the page of one result shows of its document: bounded excerpts, in parts that a template writes.

A document may have megabytes of text. No more than an excerpt of each text is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from pytest_tms import wire
from pytest_tms.server.domain import ansi
from pytest_tms.server.domain.assertion_diffs import DiffLine, Part, diff_lines, has_difference
from pytest_tms.server.domain.tracebacks import SourceLine, TracebackPart, parse_traceback

MAX_TRACEBACK = 60_000
"""Characters of a traceback that are parsed: its beginning and its end."""
MAX_ERROR_LINES = 300
"""Lines of an error."""
MAX_LINE = 4_000
"""Characters of one line of an error or of source."""
MAX_MARKS = 300
"""Parts of lines with marked words."""
MAX_OUTPUT = 20_000
"""Characters of an output, of its end."""
MAX_SPANS = 120
"""Coloured parts of one output."""
MAX_SECTIONS = 10
"""Sections of other plugins."""
MAX_FRAMES = 60
"""Frames of a traceback, and those that are folded together count as one."""
MAX_SOURCE = 15
"""Lines of source before the one that ran."""
MAX_OPEN = 10
"""Own frames that are open."""

_DECODER = msgspec.json.Decoder(wire.TestResult)  # made at import: see calls.decoder
_FIELDS = msgspec.json.Decoder(dict[str, Any])
_NEWER = ("frames", "phases", "exceptionType", "sharedSetups")
"""Fields that an older version stored unchecked, whatever they were."""

STREAMS = (("stdout", "Standard output"), ("stderr", "Standard error"), ("log", "Log"))
"""Captured outputs: the names of their fields, and how they are called."""


class FrameGroup(NamedTuple):
    """An own frame, or consecutive frames of libraries: ``packages`` are some of their names."""

    is_own: bool
    frames: tuple[TracebackPart, ...]
    packages: tuple[str, ...] = ()
    is_open: bool = False


class TracebackView(NamedTuple):
    """A traceback: the lines of its error and its frames; texts in between are kept as they are.

    ``missing`` is the number of characters between its beginning and its end that were not parsed.
    """

    error: tuple[DiffLine, ...]
    has_difference: bool
    items: tuple[FrameGroup | TracebackPart, ...]
    raw: str
    missing: int


class OutputView(NamedTuple):
    """The end of an output; ``missing`` counts the characters before it, ``lines`` the lines of the whole."""

    name: str
    title: str
    spans: tuple[ansi.Span, ...]
    missing: int
    lines: int


Tried = wire.TestResult | wire.Attempt


def decode(document: msgspec.Raw) -> wire.TestResult:
    """Return a stored document as a message; fields that are not as they should be are left out."""
    try:
        return _DECODER.decode(document)
    except msgspec.ValidationError:
        fields = _FIELDS.decode(document)
        for name in _NEWER:
            fields.pop(name, None)
            for attempt in fields.get("attempts") or ():
                attempt.pop(name, None)
        return msgspec.convert(fields, wire.TestResult)


def traceback_view(tried: Tried | wire.Subtest) -> TracebackView:
    """Return the traceback of a test, an attempt or a subtest, or its error alone if it has none."""
    text = ansi.plain(tried.longrepr or "")
    head, tail, missing = _ends(text)
    parts = parse_traceback(head, getattr(tried, "frames", None) or ())
    if missing:
        note = TracebackPart("text", f"… {missing:,} characters are not shown …")
        parts = [*parts, note, *parse_traceback(tail, getattr(tried, "frames", None) or ())]
    if not any(part.kind == "frame" for part in parts):  # the styles line and no
        parts = [*parts, *_sent_frames(getattr(tried, "frames", None) or ())]
    error_lines = _last_error(parts)
    shown = error_lines or ansi.plain(tried.error or "").split("\n")
    lines = _bounded(diff_lines([line[:MAX_LINE] for line in shown[:MAX_ERROR_LINES]]))
    raw = f"{head}\n… {missing:,} characters are not shown …\n{tail}" if missing else head
    return TracebackView(
        error=tuple(lines) if any(shown) else (),
        has_difference=has_difference(lines),
        items=tuple(_items(parts, has_error=bool(error_lines))),
        raw=raw,
        missing=missing,
    )


def outputs(tried: Tried) -> list[OutputView]:
    """Return the ends of the outputs of a test or an attempt."""
    found = [_output(name, title, getattr(tried, name) or "") for name, title in STREAMS]
    for number, section in enumerate((tried.sections or ())[:MAX_SECTIONS], 1):
        found.append(_output(f"section-{number}", section.name[:200] or "section", section.text))
    return [each for each in found if each.spans]


def whole_output(tried: Tried, name: str) -> str | None:
    """Return a whole text of a test or an attempt by the name in its URL; None if it has none."""
    if name in ("stdout", "stderr", "log", "longrepr"):
        text: str | None = getattr(tried, name)
        return text
    number = name.removeprefix("section-")
    sections = tried.sections or []
    if name.startswith("section-") and number.isdecimal() and 0 < int(number[:4]) <= len(sections):
        return sections[int(number[:4]) - 1].text
    return None


def _output(name: str, title: str, text: str) -> OutputView:
    tail = text[-MAX_OUTPUT:]
    missing = len(text) - len(tail)
    if missing:
        start = tail.find("\n") + 1
        if 0 < start < len(tail):
            tail = tail[start:]
            missing += start
    lines = text.count("\n") + (not text.endswith("\n"))
    return OutputView(name, title, tuple(ansi.spans(tail, MAX_SPANS)), missing, lines)


def _ends(text: str) -> tuple[str, str, int]:
    """Return the beginning and the end of a long text by lines, and how many characters are between them."""
    if len(text) <= MAX_TRACEBACK:
        return text, "", 0
    head = text[: MAX_TRACEBACK // 3]
    tail = text[-(MAX_TRACEBACK - len(head)) :]
    head = head[: head.rfind("\n")] if "\n" in head else head
    tail = tail[tail.find("\n") + 1 :] if "\n" in tail[:-1] else tail
    return head, tail, len(text) - len(head) - len(tail)


def _sent_frames(frames: Sequence[wire.Frame]) -> list[TracebackPart]:
    """Return frames that the runner sent, without source."""
    return [
        TracebackPart(
            "frame",
            f"{each.path}:{each.line}",
            path=each.path,
            line=each.line,
            function=each.function or "",
            is_own=each.is_own,
        )
        for each in frames
    ]


def _last_error(parts: Sequence[TracebackPart]) -> list[str]:
    """Return the lines of the last error of a traceback, without its indentation."""
    for part in reversed(parts):
        lines = [line.text for line in part.lines if line.kind == "error"]
        if lines:
            return _dedented(lines)
        if part.kind == "text" and part.raw.strip() and part is parts[-1]:
            return part.raw.strip("\n").split("\n") if len(parts) > 1 else []
    return []


def _dedented(lines: list[str]) -> list[str]:
    indent = len(lines[0]) - len(lines[0].lstrip(" "))
    return [line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in lines]


def _bounded(lines: Sequence[DiffLine]) -> list[DiffLine]:
    """Return lines of which only so many have marked words."""
    left = MAX_MARKS
    found = []
    for line in lines:
        left -= len(line.parts)
        found.append(line if left > 0 or len(line.parts) == 1 else DiffLine(line.kind, (Part(line.text),)))
    return found


def _items(parts: Sequence[TracebackPart], *, has_error: bool) -> Iterator[FrameGroup | TracebackPart]:
    """Yield frames, those of libraries together, and the other parts that have text."""
    shown = [part for part in parts if part.kind != "separator" and part.raw.strip()]
    last = max((i for i, part in enumerate(shown) if any(x.kind == "error" for x in part.lines)), default=-1)
    if has_error and last >= 0:  # the error that is shown above them
        part = shown[last]
        shown[last] = part._replace(lines=tuple(line for line in part.lines if line.kind != "error"))
        if part.kind == "error" and not any(line.text.strip() for line in shown[last].lines):
            del shown[last]
    opened = count = 0
    for is_own, group in groupby(shown, key=lambda part: part.is_own if part.kind == "frame" else None):
        if count >= MAX_FRAMES:
            return
        frames = [_cut(part) for part in group]
        if is_own is None:
            for part in frames[: MAX_FRAMES - count]:
                count += 1
                yield part
        elif is_own:
            for part in frames[: MAX_FRAMES - count]:
                count += 1
                opened += 1
                yield FrameGroup(True, (part,), is_open=opened <= MAX_OPEN)
        else:
            count += 1
            yield FrameGroup(False, tuple(frames[:MAX_FRAMES]), packages=_packages(frames))


def _cut(part: TracebackPart) -> TracebackPart:
    """Return a frame with fewer lines of source before the one that ran, and bounded lines."""
    lines = [line._replace(text=line.text[:MAX_LINE]) for line in part.lines]
    marked = next((position for position, line in enumerate(lines) if line.kind == "current"), None)
    if marked is not None and marked > MAX_SOURCE:
        left_out = marked - MAX_SOURCE
        lines = [SourceLine("text", f"… {left_out} lines before are not shown"), *lines[left_out:]]
    return part._replace(lines=tuple(lines[:MAX_ERROR_LINES]), raw=part.raw[:MAX_TRACEBACK])


def _packages(frames: Sequence[TracebackPart]) -> tuple[str, ...]:
    """Return the names of the first packages to which frames belong."""
    names: dict[str, None] = {}
    for frame in frames:
        parts = frame.path.replace("\\", "/").split("/")
        for folder in ("site-packages", "dist-packages"):
            if folder in parts:
                parts = parts[parts.index(folder) + 1 :]
                break
        else:
            python = [i for i, part in enumerate(parts) if part.startswith("python3")]
            parts = parts[python[-1] + 1 :] if python else parts[-1:]
        if parts:
            names.setdefault(parts[0].removesuffix(".py")[:60])
    return tuple(names)[:3]
