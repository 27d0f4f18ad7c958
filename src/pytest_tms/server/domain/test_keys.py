"""Keys of tests: the same for a test in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from pytest_tms import wire

MAX_KEY = 300
"""Characters of a key before it is shortened."""


def keys(tests: Sequence[wire.TestResult]) -> Iterator[str]:
    """Yield the key of each test: its node id, else file and title; a very long one ends in its hash.

    If a message contains a test twice, the key of the second ends in ``#2``, and so on in the order sent, so
    a repeated message yields the same keys.
    """
    taken: set[str] = set()
    latest: dict[str, int] = {}
    for test in tests:
        first = key = shortened(test.node_id or f"{test.file or ''}::{test.title}")
        while key in taken:
            number = latest[first] = latest.get(first, 1) + 1
            key = f"{first} #{number}"
        taken.add(key)
        yield key


def shortened(key: str) -> str:
    """Return a key that fits an index: PostgreSQL allows no NUL and 2,700 bytes for an entry."""
    if len(key) > MAX_KEY:
        key = f"{key[:MAX_KEY]} {hashlib.sha256(key.encode()).hexdigest()}"
    return key.replace("\x00", "\ufffd") if "\x00" in key else key
