"""Bounds of the time of a run: by its shards, and by another number of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.division import Setup, divide_by_duration, find_setups
from pytest_tms.shard_advice import (
    ReadyShard,
    Work,
    fewest_shards,
    ideal_end,
    least_time,
    most_shards,
    useful_shards,
    work_of,
)

WORK = st.builds(Work, st.integers(1, 10**7), st.integers(1, 10**5), st.integers(0, 10**5))


@given(WORK, st.integers(1, 10**6))
def test_the_fewest_shards_meet_the_target_and_one_less_does_not(work: Work, target: int) -> None:
    number = fewest_shards(work, target)
    if number is None:
        assert least_time(work, 10**6) > target
    else:
        assert least_time(work, number) <= target + 1e-6
        assert number == 1 or least_time(work, number - 1) > target


@given(WORK)
def test_more_shards_than_the_most_save_nothing(work: Work) -> None:
    most = most_shards(work)
    assert least_time(work, most) == least_time(work, 10 * most) == work.each + work.longest
    assert useful_shards(work) <= most


def test_shards_that_begin_together_and_are_equal_share_the_work() -> None:
    assert ideal_end([ReadyShard(100)] * 4, total=400, longest=50) == 200
    assert ideal_end([ReadyShard(100)] * 4, total=400, longest=150) == 250
    assert ideal_end([], total=0, longest=0) == 0


def test_late_and_fast_shards_take_what_lets_all_end_together() -> None:
    # The first does 100 alone, then both share 200.
    assert ideal_end([ReadyShard(0), ReadyShard(100)], total=300, longest=1) == 200
    assert ideal_end([ReadyShard(0), ReadyShard(500)], total=300, longest=1) == 300
    assert ideal_end([ReadyShard(0, 1.0), ReadyShard(0, 3.0)], total=400, longest=1) == 100
    assert ideal_end([ReadyShard(0, 1.0), ReadyShard(50, 3.0)], total=400, longest=300) == 150


@given(
    st.dictionaries(
        st.integers(0, 40).map(lambda n: f"f{n % 7}.py::test_{n}"), st.integers(1, 10_000), min_size=1
    ),
    st.integers(1, 12),
    st.integers(0, 5_000),
)
def test_no_division_is_shorter_than_the_least_time(
    durations: dict[str, int], shards: int, cost: int
) -> None:
    known = [Setup("", "site", 2 * cost), Setup("f1.py", "rows", cost), Setup("f2.py", "rows", 3 * cost)]
    setups = find_setups(dict.fromkeys(durations), known)
    tests = [(name, name.partition("::")[0]) for name in durations]
    work = work_of(durations, setups)
    assert max(divide_by_duration(tests, shards, durations, setups).loads) >= least_time(work, shards) - 1e-6
    assert max(divide_by_duration(tests, 1, durations, setups).loads) == work.each + work.total
