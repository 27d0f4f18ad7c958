"""Every test is in exactly one shard, whatever machine asks and in whatever order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tms.division import (
    TOLERANCE,
    Setup,
    divide_by_duration,
    divide_by_hash,
    divide_by_number,
    estimate,
    find_setups,
    order_by_duration,
)
from pytest_tms.plugin.xdist import sharding

TESTS = st.lists(
    st.tuples(
        st.integers(0, 60).map(lambda n: f"t{n}"), st.sampled_from(["a.py", "b.py", "c.py", "@db", "d.py"])
    ),
    unique_by=lambda test: test[0],
    max_size=60,
)
SHARDS = st.integers(1, 12)


@given(TESTS, SHARDS)
def test_every_test_is_in_exactly_one_shard(tests: list[tuple[str, str]], shards: int) -> None:
    parts = divide_by_number(tests, shards)
    assert len(parts) == shards
    assert sorted(name for part in parts for name in part) == sorted(name for name, _ in tests)


@given(TESTS, SHARDS, st.randoms(use_true_random=False))
def test_the_order_of_collection_changes_nothing(
    tests: list[tuple[str, str]], shards: int, shuffler: random.Random
) -> None:
    parts = divide_by_number(tests, shards)
    shuffler.shuffle(tests)
    assert divide_by_number(tests, shards) == parts


@given(TESTS, SHARDS)
def test_no_shard_has_more_than_a_quarter_above_an_even_share(
    tests: list[tuple[str, str]], shards: int
) -> None:
    share = -(-len(tests) // shards)
    assert max(map(len, divide_by_number(tests, shards))) <= share * 1.25


@given(TESTS, SHARDS)
def test_no_more_groups_are_cut_than_shards_need(tests: list[tuple[str, str]], shards: int) -> None:
    parts = divide_by_number(tests, shards)
    groups = {group for _, group in tests}
    homes = {(group, number) for name, group in tests for number, part in enumerate(parts) if name in part}
    assert len(homes) <= len(groups) + shards - 1


@given(st.integers(1, 9), st.integers(1, 4), SHARDS)
def test_groups_that_share_out_evenly_stay_together(size: int, each: int, shards: int) -> None:
    tests = [(f"{group}::{n}", str(group)) for group in range(each * shards) for n in range(size)]
    for part in divide_by_number(tests, shards):
        assert len({name.partition("::")[0] for name in part}) == each


def test_a_group_stays_together_where_a_shard_is_only_a_little_larger() -> None:
    sizes = {"a.py": 9, "b.py": 8, "c.py": 2}
    parts = divide_by_number([(f"{name}{n}", name) for name, size in sizes.items() for n in range(size)], 2)
    assert sorted(map(len, parts)) == [9, 10]
    sizes = {"a.py": 10, "b.py": 10, "c.py": 10}
    parts = divide_by_number([(f"{name}{n}", name) for name, size in sizes.items() for n in range(size)], 2)
    assert sorted(map(len, parts)) == [15, 15]


@given(st.integers(0, 60), SHARDS)
def test_tests_without_groups_are_spread_evenly(count: int, shards: int) -> None:
    sizes = [len(part) for part in divide_by_number([(f"t{n}", f"t{n}") for n in range(count)], shards)]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("node_id", "plain"),
    [
        ("a.py::test_x@db", "a.py::test_x"),
        ("a.py::test_x@db@2", "a.py::test_x"),
        ("a.py::T::test_x[m@n.o]@db", "a.py::T::test_x[m@n.o]"),
        ("a.py::test_x[m@n.o]", "a.py::test_x[m@n.o]"),
        ("a.py::test_x[]@y]", "a.py::test_x[]@y]"),
        ("d@x/a.py::test_x", "d@x/a.py::test_x"),
        ("d@x/a.py::test_x@db", "d@x/a.py::test_x"),
        ("a.py", "a.py"),
    ],
)
def test_the_group_that_xdist_appends_is_no_part_of_a_node_id(node_id: str, plain: str) -> None:
    assert sharding.test_id(node_id) == plain


NODE_IDS = st.builds(
    "{}::{}{}".format,
    st.sampled_from(["a.py", "b.py", "c/d.py"]),
    st.sampled_from(["", "TestA::", "TestB::", "TestB::TestC::"]),
    st.integers(0, 200).map(lambda n: f"test_{n}[x::y]"),
)
TIMED = st.dictionaries(NODE_IDS, st.one_of(st.none(), st.integers(0, 10_000)), max_size=80)


def grouped(durations: dict[str, int | None]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Tests in the groups of their files, and the durations that are known."""
    tests = [(nodeid, nodeid.partition("::")[0]) for nodeid in durations]
    return tests, {nodeid: value for nodeid, value in durations.items() if value is not None}


