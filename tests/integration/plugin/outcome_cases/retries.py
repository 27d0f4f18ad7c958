"""Retry plugins: every attempt kept, a test counted once, flaky where it passed after it had failed."""

from __future__ import annotations

from tests.helpers.reported_runs import Case, Test, broken, crashed, failed, passed, skipped

TIMES = """
import pathlib
import pytest

def nth(name):
    # Counts over processes: a test may go on in another worker.
    path = pathlib.Path(f"{name}.count")
    with path.open("a") as file:
        file.write(".")
    return len(path.read_text())
"""

BASE = (
    TIMES
    + """
def test_steady(): pass

def test_flaky():
    n = nth("flaky")
    print("try", n)
    assert n > 2, f"try {n}"

def test_hopeless():
    n = nth("hopeless")
    assert 0, f"try {n}"

def test_skips(): pytest.skip("never tried again")

@pytest.mark.xfail(reason="known")
def test_xfails(): assert 0

@pytest.fixture
def mess():
    yield
    raise RuntimeError("teardown broke")

@pytest.fixture
def broken():
    raise RuntimeError("setup broke")
"""
)

SETUP = """
@pytest.fixture
def late_setup():
    n = nth("late_setup")
    if n < 2: raise RuntimeError(f"setup {n}")

def test_setup_flaky(late_setup): pass
def test_setup_hopeless(broken): pass
"""

TEARDOWN = """
@pytest.fixture
def late_teardown():
    yield
    n = nth("late_teardown")
    if n < 2: raise RuntimeError(f"teardown {n}")

def test_teardown_flaky(late_teardown): pass
"""

STEADY = [
    passed("test_it.py::test_steady", attempts=None),
    skipped("test_it.py::test_skips", "never tried again", attempts=None),
    skipped("test_it.py::test_xfails", "known", "xfailed", attempts=None),
]


