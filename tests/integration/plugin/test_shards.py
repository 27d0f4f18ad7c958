"""``--tms-shard I/N``: every test in exactly one shard, whatever machine asks and in whatever order."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.plugin.xdist import sharding
from pytest_tms.plugin.xdist.sharding import split
from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer

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
    parts = split(tests, shards)
    assert len(parts) == shards
    assert sorted(name for part in parts for name in part) == sorted(name for name, _ in tests)


@given(TESTS, SHARDS, st.randoms(use_true_random=False))
def test_the_order_of_collection_changes_nothing(
    tests: list[tuple[str, str]], shards: int, shuffler: random.Random
) -> None:
    parts = split(tests, shards)
    shuffler.shuffle(tests)
    assert split(tests, shards) == parts


@given(TESTS, SHARDS)
def test_no_shard_has_more_than_a_quarter_above_an_even_share(
    tests: list[tuple[str, str]], shards: int
) -> None:
    share = -(-len(tests) // shards)
    assert max(map(len, split(tests, shards))) <= share * 1.25


@given(TESTS, SHARDS)
def test_no_more_groups_are_cut_than_shards_need(tests: list[tuple[str, str]], shards: int) -> None:
    parts = split(tests, shards)
    groups = {group for _, group in tests}
    homes = {(group, number) for name, group in tests for number, part in enumerate(parts) if name in part}
    assert len(homes) <= len(groups) + shards - 1


@given(st.integers(1, 9), st.integers(1, 4), SHARDS)
def test_groups_that_share_out_evenly_stay_together(size: int, each: int, shards: int) -> None:
    tests = [(f"{group}::{n}", str(group)) for group in range(each * shards) for n in range(size)]
    for part in split(tests, shards):
        assert len({name.partition("::")[0] for name in part}) == each


def test_a_group_stays_together_where_a_shard_is_only_a_little_larger() -> None:
    sizes = {"a.py": 9, "b.py": 8, "c.py": 2}
    parts = split([(f"{name}{n}", name) for name, size in sizes.items() for n in range(size)], 2)
    assert sorted(map(len, parts)) == [9, 10]
    sizes = {"a.py": 10, "b.py": 10, "c.py": 10}
    parts = split([(f"{name}{n}", name) for name, size in sizes.items() for n in range(size)], 2)
    assert sorted(map(len, parts)) == [15, 15]


@given(st.integers(0, 60), SHARDS)
def test_tests_without_groups_are_spread_evenly(count: int, shards: int) -> None:
    sizes = [len(part) for part in split([(f"t{n}", f"t{n}") for n in range(count)], shards)]
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


SUITE = {
    "test_one.py": "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_one(n): pass\n",
    "test_two.py": "import pytest\n@pytest.mark.xdist_group('db')\n@pytest.mark.parametrize('n', range(3))\ndef test_two(n): pass\n",
    "test_three.py": "def test_three(): pass\n",
    "test_skipped.py": "import pytest\npytest.skip('all of it', allow_module_level=True)\n",
    "conftest.py": """
import os, random, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    random.Random(int(os.environ["SEED"])).shuffle(items)
""",
}
WAYS = {"alone": (), "workers": ("-n", "2"), "loadgroup": ("-n", "2", "--dist", "loadgroup")}


@pytest.mark.slow
def test_shards_share_an_execution_out_whatever_their_order_and_way(tms: TmsServer, tmp_path: Path) -> None:
    found: list[str] = []
    for number, (name, way) in enumerate(WAYS.items(), 1):
        folder = tmp_path / name
        folder.mkdir()
        options = (*way, "--tms-shard", f"{number}/3")
        ran = reported_runs.run(tms, folder, SUITE, *options, extra={"SEED": str(number)})
        assert ran.exit == 0
        assert ran.status is not None
        assert [
            (shard.shard_id, shard.status) for shard in ran.status.shard_results if shard.status != "pending"
        ] == [(str(number), "completed")]
        assert ran.status.status == "completed"  # without a run key, each has an execution of its own
        reported_runs.assert_counted(ran)
        found += [test["nodeId"] for test in ran.stored]
    everything = [f"test_one.py::test_one[{n}]" for n in range(5)]
    everything += [*(f"test_two.py::test_two[{n}]" for n in range(3)), "test_three.py::test_three"]
    everything.append("test_skipped.py")
    assert sorted(found) == sorted(everything)


@pytest.mark.parametrize("way", ["alone", "workers", pytest.param("loadgroup", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("selected", "status"), [((), 0), (("-k", "nothing"), 5)], ids=["empty", "no tests"])
def test_a_shard_without_tests_is_a_success_where_others_have_some(
    way: str, selected: tuple[str, ...], status: int, tms: TmsServer, tmp_path: Path
) -> None:
    options = (*WAYS[way], "--tms-shard", "12/12", "--tms-run-key", tmp_path.name, *selected)
    ran = reported_runs.run(tms, tmp_path, SUITE, *options, extra={"SEED": "1"})
    assert ran.exit == status
    assert ran.stored == []
    assert re.search(r"^tms: 0 results reported: ", ran.output, re.M)
