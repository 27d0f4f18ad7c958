"""Reads JSON in parts, so that memory holds one value of a large document at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

MAX_VALUE = 64 << 20
"""Characters of a value that is read at once."""
MARGIN = 32
"""Characters at the end of the text read so far that may be the beginning of a longer token."""
WHITE_SPACE = " \t\n\r"


class JsonReader:
    """Walks through one JSON document.

    ``members`` and ``elements`` enter an object or an array; the caller reads each value with ``value``, or
    enters it, before the next step.

    Raises:
        ValueError: the text is not JSON, or a value is too large; the message names the line. Exceptions of
            the text itself are not caught.
    """

    def __init__(self, text: Iterator[str], *, skipped_lines: int = 0) -> None:
        """Read ``text``; ``skipped_lines`` is the number of lines before it."""
        self._text = text
        self._buffer = ""
        self._position = 0
        self._is_ended = False
        self._lines = skipped_lines
        self._decoder = json.JSONDecoder(parse_constant=_no_number, strict=False)

    @property
    def line(self) -> int:
        """The current line of the file, from 1."""
        return self._lines + 1 + self._buffer.count("\n", 0, self._position)

    def peek(self) -> str:
        """Return the next character that is not white space; empty at the end."""
        while True:
            while self._position < len(self._buffer):
                character = self._buffer[self._position]
                if character not in WHITE_SPACE:
                    return character
                self._position += 1
            if not self._read_more():
                return ""

    def members(self) -> Iterator[str]:
        """Enter an object; yield each key when its value is next."""
        self._expect("{")
        if self.peek() == "}":
            self._position += 1
            return
        while True:
            if self.peek() != '"':
                self._fail("expected a key in double quotes")
            key = self.value()
            self._expect(":")
            yield key
            if self._is_last("}"):
                return

    def elements(self) -> Iterator[None]:
        """Enter an array; yield when an element is next."""
        self._expect("[")
        if self.peek() == "]":
            self._position += 1
            return
        while True:
            yield
            if self._is_last("]"):
                return

    def value(self) -> Any:
        """Return the next value. NaN and infinite numbers are None."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except json.JSONDecodeError as error:
                is_in_string = error.msg.startswith("Unterminated string")
                if (is_in_string or error.pos >= len(self._buffer) - MARGIN) and self._read_more():
                    continue
                is_truncated = is_in_string or not self._buffer[error.pos :].strip()
                self._position = min(error.pos, len(self._buffer))
                self._fail("the file is truncated" if is_truncated else error.msg)
            except RecursionError:
                self._fail("a value nests too deeply")
            is_complete = not isinstance(value, (int, float)) or end < len(self._buffer) - MARGIN
            if is_complete or self._is_ended:  # a number may continue after "1." or "1e"
                self._position = end
                return value
            self._read_more()

    def document(self) -> dict[str, Any]:
        """Return the whole document, an object."""
        value = self.value()
        self.end()
        if not isinstance(value, dict):
            self._fail("expected an object")
        return value

    def end(self) -> None:
        """Check that the document has ended."""
        if self.peek():
            self._fail("expected the end of the file")

    def _is_last(self, closing: str) -> bool:
        character = self.peek()
        if character not in (",", closing):
            self._fail(f"expected a comma or {closing}" if character else "the file is truncated")
        self._position += 1
        return character == closing

    def _expect(self, character: str) -> None:
        if (found := self.peek()) != character:
            self._fail(f"expected {character}" if found else "the file is truncated")
        self._position += 1

    def _read_more(self) -> bool:
        """Double the text that is not consumed; return whether there was more."""
        if self._is_ended:
            return False
        self._lines += self._buffer.count("\n", 0, self._position)
        kept = self._buffer[self._position :]
        if len(kept) > MAX_VALUE:
            self._fail(f"a value is longer than {MAX_VALUE >> 20} million characters")
        self._position = 0
        self._buffer = kept
        pieces = [kept]
        length = 0
        while length <= len(kept):
            chunk = next(self._text, None)
            if chunk is None:
                self._is_ended = True
                break
            pieces.append(chunk)
            length += len(chunk)
        self._buffer = "".join(pieces)
        return length > 0

    def _fail(self, problem: str) -> NoReturn:
        raise ValueError(f"line {self.line}: {problem}") from None


def _no_number(_: str) -> None:
    """Return None for NaN, Infinity and -Infinity, which JSON does not have."""
