"""Text that arrives in pieces, of bounded size."""

from __future__ import annotations

from pytest_tms.text import clean

MAX_TEXT = 100_000
"""Characters of a traceback and of each output that are kept; a longer text is shortened in the middle."""


def clip(text: str) -> str:
    """Return at most ``MAX_TEXT`` characters of ``text``: its beginning and its end."""
    return clean(text, limit=MAX_TEXT)


class BoundedText:
    """A text that keeps only its beginning and its end while pieces are appended."""

    __slots__ = ("_head", "_head_length", "_omitted", "_tail", "_tail_length")

    def __init__(self) -> None:
        self._head: list[str] = []
        self._tail: list[str] = []
        self._head_length = self._tail_length = self._omitted = 0

    def append(self, piece: str) -> None:
        """Add a piece."""
        if self._head_length < MAX_TEXT:
            self._head.append(piece)
            self._head_length += len(piece)
            return
        self._tail.append(piece)
        self._tail_length += len(piece)
        if self._tail_length > 2 * MAX_TEXT:
            kept = "".join(self._tail)[-MAX_TEXT:]
            self._omitted += self._tail_length - len(kept)
            self._tail, self._tail_length = [kept], len(kept)

    def __str__(self) -> str:
        """Return the text; of a long one the beginning and the end, and between them how much is omitted."""
        head, tail = "".join(self._head), "".join(self._tail)
        length = self._head_length + self._tail_length + self._omitted
        if length <= MAX_TEXT:
            return clean(head + tail)
        half = MAX_TEXT // 2
        end = tail[-half:] if len(tail) >= half else (head + tail)[-half:]
        return clean(f"{head[:half]}\n… {length - 2 * half} characters left out …\n{end}")
