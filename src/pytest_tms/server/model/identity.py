"""Which test a result is of: the same key in every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_tms import wire


def keys(tests: Sequence[wire.TestResult]) -> Iterator[str]:
    """Each test's key: its node id, else file and title.

    A test that one submission names twice counts twice: the second gets ``#2``, in the order sent, so that
    sending the same again gives the same keys.
    """
    seen: dict[str, int] = {}
    for test in tests:
        key = test.node_id or f"{test.file or ''}::{test.title}"
        number = seen[key] = seen.get(key, 0) + 1
        yield key if number == 1 else f"{key} #{number}"
