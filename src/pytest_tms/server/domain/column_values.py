"""Converts values to those that the columns of every database accept."""

from __future__ import annotations


def without_nul(text: str) -> str:
    """Return text without NUL, which PostgreSQL cannot store."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text
