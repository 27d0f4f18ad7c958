"""Values as the columns of every database take them."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return text as a column takes it: PostgreSQL does not store NUL."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text
