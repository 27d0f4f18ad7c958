"""Ranges of the tests of a queue, and how many of them a batch has."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.server.domain import queue
from pytest_tms.server.domain.queue import QueuedTest, Range

NUMBERS = st.lists(st.integers(0, 60), unique=True)


def numbers(ranges: Sequence[Range]) -> list[int]:
    return [number for start, end in ranges for number in range(start, end)]


def made(*tests: tuple[str, int]) -> list[QueuedTest]:
    return [
        QueuedTest(number, name, name.partition("::")[0], weight)
        for number, (name, weight) in enumerate(tests)
    ]


@given(NUMBERS)
def test_ranges_keep_the_order_of_tests(found: list[int]) -> None:
    ranges = queue.from_numbers(found)
    assert numbers(ranges) == found
    assert queue.size(ranges) == len(found)
    assert numbers(queue.joined(ranges)) == sorted(found)


@given(NUMBERS, NUMBERS)
def test_what_remains_keeps_its_order(found: list[int], removed: list[int]) -> None:
    left = queue.subtract(queue.from_numbers(found), queue.from_numbers(removed))
    assert numbers(left) == [number for number in found if number not in removed]


@given(NUMBERS, NUMBERS)
def test_ranges_are_renumbered_without_the_tests_that_a_shard_lacks(
    found: list[int], lacks: list[int]
) -> None:
    own = [number for number in range(61) if number not in lacks]
    wanted = sorted(own.index(number) for number in found if number not in lacks)
    ranges = queue.subtract(queue.from_numbers(found), queue.from_numbers(lacks))
    assert numbers(queue.renumbered(ranges, queue.from_numbers(lacks))) == wanted


def test_batches_shrink_towards_the_end() -> None:
    remaining, sizes = 100_000.0, []
    while remaining > 1:
        sizes.append(min(remaining, queue.batch_weight(remaining, 100_000, 8, 1)))
        remaining -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < 100_000 / 8 / 2
    assert sizes[-2] <= 100_000 / 8 / 50


def test_a_shard_with_several_workers_takes_as_much_for_each() -> None:
    assert queue.batch_weight(1000, 1000, 8, 4) == 4 * queue.batch_weight(1000, 1000, 8, 1)


def test_groups_stay_together_if_they_fit() -> None:
    tests = made(("a.py::x", 40), ("a.py::y", 40), ("b.py::x", 30), ("b.py::y", 30))
    assert queue.count_of_batch(tests, 100, 1) == 2
    assert queue.count_of_batch(tests, 140, 1) == 4


def test_a_group_that_is_too_long_is_cut_at_its_classes_and_then_at_its_tests() -> None:
    tests = made(("a.py::A::x", 40), ("a.py::A::y[::]", 40), ("a.py::B::x", 60), ("b.py::x", 1))
    assert queue.count_of_batch(tests, 100, 1) == 2
    assert queue.count_of_batch(tests, 50, 1) == 1


def test_a_batch_has_a_test_even_if_it_is_too_long_and_one_for_each_worker() -> None:
    tests = made(("a.py::x", 400), ("a.py::y", 40), ("b.py::x", 1))
    assert [queue.count_of_batch(tests, 10, minimum) for minimum in (1, 2, 9)] == [1, 2, 3]
