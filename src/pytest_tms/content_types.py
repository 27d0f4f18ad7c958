"""The content type of a file, by its first bytes and not by its name."""

from __future__ import annotations

import codecs

import filetype  # type: ignore[import-untyped]  # it has no type hints

HEAD = 8192
"""Bytes from the beginning of a file that are enough to recognise its type."""
TEXT = "text/plain; charset=utf-8"
UNKNOWN = "application/octet-stream"


def content_type(head: bytes) -> str:
    """Return the content type of a file whose first ``HEAD`` bytes are ``head``.

    Text that begins like markup is HTML, SVG or XML, any other UTF-8 text is plain text.
    """
    found: str | None = filetype.guess_mime(head)
    if found is not None:
        return found
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return UNKNOWN
    if "\0" in text:
        return UNKNOWN
    start = text.lstrip().lower()
    if not start.startswith("<"):
        return TEXT
    if "<html" in start or start.startswith("<!doctype html"):
        return "text/html; charset=utf-8"
    return "image/svg+xml" if "<svg" in start else "application/xml"
