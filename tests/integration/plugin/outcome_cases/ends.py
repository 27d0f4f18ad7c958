"""Runs that do not go well: nothing that was measured is lost, and what did not run is said."""

from __future__ import annotations

from tests.helpers.reported_runs import Case, StartsWith, broken, crashed, failed, passed

MIXED = {
    "test_good.py": "def test_good(): pass\n",
    "test_syntax.py": "def broken(:\n",
    "test_import.py": "import no_such_module\n",
    "test_raises.py": "raise RuntimeError('first line\\nsecond line')\n",
}
ERRORS = [
    broken("test_syntax.py", StartsWith("SyntaxError: "), title="test_syntax.py", file="test_syntax.py"),
    broken("test_import.py", "ModuleNotFoundError: No module named 'no_such_module'"),
    broken("test_raises.py", "RuntimeError: first line\nsecond line"),
]

MANY = """
import pytest
@pytest.mark.parametrize("n", range(20))
def test_many(n):
    assert n != 3
"""

CRASHES = """
import os, signal, pytest

@pytest.mark.parametrize("n", range(8))
def test_before(n): pass

def test_exits(): os._exit(7)
def test_segfaults(): os.kill(os.getpid(), signal.SIGSEGV)

@pytest.fixture
def killer():
    yield
    os.kill(os.getpid(), signal.SIGKILL)

def test_killed_in_teardown(killer): pass

@pytest.fixture
def killed():
    os._exit(1)

def test_killed_in_setup(killed): pass

@pytest.mark.parametrize("n", range(8))
def test_after(n): pass
"""

CRASH_TESTS = [
    *(passed(f"test_it.py::test_{name}[{n}]") for name in ("before", "after") for n in range(8)),
    *(
        crashed(f"test_it.py::test_{name}")
        for name in ("exits", "segfaults", "killed_in_teardown", "killed_in_setup")
    ),
]

STOPS = """
def test_a(): pass
def test_b(): {stop}
def test_c(): pass
"""

HOOK = """
import pytest
@pytest.hookimpl({order})
def {name}(item):
    if item.name == "test_b":
        raise RuntimeError("the hook broke")
"""

ALL_BUT = "def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n"