@settings(deadline=None)  # the machine may be busy
@given(TIMED, SHARDS, st.randoms(use_true_random=False))
def test_every_test_is_in_one_shard_by_duration_too_in_any_order(
    durations: dict[str, int | None], shards: int, shuffler: random.Random
) -> None:
    tests, known = grouped(durations)
    parts = divide_by_duration(tests, shards, known).parts
    assert len(parts) == shards
    assert sorted(name for part in parts for name in part) == sorted(durations)
    shuffler.shuffle(tests)
    assert divide_by_duration(tests, shards, known).parts == parts


@settings(deadline=None)  # the machine may be busy
@given(TIMED, SHARDS)
def test_no_shard_takes_longer_than_an_even_share_and_the_longest_test(
    durations: dict[str, int | None], shards: int
) -> None:
    tests, known = grouped(durations)
    weights = {nodeid: weight for (nodeid, _), weight in estimate(tests, known).items()}
    most = sum(weights.values()) / shards * (1 + TOLERANCE) + max(weights.values(), default=0)
    division = divide_by_duration(tests, shards, known)
    assert division.loads == [sum(weights[name] for name in part) for part in division.parts]
    assert max(division.loads) <= most + 0.001


def test_slow_tests_of_one_file_are_spread() -> None:
    durations = {f"f{file}.py::test_{n}": 500 if file == 0 else 20 for file in range(10) for n in range(10)}
    tests, known = grouped(dict(durations))
    loads = [sum(durations[name] for name in part) for part in divide_by_duration(tests, 4, known).parts]
    assert max(loads) <= 1.2 * sum(loads) / 4
    by_number = [sum(durations[name] for name in part) for part in divide_by_number(tests, 4)]
    assert max(by_number) >= 2 * sum(loads) / 4


def test_files_and_then_classes_stay_together_where_that_costs_nothing() -> None:
    durations = {f"f{file}.py::test_{n}": 10 for file in range(8) for n in range(5)}
    tests, known = grouped(dict(durations))
    for part in divide_by_duration(tests, 4, known).parts:
        assert len({name.partition("::")[0] for name in part}) == 2
    durations = {f"f.py::Test{each}::test_{n}[a::b]": 10 for each in "ABCD" for n in range(5)}
    tests, known = grouped(dict(durations))
    for part in divide_by_duration(tests, 2, known).parts:
        assert len({name.split("::")[1] for name in part}) == 2


def test_a_group_of_xdist_stays_together() -> None:
    tests = [(f"f{n}.py::test", "@db" if n < 3 else f"f{n}.py") for n in range(6)]
    parts = divide_by_duration(tests, 2, {nodeid: 10 for nodeid, _ in tests}).parts
    assert {f"f{n}.py::test" for n in range(3)} in parts


def load(part: set[str], durations: dict[str, int], setups: dict[str, frozenset[Setup]]) -> int:
    """The time of a shard: its tests, and each setup that one of them needs once."""
    needed = frozenset[Setup]().union(*(setups.get(name, frozenset()) for name in part))
    return sum(durations[name] for name in part) + sum(setup.duration for setup in needed)


def using(fixture: str, durations: dict[str, int]) -> dict[str, list[str]]:
    """Tests that all use a fixture."""
    return {nodeid: [fixture] for nodeid in durations}


