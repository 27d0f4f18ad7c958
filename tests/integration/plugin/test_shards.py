"""``--tms-shard I/N``: every test in exactly one shard, whatever machine asks and in whatever order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer

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
