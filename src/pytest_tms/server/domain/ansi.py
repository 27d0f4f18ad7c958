"""Colours of a terminal in captured text: escape sequences become spans with classes, or are removed.

Text is from tests and may contain anything. Every function takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_SPANS = 2_000
"""Spans of one text with colours; what follows them is one span without."""
MAX_PARAMETERS = 32
"""Parameters of one sequence that are read."""

NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
"""The colours of a terminal, in the order of their codes."""

_ESCAPE = re.compile(
    r"\x1b\[(?P<parameters>[0-9;:]*)m"  # Select Graphic Rendition: colours
    r"|\x1b\[[0-?]*[ -/]*[@-~]?"  # any other control sequence, also one that was cut off
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # operating system commands, such as links and titles
    r"|\x1b[PX^_][^\x1b]*\x1b\\"  # device control and other strings
    r"|\x1b[ -/]*[0-~]?"
)
_LEVELS = (0, 95, 135, 175, 215, 255)
_SHADES = (
    (0, 0, 0),
    (205, 0, 0),
    (0, 205, 0),
    (205, 205, 0),
    (0, 0, 238),
    (205, 0, 205),
    (0, 205, 205),
    (229, 229, 229),
)
_STYLES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
_ENDS = {
    21: ("bold",),
    22: ("bold", "dim"),
    23: ("italic",),
    24: ("underline",),
    27: ("inverse",),
    29: ("strike",),
}


class Span(NamedTuple):
    """A part of a text, and its classes separated by spaces: ``ansi-red``, ``ansi-on-blue``."""

    text: str
    classes: str


def spans(text: str, limit: int = MAX_SPANS) -> list[Span]:
    """Return the parts of ``text`` by their colours, without escape sequences.

    Neighbours differ in their classes; none is empty. Other colours than the eight become the nearest
    of them. After ``limit`` spans, the rest is one without colours.
    """
    if "\x1b" not in text:
        return [Span(text, "")] if text else []
    found: list[Span] = []
    style = _Style()
    classes = ""
    parts: list[str] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[position : match.start()])
        position = match.end()
        parameters = match["parameters"]
        if parameters is None or len(found) >= limit:
            continue
        style.apply(parameters)
        if style.classes != classes:
            _append(found, parts, classes, limit)
            classes = style.classes
    parts.append(text[position:])
    _append(found, parts, classes, limit)
    return found


def plain(text: str) -> str:
    """Return ``text`` without escape sequences."""
    return _ESCAPE.sub("", text) if "\x1b" in text else text


def _append(found: list[Span], parts: list[str], classes: str, limit: int) -> None:
    if part := "".join(parts):
        if found and found[-1].classes == classes:
            found[-1] = Span(found[-1].text + part, classes)
        else:
            found.append(Span(part, classes if len(found) < limit else ""))
    parts.clear()


class _Style:
    """The colours that are selected."""

    def __init__(self) -> None:
        self._styles: set[str] = set()
        self._front = self._back = ""
        self.classes = ""

    def apply(self, parameters: str) -> None:
        words = parameters[: 4 * MAX_PARAMETERS].replace(":", ";").split(";")[:MAX_PARAMETERS]
        codes = iter([int(word) if 0 < len(word) < 4 else 0 if not word else 999 for word in words])
        for code in codes:
            if code == 0:
                self._styles.clear()
                self._front = self._back = ""
            elif code in _STYLES:
                self._styles.add(_STYLES[code])
            elif code in _ENDS:
                self._styles.difference_update(_ENDS[code])
            elif code in (38, 48):
                colour = _extended(codes)
                if code == 38:
                    self._front = colour
                else:
                    self._back = colour
            elif code == 39:
                self._front = ""
            elif code == 49:
                self._back = ""
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self._front = NAMES[code % 10]
            elif 40 <= code <= 47 or 100 <= code <= 107:
                self._back = NAMES[code % 10]
        names = [*sorted(self._styles), self._front, self._back and f"on-{self._back}"]
        self.classes = " ".join(f"ansi-{name}" for name in names if name)


def _extended(codes: Iterator[int]) -> str:
    """Return the colour of the parameters after 38 or 48: an index of 256, or red, green and blue."""
    kind = next(codes, 0)
    if kind == 5:
        return _indexed(next(codes, 0))
    if kind == 2:
        return _nearest(*(min(next(codes, 0), 255) for _ in range(3)))
    return ""


def _indexed(index: int) -> str:
    if index < 16:
        return NAMES[index % 8]
    if index < 232:
        index -= 16
        return _nearest(_LEVELS[index // 36], _LEVELS[index // 6 % 6], _LEVELS[index % 6])
    grey = min(8 + 10 * (index - 232), 255)
    return _nearest(grey, grey, grey)


def _nearest(red: int, green: int, blue: int) -> str:
    distances = [(red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2 for r, g, b in _SHADES]
    return NAMES[distances.index(min(distances))]
