"""Ids: the documented prefix, then a time to sort by and randomness that nobody guesses."""

from __future__ import annotations

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that is mistaken for another."""


def new_id(prefix: str) -> str:
    """``prefix_`` and 26 characters: milliseconds since 1970 in 48 bits, then 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    digits = [ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"
