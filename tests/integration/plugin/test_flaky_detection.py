"""--tms-detect-flaky: new and changed tests run several times, as attempts of one result."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer

SUITE = """
import pytest

COUNT = {}

def times(name):
    COUNT[name] = COUNT.get(name, 0) + 1
    return COUNT[name]

@pytest.fixture(scope="module")
def shared():
    yield times("shared")

@pytest.fixture
def own():
    yield times("own")

def test_steady(own, shared, record_property, tmp_path):
    print(f"run {own} of {tmp_path.name}")
    record_property("run", own)
    assert shared == 1

def test_passes_first():
    assert times("first") != 2, "second run"

def test_fails_first():
    assert times("last") != 1, "first run"

@pytest.mark.skip(reason="never")
def test_skipped(): times("skipped")

@pytest.mark.xfail(reason="known")
def test_xfailed(): assert times("xfailed") > 9

class TestClass:
    @pytest.fixture
    def broken(self):
        if times("broken") == 3:
            raise OSError("setup")

    def test_setup_fails_later(self, broken): pass

def test_counts(own):
    assert COUNT["xfailed"] == 1 and "skipped" not in COUNT
"""


def run(
    tms: TmsServer, folder: Path, files: Mapping[str, str], *options: str, project: str = "", **extra: str
) -> reported_runs.FinishedRun:
    environ = {"TMS_PROJECT": project or uuid.uuid4().hex[:8], **extra}
    return reported_runs.run(tms, folder, files, *options, extra=environ)


def by_name(ran: reported_runs.FinishedRun) -> dict[str, dict[str, Any]]:
    return {each["nodeId"].rpartition("::")[2]: each for each in ran.stored}


def outcomes(test: Mapping[str, Any]) -> list[str]:
    return [each["outcome"] for each in test.get("attempts") or []]


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_new_tests_run_several_times(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    options = [*reported_runs.MODES[mode], *(["--dist", "loadfile"] if mode == "workers" else [])]
    ran = run(tms, tmp_path, {"test_it.py": SUITE}, "--tms-detect-flaky", "4", *options)
    assert ran.exit == 1
    found = by_name(ran)
    assert {name: (each["status"], outcomes(each)) for name, each in found.items()} == {
        "test_steady": ("passed", ["passed"] * 4),
        "test_passes_first": ("passed", ["failed", "passed", "passed", "passed"]),
        "test_fails_first": ("failed", ["passed", "passed", "passed", "failed"]),
        "test_skipped": ("skipped", []),
        "test_xfailed": ("skipped", []),
        "test_setup_fails_later": ("passed", ["passed", "error", "passed", "passed"]),
        "test_counts": ("passed", ["passed"] * 4),
    }
    steady = found["test_steady"]
    assert "retries" not in steady
    assert steady["properties"] == {"run": 1}
    assert re.fullmatch(r"run 1 of test_steady\d", steady["stdout"].strip())
    assert [each["stdout"].strip()[:5] for each in steady["attempts"]] == ["run 2", "run 3", "run 4", "run 1"]
    assert found["test_passes_first"]["retries"] == 3
    assert "second run" in found["test_passes_first"]["attempts"][0]["error"]
    assert ran.status is not None
    assert ran.status.results.flaky == 2
    assert "1 failed, 4 passed, 1 skipped, 1 xfailed" in ran.output
    assert "flaky: test_it.py::test_passes_first failed in 1 of 4 runs" in ran.output
    assert "flaky: test_it.py::test_fails_first failed in 1 of 4 runs" in ran.output
    assert "repeated: 5 new or changed tests, 3 flaky" in ran.output
    assert not list((tmp_path / "project" / ".tms").rglob("*.known*"))


def test_a_flaky_new_test_leaves_the_exit_status_as_it_is(tms: TmsServer, tmp_path: Path) -> None:
    text = "ran = []\ndef test_a():\n    ran.append(1)\n    assert len(ran) == 1\n"
    ran = run(tms, tmp_path, {"test_it.py": text}, "--tms-detect-flaky", "3")
    assert (ran.exit, outcomes(ran.stored[0])) == (0, ["failed", "failed", "passed"])
    assert "flaky: test_it.py::test_a failed in 2 of 3 runs" in ran.output


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_known_tests_run_once(mode: str, tms: TmsServer, tmp_path: Path) -> None:
    project = uuid.uuid4().hex[:8]
    options = [*reported_runs.MODES[mode], "--tms-detect-flaky", "3"]
    old = {"test_old.py": "def test_old(): pass"}
    first = run(tms, tmp_path, old, *options, project=project)
    assert outcomes(first.stored[0]) == ["passed"] * 3
    again = run(tms, tmp_path, {"test_new.py": "def test_new(): pass"}, *options, project=project)
    assert {name: outcomes(each) for name, each in by_name(again).items()} == {
        "test_old": [],
        "test_new": ["passed"] * 3,
    }
    assert "repeated: 1 new or changed test, none flaky" in again.output


def test_long_and_grouped_names_are_known(tms: TmsServer, tmp_path: Path) -> None:
    project = uuid.uuid4().hex[:8]
    text = (
        "import pytest, unittest\n"
        "@pytest.mark.xdist_group('one')\n"
        "def test_grouped(): pass\n"
        "@pytest.mark.parametrize('x', [1], ids=['Ü' + 'x' * 400])\n"
        "def test_long(x): pass\n"
        "class TestUnit(unittest.TestCase):\n"
        "    def setUp(self): self.ready = True\n"
        "    def test_unit(self): assert self.ready\n"
    )
    options = ["-n", "2", "--dist", "loadgroup", "--tms-detect-flaky", "3"]
    first = run(tms, tmp_path, {"test_it.py": text}, *options, project=project)
    assert [len(outcomes(each)) for each in first.stored] == [3, 3, 3]
    again = run(tms, tmp_path, {}, *options, project=project)
    assert [len(outcomes(each)) for each in again.stored] == [0, 0, 0]


def test_tests_in_changed_files_run_several_times(tms: TmsServer, tmp_path: Path) -> None:
    project, folder = uuid.uuid4().hex[:8], tmp_path / "project"
    files = {
        ".gitignore": ".tms\n__pycache__\n",
        "test_same.py": "def test_same(): pass",
        "sub/test_changed.py": "def test_changed(): pass",
        "test_edited.py": "def test_edited(): pass",
    }
    run(tms, tmp_path, files, project=project)

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "one")
    git("checkout", "-b", "topic")
    (folder / "sub" / "test_changed.py").write_text("def test_changed(): assert 1")
    git("commit", "-am", "two")
    (folder / "test_edited.py").write_text("def test_edited(): assert 1")
    ran = run(tms, tmp_path, {}, "--tms-detect-flaky", "2", project=project)
    assert {name: len(outcomes(each)) for name, each in by_name(ran).items()} == {
        "test_same": 0,
        "test_changed": 2,
        "test_edited": 2,
    }


def test_the_budget_ends_the_repeats(tms: TmsServer, tmp_path: Path) -> None:
    files = {
        "pytest.ini": "[pytest]\ntms_detect_flaky = 1000000\ntms_detect_flaky_budget = 1\n",
        "conftest.py": "import time\n"
        "class Clock:\n"
        "    now = 0.0\n"
        "    def __call__(self): return self.now\n"
        "time.perf_counter = Clock()\n",
        "test_it.py": "import time\n"
        "def test_a(): time.perf_counter.now += 0.25\n"
        "def test_b(): time.perf_counter.now += 1.25\n",
    }
    ran = run(tms, tmp_path, files)
    found = by_name(ran)
    assert 2 <= len(outcomes(found["test_a"])) <= 6
    assert outcomes(found["test_b"]) == []


def test_fixtures_of_the_module_are_torn_down_once_and_their_errors_count(
    tms: TmsServer, tmp_path: Path
) -> None:
    text = (
        "import pytest\n"
        "@pytest.fixture(scope='module')\n"
        "def shared():\n    yield\n    raise OSError('teardown')\n"
        "def test_a(shared): pass\n"
        "def test_b(shared): pass\n"
    )
    files = {"test_it.py": text, "test_other.py": "def test_c(): pass"}
    ran = run(tms, tmp_path, files, "--tms-detect-flaky", "2")
    assert ran.exit == 1
    found = by_name(ran)
    assert [found[name]["outcome"] for name in ("test_a", "test_b", "test_c")] == [
        "passed",
        "error",
        "passed",
    ]
    assert "OSError" in found["test_b"]["error"]


def test_without_a_tms_only_changed_tests_are_known(tms: TmsServer, tmp_path: Path) -> None:
    ran = run(tms, tmp_path, {"test_it.py": "def test_a(): pass"}, "--tms-detect-flaky", "3", "--tms-offline")
    assert ran.exit == 0
    assert "repeated:" not in ran.output
