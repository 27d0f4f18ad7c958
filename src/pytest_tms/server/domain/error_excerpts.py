"""The part of a failure that says what went wrong, for lists: the lines that pytest marks with an E."""

from __future__ import annotations

import re
from textwrap import dedent
from typing import Literal, NamedTuple

MAX_LINES = 16
"""Lines of an excerpt."""
MAX_WIDTH = 400
"""Characters of one line."""
MAX_READ = 20_000
"""Characters of a traceback that are read, from its end."""

LineKind = Literal["", "added", "removed", "place"]

_MARKED = re.compile(r"E( .*|)")
_PLACE = re.compile(r"[^\s:][^:]*\.py:\d+: \S.*")
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class ExcerptLine(NamedTuple):
    """One line; ``added`` and ``removed`` are lines of a difference, ``place`` is a file with a line."""

    kind: LineKind
    text: str


def excerpt(error: str, traceback: str) -> list[ExcerptLine]:
    """Return the lines of the last error in a traceback, then its place; without a traceback, the error."""
    lines = [_ESCAPE.sub("", line) for line in traceback[-MAX_READ:].splitlines()]
    last = max((number for number, line in enumerate(lines) if _MARKED.fullmatch(line)), default=None)
    if last is None:
        return [_line(text) for text in _ESCAPE.sub("", error).splitlines()[:MAX_LINES]]
    first = last
    while first and _MARKED.fullmatch(lines[first - 1]):
        first -= 1
    marked = dedent("\n".join(line[1:] for line in lines[first : last + 1])).split("\n")
    place = next((line for line in lines[last + 1 :] if _PLACE.fullmatch(line)), None)
    kept = [_line(text) for text in marked[:MAX_LINES]]
    if len(marked) > MAX_LINES:
        kept.append(ExcerptLine("", f"… {len(marked) - MAX_LINES} more lines"))
    return [*kept, ExcerptLine("place", place[:MAX_WIDTH])] if place else kept


def _line(text: str) -> ExcerptLine:
    stripped = text.lstrip()
    kind: LineKind = ""
    if stripped.startswith(("- ", "-\t")) or stripped == "-":
        kind = "removed"
    elif stripped.startswith(("+ ", "+\t")) and not stripped.startswith("+  where "):
        kind = "added"
    return ExcerptLine(kind, text[:MAX_WIDTH].rstrip())