FIXTURES = st.lists(st.sampled_from(["db", "site", "clock"]), max_size=3)
SETUPS = st.lists(
    st.builds(
        Setup,
        st.sampled_from(["", "a.py", "b.py", "c", "c/d.py", "a.py::TestA", "b.py::TestB"]),
        st.sampled_from(["db", "site", "dynamic"]),
        st.integers(1, 20_000),
    ),
    unique_by=lambda setup: setup[:2],
    max_size=8,
)


@settings(deadline=None)  # the machine may be busy
@given(
    st.dictionaries(NODE_IDS, st.tuples(st.integers(1, 10_000), FIXTURES), max_size=60),
    SETUPS,
    SHARDS,
    st.randoms(use_true_random=False),
)
def test_every_test_is_in_one_shard_which_pays_its_setups_once(
    suite: dict[str, tuple[int, list[str]]], known: list[Setup], shards: int, shuffler: random.Random
) -> None:
    durations = {nodeid: duration for nodeid, (duration, _) in suite.items()}
    tests, _ = grouped(dict(durations))
    setups = find_setups({nodeid: fixtures for nodeid, (_, fixtures) in suite.items()}, known)
    division = divide_by_duration(tests, shards, durations, setups)
    assert sorted(name for part in division.parts for name in part) == sorted(durations)
    assert division.loads == [load(part, durations, setups) for part in division.parts]
    shuffler.shuffle(tests)
    shuffler.shuffle(known)
    again = find_setups({nodeid: fixtures for nodeid, (_, fixtures) in reversed(suite.items())}, known)
    assert divide_by_duration(tests, shards, durations, again) == division
    whole = divide_by_duration(tests, 1, durations, setups)
    assert max(division.loads) <= max(whole.loads)


def test_a_module_with_an_expensive_setup_is_divided_only_where_that_saves_time() -> None:
    durations = {f"f{file}.py::test_{n}": 500 for file in range(9) for n in range(10)}
    tests, _ = grouped(dict(durations))
    setups = find_setups(using("site", durations), [Setup("f0.py", "site", 5_000)])
    division = divide_by_duration(tests, 5, durations, setups)
    assert max(division.loads) == 10_000  # two files in each of four shards, and this one alone
    assert sum(any(name.startswith("f0.py") for name in part) for part in division.parts) == 1
    durations |= {f"f0.py::test_more_{n}": 500 for n in range(90)}
    tests, _ = grouped(dict(durations))
    setups = find_setups(using("site", durations), [Setup("f0.py", "site", 5_000)])
    division = divide_by_duration(tests, 5, durations, setups)
    assert max(division.loads) < 25_000  # 55 seconds in one shard, and 90 and the setups over all
    assert len({len(part) for part in division.parts if part}) <= 5


def test_shards_share_what_they_set_up() -> None:
    durations = {f"p{package}/f{file}.py::test": 100 for package in range(4) for file in range(4)}
    tests, _ = grouped(dict(durations))
    packages = [Setup(f"p{package}", "database", 5_000) for package in range(4)]
    setups = find_setups(using("database", durations), packages)
    division = divide_by_duration(tests, 4, durations, setups)
    assert [len({name.partition("/")[0] for name in part}) for part in division.parts] == [1] * 4
    setups = find_setups(using("site", durations), [Setup("", "site", 60_000)])
    division = divide_by_duration(tests, 4, durations, setups)
    assert division.loads == [60_400] * 4


def test_tests_need_the_setups_that_they_name_in_their_node() -> None:
    site, rows, tables, late = (
        Setup("", "site", 1),
        Setup("a.py::TestA", "rows", 2),
        Setup("p", "tables", 3),
        Setup("a.py", "requested_by_name", 4),
    )
    tests = {
        "a.py::TestA::test[x::y]": ["rows", "site"],
        "a.py::TestB::test": ["rows"],
        "p/q/b.py::test": ["tables"],
        "pq.py::test": ["tables"],
    }
    assert find_setups(tests, [site, rows, tables, late]) == {
        "a.py::TestA::test[x::y]": {site, rows, late},
        "a.py::TestB::test": {late},
        "p/q/b.py::test": {tables},
    }
    unknown = find_setups(dict.fromkeys(tests), [site, rows, tables, late])
    assert unknown == {
        "a.py::TestA::test[x::y]": {site, rows, late},
        "a.py::TestB::test": {site, late},
        "p/q/b.py::test": {site, tables},
        "pq.py::test": {site},
    }


