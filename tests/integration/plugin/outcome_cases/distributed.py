"""Every way in which xdist hands out tests: slots are shards, unless the shard has a name."""

from __future__ import annotations

from tests.helpers.reported_runs import Case, failed, passed

SUITE = {
    "test_one.py": """
import pytest

@pytest.mark.parametrize("n", range(4))
def test_many(n): pass

@pytest.mark.xdist_group("db")
class TestGrouped:
    def test_a(self): pass
    @pytest.mark.parametrize("mail", ["a@b.c"])
    def test_mail(self, mail): pass

@pytest.mark.xdist_group(name="other@group")
def test_fails(): assert 0, "bad"
""",
    "test_two.py": "def test_x(): pass\ndef test_y(): pass\n",
}

PASSED = (
    *(f"test_one.py::test_many[{n}]" for n in range(4)),
    "test_one.py::TestGrouped::test_a",
    "test_one.py::TestGrouped::test_mail[a@b.c]",
    "test_two.py::test_x",
    "test_two.py::test_y",
)
FAILED = "test_one.py::test_fails"
TESTS = [*map(passed, PASSED), failed(FAILED, "AssertionError: bad")]

WAYS = {
    "load": ("-n", "2"),
    "loadfile": ("-n", "2", "--dist", "loadfile"),
    "loadscope": ("--tx", "2*popen", "--dist", "loadscope"),
    "loadgroup": ("-n", "2", "--dist", "loadgroup"),
    "worksteal": ("-n", "8", "--maxprocesses", "2", "--dist", "worksteal"),
}

EACH = [
    *(passed(f"{name} @{worker}", worker=worker) for name in PASSED for worker in ("gw0", "gw1")),
    *(failed(f"{FAILED} @{worker}", "AssertionError: bad", worker=worker) for worker in ("gw0", "gw1")),
]

CASES = [
    *(
        Case(f"dist-{name}", SUITE, TESTS, exit=1, options=way, shards={"1", "2"}, modes=("alone",))
        for name, way in WAYS.items()
    ),
    Case(
        "dist-loadgroup-8.4",
        SUITE,
        TESTS,
        exit=1,
        options=WAYS["loadgroup"],
        shards={"1", "2"},
        modes=("alone",),
        environment="eight",
    ),
    Case(
        "dist-named",
        SUITE,
        TESTS,
        exit=1,
        options=(*WAYS["worksteal"], "--tms-shard", "linux"),
        shards={"linux": "failed"},
        modes=("alone",),
    ),
    Case(
        "dist-each",
        SUITE,
        [*TESTS, *TESTS],
        exit=1,
        options=("-n", "2", "--dist", "each"),
        shards="failed",
        modes=("alone",),
    ),
    Case(
        "dist-each-named",
        SUITE,
        EACH,
        exit=1,
        options=("-n", "2", "--dist", "each", "--tms-shard", "all"),
        shards={"all": "failed"},
        modes=("alone",),
    ),
    Case(
        "dist-no",
        SUITE,
        TESTS,
        exit=1,
        options=("--tx", "2*popen", "--dist", "no"),
        shards={"1": "failed"},
        modes=("alone",),
    ),
    Case(
        "one-worker",
        SUITE,
        TESTS,
        exit=1,
        options=("-n", "1"),
        shards={"1": "failed"},
        modes=("alone",),
    ),
]
