"""The lines of a journal, grouped: results that follow each other are delivered together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pytest_tms.journal.lines import AnyLine, Begun, OnWorker, Tested, TimeLimit

MAX_TESTS = 10_000
"""Tests of one message."""
MAX_BYTES = 8 << 20
"""Bytes of one message's tests, unless a single test is longer."""


class ReadLine(NamedTuple):
    """A line with its length, and the position after it."""

    position: int
    line: AnyLine
    size: int


class Batch(NamedTuple):
    """Tests by shard, from lines before ``position``."""

    position: int
    tests: Mapping[str, list[Tested]]


def group_lines(lines: Iterable[ReadLine], delivered: Mapping[str, int]) -> Iterator[Batch | ReadLine]:
    """Yield batches of tests, and the other lines that cause a call, in order.

    ``delivered`` has, by shard, the position before which its tests are delivered already: they are left out.
    Lines that cause no call belong to the batch around them, which may have no tests.
    """
    batch: dict[str, list[Tested]] = {}
    contained: set[tuple[str, int]] = set()
    position = tests = size = 0
    for read in lines:
        line = read.line
        is_silent = isinstance(line, (Begun, OnWorker, TimeLimit))
        # A test that has another result is in the next message: a test counts once in a message.
        fits = (
            isinstance(line, Tested)
            and not (line.again and (not line.id or (line.shard, line.id) in contained))
            and tests < MAX_TESTS
            and size <= MAX_BYTES
        )
        if batch and not fits and not is_silent:
            yield Batch(position, batch)
            batch, tests, size = {}, 0, 0
            contained.clear()
        if isinstance(line, Tested):
            position = read.position
            if read.position > delivered.get(line.shard, 0):
                batch.setdefault(line.shard, []).append(line)
                contained.add((line.shard, line.id))
                tests, size = tests + 1, size + read.size
        elif is_silent:
            position = read.position
        else:
            yield read
            position = 0
    if position:
        yield Batch(position, batch)