def test_moved_tests_and_new_parameters_are_estimated_by_what_they_resemble() -> None:
    known = {
        "old.py::TestX::test_moved": 700,
        "a.py::test_p[1]": 30,
        "a.py::test_p[2]": 50,
        "a.py::slow": 9000,
    }
    new = ["new.py::TestX::test_moved", "a.py::test_p[3]", "a.py::other"]
    tests, _ = grouped(
        {**dict.fromkeys(new), "a.py::test_p[1]": None, "a.py::test_p[2]": None, "a.py::slow": 1}
    )
    found = {nodeid: weight for (nodeid, _), weight in estimate(tests, known).items()}
    assert {name: found[name] for name in new} == {new[0]: 700, new[1]: 40, new[2]: 50}


def test_unknown_tests_are_estimated_by_their_file_and_then_by_all() -> None:
    known = {"a.py::x": 10, "a.py::y": 30, "a.py::z": 20, "b.py::x": 1000}
    tests, _ = grouped({"a.py::new": None, "c.py::new": None, "b.py::x": None, "a.py::skipped": None})
    found = {nodeid: weight for (nodeid, _), weight in estimate(tests, known | {"a.py::skipped": 0}).items()}
    assert found == {"a.py::new": 20, "c.py::new": 25, "b.py::x": 1000, "a.py::skipped": 1}


def test_the_longest_groups_begin_first_and_keep_their_order() -> None:
    tests = [("a.py::x", "a.py"), ("b.py::y", "b.py"), ("b.py::x", "b.py"), ("c.py::x", "c.py")]
    known = {"a.py::x": 10, "b.py::x": 10, "b.py::y": 15, "c.py::x": 90}
    assert [nodeid for nodeid, _ in order_by_duration(tests, known)] == [
        "c.py::x",
        "b.py::y",
        "b.py::x",
        "a.py::x",
    ]


NAMED_SHARDS = st.sets(st.text(min_size=1, max_size=3), min_size=1, max_size=6)


@given(st.sets(st.text(max_size=5), max_size=30), NAMED_SHARDS, st.data())
def test_without_a_tms_every_test_is_run_by_a_living_shard(
    tests: set[str], living: set[str], data: st.DataObject
) -> None:
    known = {shard: data.draw(st.sets(st.sampled_from(sorted(living)))) for shard in sorted(living)}
    parts = [divide_by_hash(tests, {*known[shard], shard})[shard] for shard in living]
    assert {name for part in parts for name in part} == tests


NAMES = st.text(max_size=20)


@given(st.lists(NAMES, unique=True, max_size=60), st.sets(NAMES, min_size=1, max_size=8))
def test_a_division_by_hash_gives_each_test_to_one_shard_in_order(tests: list[str], shards: set[str]) -> None:
    parts = divide_by_hash(tests, shards)
    assert parts.keys() == shards
    assert sorted(name for part in parts.values() for name in part) == sorted(tests)
    assert all(part == [name for name in tests if name in set(part)] for part in parts.values())
    assert divide_by_hash(list(reversed(tests)), sorted(shards)) == {
        shard: part[::-1] for shard, part in parts.items()
    }


@given(st.lists(NAMES, unique=True, max_size=60), st.sets(NAMES, min_size=2, max_size=8))
def test_without_one_shard_only_its_tests_move(tests: list[str], shards: set[str]) -> None:
    before = divide_by_hash(tests, shards)
    gone = min(shards)
    after = divide_by_hash(tests, shards - {gone})
    for shard in shards - {gone}:
        assert set(before[shard]) <= set(after[shard])


def test_a_division_by_hash_is_even() -> None:
    parts = divide_by_hash([f"test_it.py::test_it[{n}]" for n in range(8000)], [str(n) for n in range(8)])
    assert all(850 < len(part) < 1150 for part in parts.values())
