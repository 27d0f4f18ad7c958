"""Which test a result is of: the same key in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from pytest_tms import wire

LONGEST = 300
"""Characters of a key before it is cut."""


def keys(tests: Sequence[wire.TestResult]) -> Iterator[str]:
    """Each test's key: its node id, else file and title; one that is very long ends in its hash.

    A test that one submission names twice counts twice: the second gets ``#2``, in the order sent, so that
    sending the same again gives the same keys.
    """
    taken: set[str] = set()
    latest: dict[str, int] = {}
    for test in tests:
        first = key = _short(test.node_id or f"{test.file or ''}::{test.title}")
        while key in taken:
            number = latest[first] = latest.get(first, 1) + 1
            key = f"{first} #{number}"
        taken.add(key)
        yield key


def _short(key: str) -> str:
    """A key as an index takes it: PostgreSQL has no NUL, and no more than 2,700 bytes for an entry."""
    if len(key) > LONGEST:
        key = f"{key[:LONGEST]} {hashlib.sha256(key.encode()).hexdigest()}"
    return key.replace("\x00", "\ufffd") if "\x00" in key else key