CASES = [
    Case(
        "collection-errors",
        MIXED,
        ERRORS,
        exit=2,
        shards="error",
        execution="failed",
        not_run=1,
        in_workers={
            "exit": 1,
            "not_run": 0,
            "tests": [*ERRORS, passed("test_good.py::test_good")],
            "shards": {"1": "error", "2": "completed"},
        },
    ),
    Case(
        "collection-errors-continued",
        MIXED,
        [*ERRORS, passed("test_good.py::test_good")],
        exit=1,
        options=("--continue-on-collection-errors",),
        shards="error",
        execution="failed",
        in_workers={"shards": {"1": "error", "2": "completed"}},
    ),
    Case(
        "collection-errors-alone",
        {"test_raises.py": MIXED["test_raises.py"]},
        [broken("test_raises.py", "RuntimeError: first line\nsecond line")],
        exit=2,
        shards="error",
        execution="failed",
        in_workers={"exit": 1, "shards": {"1": "error", "2": "completed"}},
    ),
    Case(
        "collection-errors-in-conftest",
        {
            "sub/conftest.py": "raise RuntimeError('conftest broke')\n",
            "sub/test_it.py": "def test(): pass\n",
            "test_good.py": MIXED["test_good.py"],
        },
        [broken("sub", StartsWith(""))],
        exit=2,
        shards="error",
        execution="failed",
        not_run=1,
        in_workers={
            "exit": 1,
            "not_run": 0,
            "tests": [broken("sub", StartsWith("")), passed("test_good.py::test_good")],
            "shards": {"1": "error", "2": "completed"},
        },
    ),
    Case(
        "maxfail",
        {"test_it.py": MANY},
        [
            *(passed(f"test_it.py::test_many[{n}]") for n in range(3)),
            failed("test_it.py::test_many[3]", StartsWith("assert 3 != 3")),
        ],
        exit=1,
        options=("-x",),
        shards="failed",
        not_run=16,
        modes=("alone",),
    ),
    Case(
        "stepwise",
        {"test_it.py": MANY},
        [
            *(passed(f"test_it.py::test_many[{n}]") for n in range(3)),
            failed("test_it.py::test_many[3]", StartsWith("assert 3 != 3")),
        ],
        exit=2,
        options=("--stepwise",),
        shards="failed",
        not_run=16,
        modes=("alone",),
    ),
    Case(
        "crashes",
        {"test_it.py": CRASHES},
        CRASH_TESTS,
        exit=1,
        options=("-n", "2", "--tms-shard", "only"),
        shards={"only": "failed"},
        modes=("alone",),
    ),
    Case(
        "crashes-in-slots",
        {"test_it.py": CRASHES},
        CRASH_TESTS,
        exit=1,
        shards={"1", "2"},
        modes=("workers",),
    ),
    Case(
        "crash-without-restart",
        {"test_it.py": "import os\ndef test_exits(): os._exit(7)\n"},
        [crashed("test_it.py::test_exits", worker="gw0")],
        exit=1,
        options=("-n", "1", "--max-worker-restart", "0"),
        shards="failed",
        modes=("alone",),
    ),
    Case(
        "keyboard-interrupt",
        {"test_it.py": STOPS.format(stop="raise KeyboardInterrupt")},
        [passed("test_it.py::test_a")],
        exit=2,
        shards="cancelled",
        execution="cancelled",
        not_run=2,
        modes=("alone",),
    ),
    Case(
        "pytest-exit",
        {"test_it.py": "import pytest\n" + STOPS.format(stop="pytest.exit('enough', returncode=9)")},
        [passed("test_it.py::test_a")],
        exit=9,
        shards="cancelled",
        execution="cancelled",
        not_run=2,
        modes=("alone",),
    ),
    Case(
        "internal-error",
        {
            "test_it.py": ALL_BUT,
            "conftest.py": HOOK.format(order="tryfirst=True", name="pytest_runtest_protocol"),
        },
        [passed("test_it.py::test_a")],
        exit=3,
        shards="error",
        execution="failed",
        not_run=2,
        odd=("pytest::internal",),
        modes=("alone",),
    ),
    Case(  # to its controller, a worker that was interrupted has crashed
        "keyboard-interrupt-in-a-worker",
        {"test_it.py": STOPS.format(stop="raise KeyboardInterrupt")},
        [passed("test_it.py::test_a"), crashed("test_it.py::test_b")],
        exit=2,
        options=("-n", "1"),
        shards="failed",
        not_run=1,
        modes=("alone",),
    ),
    Case(  # xdist has no way to end in order there, and ends with an internal error
        "pytest-exit-in-a-worker",
        {"test_it.py": "import pytest\n" + STOPS.format(stop="pytest.exit('enough', returncode=9)")},
        [passed("test_it.py::test_a")],
        exit=3,
        options=("-n", "1"),
        shards="error",
        execution="failed",
        not_run=2,
        odd=("pytest::internal",),
        modes=("alone",),
    ),
    Case(
        "usage-error",
        {"test_it.py": ALL_BUT},
        [],
        exit=4,
        options=("no_such_file.py",),
        shards="error",
        execution="failed",
        modes=("alone",),
    ),
    Case(
        "another-plugin-breaks-the-start",
        {
            "test_it.py": ALL_BUT,
            "conftest.py": "def pytest_sessionstart(): raise RuntimeError('not ours')\n",
        },
        [],
        exit=3,
        shards="error",
        execution="failed",
        modes=("alone",),
    ),
    Case("nothing-collected", {"readme.txt": ""}, [], exit=5),
    Case(
        "all-deselected",
        {"test_it.py": ALL_BUT},
        [],
        exit=5,
        options=("-k", "nothing"),
    ),
    Case(
        "duplicates",
        {"test_it.py": ALL_BUT},
        [
            passed(f"test_it.py::test_{name}{copy}", title=f"test_{name}")
            for name in "abc"
            for copy in ("", " #2")
        ],
        options=("--keep-duplicates", "test_it.py", "test_it.py"),
    ),
]
