"""Secrets, kept out of everything that leaves the process or reaches the disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

MASK = "********"
SHORTEST = 6
"""Characters below which a value is no secret: masking it would shred ordinary words."""

SECRET_NAME = re.compile(
    r"token|secret|passw(or)?d|passphrase|api_?key|access_?key|private_?key|credential|(^|_)(auth|pwd|pat)($|_)",
    re.IGNORECASE,
)
"""What the name of a variable that holds a secret looks like."""


class Masker:
    """Masks known secrets, and what ``patterns`` match. Raises ValueError for a pattern that is none."""

    def __init__(self, secrets: Iterable[str], patterns: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= SHORTEST for form in _spelled(secret)}
        # The longest first: one secret may be a part of another.
        self._texts = sorted(known, key=len, reverse=True)
        escaped = {form for secret in self._texts for form in _escaped(secret)}
        self._lines = sorted(escaped, key=len, reverse=True)
        joined = "|".join(f"(?:{pattern})" for pattern in patterns)
        try:
            self._pattern = re.compile(joined) if joined else None
            self._line_pattern = re.compile(joined.encode()) if joined else None
        except re.error as error:
            raise ValueError(f"tms_mask is no regular expression: {error}") from None

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        for secret in self._texts:
            if secret in text:
                text = text.replace(secret, MASK)
        return self._pattern.sub(MASK, text) if self._pattern else text

    def line(self, line: bytes) -> bytes:
        """A line of JSON without secrets, in whatever way JSON writes them."""
        for secret in self._lines:
            if secret in line:
                line = line.replace(secret, MASK.encode())
        return self._line_pattern.sub(MASK.encode(), line) if self._line_pattern else line


def of_environment(environ: Mapping[str, str]) -> list[str]:
    """The values of variables whose names look like a secret's."""
    # PWD is the shell's working directory.
    return [value.strip() for name, value in environ.items() if name != "PWD" and SECRET_NAME.search(name)]


def _spelled(secret: str) -> set[str]:
    """A secret as it is, and as pytest writes it in the id of a parameter."""
    return {secret, secret.encode("unicode_escape").decode("ascii")}


def _escaped(secret: str) -> set[bytes]:
    plain = secret.encode("utf-8", "backslashreplace")
    written = (json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    return {plain, *(text.encode("utf-8", "replace") for text in written)}
