"""Search in the lines of a text, such as the output of a test."""

from __future__ import annotations

MAX_WORDS = 200
"""Characters of the longest text that is searched for."""


def matching_lines(text: str, words: str) -> str:
    """Return the lines that contain ``words`` without regard to case, each after its number, from 1."""
    sought = words[:MAX_WORDS].casefold()
    lines = enumerate(text.splitlines(), 1)
    found = [f"{number:>6}  {line}\n" for number, line in lines if sought in line.casefold()]
    return "".join(found) or "No line has this text.\n"