OWN_LOOP = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for _ in range(3):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if all(report.passed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


def tries(*errors: str | None) -> list[tuple[str, str | None]]:
    return [("failed" if error else "passed", error) for error in errors]


CALLS = [
    passed(
        "test_it.py::test_flaky",
        2,
        attempts=tries("AssertionError: try 1", "AssertionError: try 2", None),
        error=None,
    ),
    failed(
        "test_it.py::test_hopeless",
        "AssertionError: try 3",
        2,
        attempts=tries("AssertionError: try 1", "AssertionError: try 2", "AssertionError: try 3"),
    ),
]
SETUPS = [
    passed(
        "test_it.py::test_setup_flaky", 1, attempts=[("error", "RuntimeError: setup 1"), ("passed", None)]
    ),
    broken(
        "test_it.py::test_setup_hopeless",
        "RuntimeError: setup broke",
        2,
        attempts=[("error", "RuntimeError: setup broke")] * 3,
    ),
]

FLAKY_MIN_PASSES = """
from flaky import flaky

@flaky(max_runs=3, min_passes=2)
def test_must_pass_twice(): pass

@flaky(max_runs=3, min_passes=2)
def test_fails_then_passes_twice():
    assert nth("twice") > 1

@flaky(max_runs=2)
def test_call_and_teardown(mess):
    assert nth("both") > 1
"""

CRASHES = (
    TIMES
    + """
import os, time

def crash():
    time.sleep(0.3)  # the plugin tells its controller by a socket that the test may be tried again
    os._exit(1)

def test_crashes_once():
    if nth("once") == 1: crash()

def test_crashes_always(): crash()

@pytest.mark.parametrize("n", range(4))
def test_others(n): pass
"""
)

RERUN_SUBTESTS = """
def test_parts(subtests):
    n = nth("parts")
    for part in range(2):
        with subtests.test(part=part):
            assert n > 1 or part == 0
"""

RERUN = ("--reruns", "2")

CASES = [
    Case(
        "own-loop",
        {
            "conftest.py": OWN_LOOP,
            "test_it.py": TIMES
            + "\ndef test_third_time():\n    assert nth('third') > 2\ndef test_once(): pass\n",
        },
        [passed("test_it.py::test_third_time", 2), passed("test_it.py::test_once")],
    ),
    Case(
        "rerunfailures",
        {"test_it.py": BASE + SETUP + TEARDOWN + "\ndef test_teardown_hopeless(mess): pass\n"},
        [
            *STEADY,
            *CALLS,
            *SETUPS,
            passed(
                "test_it.py::test_teardown_flaky",
                1,
                attempts=[("error", "RuntimeError: teardown 1"), ("passed", None)],
            ),
            broken(
                "test_it.py::test_teardown_hopeless",
                "RuntimeError: teardown broke",
                2,
                attempts=[("error", "RuntimeError: teardown broke")] * 3,
            ),
        ],
        exit=1,
        options=RERUN,
        shards={"1": "failed"},
        in_workers={"shards": {"1", "2"}},
        environment="rerunfailures",
    ),
    Case(
        "rerunfailures-8.4",
        {"test_it.py": BASE + SETUP + TEARDOWN},
        [
            *STEADY,
            *CALLS,
            *SETUPS,
            passed(
                "test_it.py::test_teardown_flaky",
                1,
                attempts=[("error", "RuntimeError: teardown 1"), ("passed", None)],
            ),
        ],
        exit=1,
        options=RERUN,
        shards={"1": "failed"},
        in_workers={"shards": {"1", "2"}},
        environment="eight",
    ),
    Case(
        "rerunfailures-crashes",
        {"test_it.py": CRASHES},
        [
            passed("test_it.py::test_crashes_once", 1),
            crashed("test_it.py::test_crashes_always", 2),
            *(passed(f"test_it.py::test_others[{n}]") for n in range(4)),
        ],
        exit=1,
        options=(*RERUN, "-n", "2", "--tms-shard", "only"),
        shards={"only": "failed"},
        modes=("alone",),
        environment="rerunfailures",
    ),
    Case(
        "rerunfailures-subtests",
        {"test_it.py": TIMES + RERUN_SUBTESTS},
        [
            passed(
                "test_it.py::test_parts",
                1,
                attempts=[("failed", "1 of 2 subtests failed"), ("passed", None)],
                subtests=[("part=0", "passed"), ("part=1", "passed")],
            )
        ],
        options=RERUN,
        odd=("test_it.py::test_parts",),
        environment="rerunfailures",
    ),
    Case(
        "retry",
        {
            "test_it.py": BASE
            + "\ndef test_teardown_hopeless(mess): pass\ndef test_setup_hopeless(broken): pass\n"
        },
        [
            *STEADY,
            *CALLS,
            broken("test_it.py::test_setup_hopeless", "RuntimeError: setup broke"),
            broken("test_it.py::test_teardown_hopeless", "RuntimeError: teardown broke"),
        ],
        exit=1,
        options=("--retries", "2"),
        shards={"1": "failed"},
        in_workers={"shards": {"1", "2"}},
        environment="retry",
    ),
    Case(
        "flaky",
        {"test_it.py": BASE + SETUP + FLAKY_MIN_PASSES + "\ndef test_teardown_hopeless(mess): pass\n"},
        [
            *STEADY[:2],
            Test("test_it.py::test_xfails", "skipped", "xfailed", 2),  # flaky tries even this again
            *CALLS,
            *SETUPS,
            broken("test_it.py::test_teardown_hopeless", "RuntimeError: teardown broke"),
            passed("test_it.py::test_must_pass_twice", attempts=tries(None, None)),
            passed("test_it.py::test_fails_then_passes_twice", 2),
            broken("test_it.py::test_call_and_teardown", "RuntimeError: teardown broke", 1),
        ],
        exit=1,
        options=("--force-flaky", "--max-runs=3"),
        shards={"1": "failed"},
        in_workers={"shards": {"1", "2"}},
        environment="flaky",
    ),
]
