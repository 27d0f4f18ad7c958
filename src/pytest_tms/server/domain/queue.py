"""The queue of an execution: sets of its tests, and how many of them a shard takes. Pure functions.

The tests of a queue are numbered in the order in which it was made. A set of them is a list of ranges
``[start, end)`` without overlaps; the order of the ranges is that in which the tests are taken.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

Range = tuple[int, int]

SHARE = 4
"""A batch has this part of an even share of the remaining time of all workers."""
SMALLEST = 200
"""The smallest batch has this part of an even share of the time of all tests."""
UNKNOWN_SHARDS = 16
"""Shards that are expected if no job declared their number."""


class QueuedTest(NamedTuple):
    """A test of a queue; ``weight`` is its expected duration in milliseconds, 1 if none is known."""

    number: int
    node_id: str
    group: str
    weight: int


def size(ranges: Iterable[Range]) -> int:
    """Return the number of tests in ranges."""
    return sum(end - start for start, end in ranges)


def from_numbers(numbers: Iterable[int]) -> list[Range]:
    """Return the ranges of some tests, in their order."""
    found: list[Range] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges in ascending order, with adjacent ones as one."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def subtract(ranges: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """Return ranges without the tests of others; what remains keeps its order."""
    removed = sorted(others)
    if not removed:
        return list(ranges)
    starts = [start for start, _ in removed]
    found = []
    for start, end in ranges:
        position = max(0, bisect_right(starts, start) - 1)
        while start < end and position < len(removed) and removed[position][0] < end:
            gap_start, gap_end = removed[position]
            if gap_end > start:
                if gap_start > start:
                    found.append((start, gap_start))
                start = gap_end
            position += 1
        if start < end:
            found.append((start, end))
    return found


def renumbered(ranges: Iterable[Range], lacks: Sequence[Range]) -> list[Range]:
    """Return ranges, numbered in a list without the tests that it ``lacks``; they have none of these."""
    removed = joined(lacks)
    starts = [start for start, _ in removed]
    before = [0]
    for start, end in removed:
        before.append(before[-1] + end - start)
    found = []
    for start, end in ranges:
        shift = before[bisect_right(starts, start)]
        found.append((start - shift, end - shift))
    return joined(found)


def batch_weight(remaining: float, total: float, workers: float, own: int) -> float:
    """Return how many milliseconds of tests a shard with ``own`` workers takes of the ``remaining`` ones.

    ``workers`` is the number of all workers that take tests, ``total`` the time of all tests.
    """
    return own * max(remaining / SHARE, total / SMALLEST) / max(workers, own, 1)


def count_of_batch(tests: Sequence[QueuedTest], weight: float, minimum: int) -> int:
    """Return how many of the first ``tests`` are a batch of about ``weight`` ms, at least ``minimum``.

    Groups stay together if they fit into the batch. If the first one does not, its classes do; otherwise its
    tests are taken one by one. ``tests`` must take longer than ``weight`` together, or be all that remain.
    """
    for key in (_by_group, _by_class, _by_number):
        taken, left = 0, weight
        for _, members in groupby(tests, key):
            block = list(members)
            left -= sum(test.weight for test in block)
            if left < 0:
                break
            taken += len(block)
        if taken:
            break
    return min(len(tests), max(taken, minimum))


def _by_group(test: QueuedTest) -> object:
    return test.group


def _by_class(test: QueuedTest) -> object:
    return test.group, test.node_id.partition("[")[0].rpartition("::")[0]


def _by_number(test: QueuedTest) -> object:
    return test.number
