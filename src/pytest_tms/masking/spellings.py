"""The spellings of a secret in text that a test reports."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator

SHORTEST = 6
"""Characters below which a value is not a secret: masking it would destroy ordinary words."""


def spellings_of(secret: str) -> Iterator[str]:
    """Yield a secret, and its lines if it has several, in all ways in which it may be written."""
    # A PEM block in one variable often has its line ends as escapes.
    whole = re.sub(r"(\\r)?\\n", "\n", secret) if "-----BEGIN" in secret else secret
    lines = [line.strip() for line in whole.splitlines()]
    parts = [line for line in lines if not line.startswith("-----")] if len(lines) > 1 else []
    for text in (secret, *parts):
        if len(text) >= SHORTEST:
            yield from _spellings(text)


def _spellings(text: str) -> Iterator[str]:
    yield text
    if text.isalnum() and text.isascii():
        return
    # Text that is not Unicode is sent as escapes.
    clean = text.encode("utf-8", "backslashreplace").decode()
    yield clean
    yield text.encode("unicode_escape").decode("ascii")
    yield repr(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(clean, ensure_ascii=False)[1:-1]
    yield urllib.parse.quote(clean, safe="")
    yield urllib.parse.quote(clean)
    yield urllib.parse.quote_plus(clean)
