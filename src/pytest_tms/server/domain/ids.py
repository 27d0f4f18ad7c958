"""Ids: a documented prefix, a time that makes them sortable, and random bits that cannot be guessed."""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, without letters that are easily confused."""


def new_id(prefix: str) -> str:
    """Return a new id: ``prefix_``, then 26 characters for milliseconds since 1970 and 80 random bits."""
    return _id(prefix, time.time_ns() // 1_000_000, secrets.randbits(80))


def first_id(prefix: str, milliseconds: int) -> str:
    """Return the smallest id that an object created at ``milliseconds`` since 1970 can have."""
    return _id(prefix, max(0, milliseconds), 0)


def _id(prefix: str, milliseconds: int, random: int) -> str:
    number = milliseconds << 80 | random
    digits = [ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"
