"""Differences that pytest and unittest print below a failed assertion, with the changed words marked.

They are lines of ``difflib.ndiff``: ``- `` is the right side of pytest's comparison (the expected value by
convention), ``+ `` the left side, ``? `` points at characters of the line above.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

MAX_COMPARISONS = 200_000
"""Pairs of words that are compared in one difference; beyond that, the middle of a line is marked."""
MAX_PAIR = 20_000
"""The same of two lines."""
MAX_BLOCKS = 30
"""Equal parts of two lines; with more, no words are marked."""

Kind = Literal["removed", "added", "pointer", "text"]

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_DIFF_LINE = re.compile(r"(?P<indent> *)(?P<sign>[-+?])(?: |$)")
_SIGNS: dict[str, Kind] = {"-": "removed", "+": "added", "?": "pointer"}
_START = re.compile(r"(?:[\w.]+: )?assert\b|AssertionError\b|\s*Full diff:")


class Part(NamedTuple):
    """A part of a line; ``is_changed`` says that the other side differs here."""

    text: str
    is_changed: bool = False


class DiffLine(NamedTuple):
    """A line of an error; its parts joined are the line."""

    kind: Kind
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The line as it was printed."""
        return "".join(part.text for part in self.parts)


def diff_lines(lines: Sequence[str]) -> list[DiffLine]:
    """Return the lines of an error, those of a difference with their kind and the changed words marked.

    ``lines`` have no prefix of a traceback. They belong to a difference after a line that begins with an
    assertion, or with "Full diff:".
    """
    kinds = _kinds(lines)
    found = [DiffLine(kind, (Part(line),)) for kind, line in zip(kinds, lines, strict=True)]
    budget = MAX_COMPARISONS
    position = 0
    while position < len(kinds):
        removed, position = _block(kinds, position, "removed")
        if not removed:
            position += 1
            continue
        added, position = _block(kinds, position, "added")
        for old, new in zip(removed, added, strict=False):
            marked, cost = _marked(lines[old], lines[new], budget)
            budget -= cost
            found[old] = DiffLine("removed", marked[0])
            found[new] = DiffLine("added", marked[1])
    return found


def has_difference(lines: Sequence[DiffLine]) -> bool:
    """Return whether any line was added or removed."""
    return any(line.kind in ("added", "removed") for line in lines)


def _kinds(lines: Sequence[str]) -> list[Kind]:
    kinds: list[Kind] = []
    has_begun = False
    indent: str | None = None
    for line in lines:
        if _START.match(line):
            has_begun = True
            kinds.append("text")
            continue
        match = _DIFF_LINE.match(line) if has_begun else None
        if match is None or (indent is not None and match["indent"] != indent):
            kinds.append("text")
            continue
        indent = match["indent"]
        kinds.append(_SIGNS[match["sign"]])
    return kinds


def _block(kinds: Sequence[Kind], position: int, kind: Kind) -> tuple[list[int], int]:
    """Return the positions of consecutive lines of a kind, and of what follows them and their pointers."""
    found = []
    while position < len(kinds) and kinds[position] in (kind, "pointer"):
        if kinds[position] == kind:
            found.append(position)
        elif not found:
            break
        position += 1
    return found, position


def _marked(old: str, new: str, budget: int) -> tuple[tuple[tuple[Part, ...], tuple[Part, ...]], int]:
    """Return the parts of two lines that replace each other, and how many pairs of words were compared."""
    start = _DIFF_LINE.match(old)
    signs = start.end() if start else 0
    left, right = _WORD.findall(old[signs:]), _WORD.findall(new[signs:])
    cost = len(left) * len(right)
    if cost <= min(budget, MAX_PAIR):
        matcher = SequenceMatcher(None, left, right, autojunk=False)
        blocks = [(block.a, block.b, block.size) for block in matcher.get_matching_blocks()]
    else:
        blocks, cost = _ends(left, right), 0
    equal = sum(len(word) for a, _, size in blocks for word in left[a : a + size] if not word.isspace())
    if 8 * equal < len(old) + len(new) - 2 * signs or len(blocks) > MAX_BLOCKS:
        return ((Part(old),), (Part(new),)), cost  # nearly everything differs: marks would say nothing
    parts: tuple[list[Part], list[Part]] = ([Part(old[:signs])], [Part(new[:signs])])
    i = j = 0
    for a, b, size in blocks:
        for side, words in ((parts[0], left[i:a]), (parts[1], right[j:b])):
            if words:
                side.append(Part("".join(words), is_changed=True))
        if size:
            for side in parts:
                side.append(Part("".join(left[a : a + size])))
        i, j = a + size, b + size
    return (tuple(parts[0]), tuple(parts[1])), cost


def _ends(left: list[str], right: list[str]) -> list[tuple[int, int, int]]:
    """Return the common beginning and the common end of two lists, as matching blocks."""
    most = min(len(left), len(right))
    head = 0
    while head < most and left[head] == right[head]:
        head += 1
    tail = 0
    while tail < most - head and left[-1 - tail] == right[-1 - tail]:
        tail += 1
    return [(0, 0, head), (len(left) - tail, len(right) - tail, tail), (len(left), len(right), 0)]
