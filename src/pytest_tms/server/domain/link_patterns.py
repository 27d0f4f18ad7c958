"""Patterns of an operator that make the ids of tests links, such as ``TC-\\d+=https://tests.example.com/{0}``."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

MAX_WORD = 100
"""Characters of a word that may be an id."""
MAX_WORDS = 20
"""Words of one text that may be ids."""
MAX_PATTERN = 200
"""Characters of a pattern."""
MAX_REPETITIONS = 3
"""Unbounded repetitions in a pattern: with so many, a match of a word takes milliseconds at most."""

_ENTRY = re.compile(r"(?P<pattern>\S+?)=(?P<url>https?://\S+)")
_REPEATED_GROUP = re.compile(r"\)\s*[*+?{]|\\[1-9]|\(\?")
_REPETITION = re.compile(r"(?<!\\)(?:[*+]|\{\d*,\d*\})")
_SEPARATOR = re.compile(r"[\s,;]+")


class TextPart(NamedTuple):
    """A part of a text; ``url`` is empty if it is not a link."""

    text: str
    url: str = ""


class LinkPatterns:
    """Regular expressions and the URLs of what they match. ``str()`` returns the text that was parsed."""

    def __init__(self, text: str = "") -> None:
        """Parse patterns, separated by spaces.

        Raises:
            ValueError: A pattern or a URL is not allowed.
        """
        self._text = " ".join(text.split())
        self._patterns = [_parsed(entry) for entry in self._text.split()]

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LinkPatterns) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def url(self, word: str) -> str:
        """Return the URL of a word that a pattern matches as a whole; an empty text if none does."""
        if not 0 < len(word) <= MAX_WORD:
            return ""
        for pattern, url in self._patterns:
            if pattern.fullmatch(word):
                return url.replace("{0}", quote(word, safe=""))
        return ""

    def parts(self, text: str) -> list[TextPart]:
        """Return a text in parts, of which ids are links; joined they are the text."""
        parts = []
        position = 0
        for _ in range(MAX_WORDS):
            separator = _SEPARATOR.search(text, position)
            end = separator.start() if separator else len(text)
            parts.append(TextPart(text[position:end], self.url(text[position:end])))
            if separator is None:
                break
            parts.append(TextPart(separator[0]))
            position = separator.end()
        else:
            parts.append(TextPart(text[position:]))
        return [part for part in parts if part.text]


def _parsed(entry: str) -> tuple[re.Pattern[str], str]:
    found = _ENTRY.fullmatch(entry)
    if found is None or "{0}" not in found["url"]:
        raise ValueError(
            f"{entry!r} is not a link pattern: use PATTERN=https://…/{{0}}, where {{0}} stands for the id"
        )
    pattern = found["pattern"]
    if (
        len(pattern) > MAX_PATTERN
        or _REPEATED_GROUP.search(pattern)
        or len(_REPETITION.findall(pattern)) > MAX_REPETITIONS
    ):
        raise ValueError(
            f"the pattern {pattern!r} may take too long: use at most {MAX_PATTERN} characters and "
            f"{MAX_REPETITIONS} repetitions, and repeat no group"
        )
    try:
        return re.compile(pattern), found["url"]
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern {pattern!r} is not a regular expression: {error}") from None
