"""Every outcome that pytest itself knows, by one process and over workers."""

from __future__ import annotations

from tests.helpers.reported_runs import Case, StartsWith, broken, failed, passed, skipped, xpassed

CORE = """
import pytest

def test_passes(): pass

def test_fails(): assert 1 == 2, "one is not two"

@pytest.fixture
def breaks():
    raise RuntimeError("setup broke")

@pytest.fixture
def mess():
    yield
    raise RuntimeError("teardown broke")

def test_setup_breaks(breaks): pass
def test_teardown_breaks(mess): pass
def test_call_and_teardown_break(mess): assert 0, "call broke"
def test_setup_and_teardown_break(mess, breaks): pass
def test_skipped_and_teardown_breaks(mess): pytest.skip("not now")

@pytest.mark.skip(reason="by mark")
def test_skip_mark(): pass

@pytest.mark.skipif(True, reason="by condition")
def test_skip_if(): pass

def test_skip_in_call(): pytest.skip("in call")

@pytest.fixture
def skips(): pytest.skip("in a fixture")

def test_skip_in_fixture(skips): pass
def test_importorskip(): pytest.importorskip("no_such_module", reason="it is not there")

@pytest.mark.xfail(reason="a known defect")
def test_xfail(): assert 0

@pytest.mark.xfail
def test_xfail_without_reason(): assert 0

@pytest.mark.xfail(reason="lax", strict=False)
def test_xpass(): pass

@pytest.mark.xfail(reason="must fail", strict=True)
def test_xpass_strict(): pass

@pytest.mark.xfail(raises=KeyError, reason="raises")
def test_xfail_raises(): {}["key"]

@pytest.mark.xfail(raises=KeyError, reason="raises")
def test_xfail_raises_another(): raise ValueError("another")

@pytest.mark.xfail(run=False, reason="it hangs")
def test_xfail_not_run(): pass

def test_xfail_call(): pytest.xfail("by call")

@pytest.mark.xfail(reason="setup known to break")
def test_xfail_setup(breaks): pass

@pytest.mark.xfail(reason="known, but teardown breaks")
def test_xfail_teardown_breaks(mess): assert 0

def test_fail_without_trace(): pytest.fail("no trace", pytrace=False)
def test_system_exit(): raise SystemExit(3)

class TestOuter:
    class TestInner:
        def test_nested(self): pass

@pytest.mark.parametrize("x", [1, 2.5, None, True, "text", b"bytes", object(), 1 << 70], ids=list("abcdefgh"))
def test_parameters(x): pass
"""

CORE_TESTS = [
    passed("test_core.py::test_passes", error=None, longrepr=None),
    failed("test_core.py::test_fails", "AssertionError: one is not two"),
    broken("test_core.py::test_setup_breaks", "RuntimeError: setup broke"),
    broken("test_core.py::test_teardown_breaks", "RuntimeError: teardown broke"),
    failed("test_core.py::test_call_and_teardown_break", "AssertionError: call broke"),
    broken("test_core.py::test_setup_and_teardown_break", "RuntimeError: setup broke"),
    broken("test_core.py::test_skipped_and_teardown_breaks", "RuntimeError: teardown broke"),
    skipped("test_core.py::test_skip_mark", "by mark"),
    skipped("test_core.py::test_skip_if", "by condition"),
    skipped("test_core.py::test_skip_in_call", "in call"),
    skipped("test_core.py::test_skip_in_fixture", "in a fixture"),
    skipped("test_core.py::test_importorskip", "it is not there"),
    skipped("test_core.py::test_xfail", "a known defect", "xfailed"),
    skipped("test_core.py::test_xfail_without_reason", None, "xfailed"),
    xpassed("test_core.py::test_xpass", error="lax"),
    xpassed("test_core.py::test_xpass_strict", "failed", error="[XPASS(strict)] must fail"),
    skipped("test_core.py::test_xfail_raises", "raises", "xfailed"),
    failed("test_core.py::test_xfail_raises_another", "ValueError: another"),
    skipped("test_core.py::test_xfail_not_run", "[NOTRUN] it hangs", "xfailed"),
    skipped("test_core.py::test_xfail_call", "by call", "xfailed"),
    skipped("test_core.py::test_xfail_setup", "setup known to break", "xfailed"),
    skipped("test_core.py::test_xfail_teardown_breaks", "known, but teardown breaks", "xfailed"),
    failed("test_core.py::test_fail_without_trace", "Failed: no trace"),
    failed("test_core.py::test_system_exit", "SystemExit: 3"),
    passed("test_core.py::TestOuter::TestInner::test_nested"),
    *(
        passed(f"test_core.py::test_parameters[{name}]", parameters={"x": value})
        for name, value in zip(
            "abcdefgh",
            [1, 2.5, None, True, "text", "<bytes>", "<object>", str(1 << 70)],
            strict=True,
        )
    ),
]

UNITTEST = """
import unittest

class TestPlain(unittest.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.assertEqual(1, 2)
    def test_skips(self): self.skipTest("a reason")
    @unittest.skip("decorated")
    def test_decorated(self): pass
    @unittest.expectedFailure
    def test_expected(self): self.fail("as expected")
    @unittest.expectedFailure
    def test_unexpected(self): pass
    def test_cleanup_breaks(self):
        self.addCleanup(self.fail, "cleanup broke")

class TestBroken(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise RuntimeError("class setup broke")
    def test_a(self): pass
    def test_b(self): pass

class TestMess(unittest.TestCase):
    @classmethod
    def tearDownClass(cls): raise RuntimeError("class teardown broke")
    def test_one(self): pass

class TestSetUp(unittest.TestCase):
    def setUp(self): raise RuntimeError("setUp broke")
    def test_it(self): pass

@unittest.skip("the whole class")
class TestSkipped(unittest.TestCase):
    def test_it(self): pass

class TestAsync(unittest.IsolatedAsyncioTestCase):
    async def test_it(self): self.assertTrue(False)
"""

UNITTEST_TESTS = [
    passed("test_unittest.py::TestPlain::test_passes"),
    failed("test_unittest.py::TestPlain::test_fails", "AssertionError: 1 != 2"),
    skipped("test_unittest.py::TestPlain::test_skips", "a reason"),
    skipped("test_unittest.py::TestPlain::test_decorated", "decorated"),
    skipped("test_unittest.py::TestPlain::test_expected", None, "xfailed"),
    failed("test_unittest.py::TestPlain::test_unexpected", "Failed: Unexpected success"),
    failed("test_unittest.py::TestPlain::test_cleanup_breaks", "AssertionError: cleanup broke"),
    broken("test_unittest.py::TestBroken::test_a", "RuntimeError: class setup broke"),
    broken("test_unittest.py::TestBroken::test_b", "RuntimeError: class setup broke"),
    broken("test_unittest.py::TestMess::test_one", "RuntimeError: class teardown broke"),
    failed("test_unittest.py::TestSetUp::test_it", "RuntimeError: setUp broke"),
    skipped("test_unittest.py::TestSkipped::test_it", "the whole class"),
    failed("test_unittest.py::TestAsync::test_it", "AssertionError: False is not true"),
]

XUNIT = """
def setup_module(module): module.ready = True
def teardown_module(module): raise RuntimeError("module teardown broke")
def test_first(): assert ready
def test_last(): assert ready
"""

DOCTEST = '''
def add(a, b):
    """
    >>> add(1, 2)
    3
    """
    return a + b

def wrong():
    """
    >>> 1 + 1
    3
    """

def skips():
    """
    >>> 1 + 1  # doctest: +SKIP
    3
    """
'''

NAMES = """
import pytest

@pytest.mark.parametrize("x", ["a@b.c", "a::b", "[x]", "a/b.py", "ünï", "\\x1b", "\\udce4", "", "1" * 60, "x #2", "x @gw1"])
def test_names(x): pass

def test_größe(): pass

def test_output():
    print("heiß \\x00 \\u2028")
    assert 0, "größer"

def test_lines(): assert 0, "first\\nsecond"
def test_empty_message(): raise ValueError
def test_odd_message(): raise ValueError("\\n\\n  late")

class Hostile(Exception):
    def __str__(self): raise RuntimeError("no text")

def test_hostile_exception(): raise Hostile

class Text(str):
    def __str__(self): raise RuntimeError("no text")
    __repr__ = __str__

class Thing:
    def __repr__(self): raise RuntimeError("no repr")

@pytest.mark.parametrize("x", [Text("a"), Thing(), float("nan"), float("inf")], ids=["text", "thing", "nan", "inf"])
def test_hostile_parameter(x): pass
"""

NAMES_TESTS = [
    *(
        passed(f"test_names.py::test_names[{name}]")
        for name in (
            "a@b.c",
            "a::b",
            "[x]",
            "a/b.py",
            "\\xfcn\\xef",
            "\\x1b",
            "\\udce4",
            "",
            "1" * 60,
            "x #2",
            "x @gw1",
        )
    ),
    passed("test_names.py::test_größe", title="test_größe"),
    failed("test_names.py::test_output", "AssertionError: größer", stdout="heiß \0 \u2028\n"),
    failed("test_names.py::test_lines", "AssertionError: first"),
    failed("test_names.py::test_empty_message", "ValueError"),
    failed("test_names.py::test_odd_message", "ValueError: late"),
    failed("test_names.py::test_hostile_exception", StartsWith("")),
    passed("test_names.py::test_hostile_parameter[text]", parameters={"x": "a"}),
    passed("test_names.py::test_hostile_parameter[thing]", parameters={"x": "<Thing>"}),
    passed("test_names.py::test_hostile_parameter[nan]"),
    passed("test_names.py::test_hostile_parameter[inf]"),
]

SURROGATES = """
def test_output():
    print("heiß \\udce4")
    assert 0, "lone \\udce4 surrogate"
"""

CASES = [
    Case(  # over workers, execnet refuses the report and xdist ends the session
        "surrogates",
        {"test_it.py": SURROGATES},
        [failed("test_it.py::test_output", "AssertionError: lone \\udce4 surrogate", stdout="heiß ?\n")],
        exit=1,
        shards={"1": "failed"},
        modes=("alone",),
    ),
    Case(
        "core",
        {
            "test_core.py": CORE,
            "test_unittest.py": UNITTEST,
            "test_xunit.py": XUNIT,
            "pkg/mod.py": DOCTEST,
            "pkg/text.txt": ">>> 1\n1\n",
            "test_module_skip.py": "import pytest\npytest.skip('the whole module', allow_module_level=True)\ndef test(): pass\n",
        },
        [
            *CORE_TESTS,
            *UNITTEST_TESTS,
            passed("test_xunit.py::test_first"),
            broken("test_xunit.py::test_last", "RuntimeError: module teardown broke"),
            passed("pkg/mod.py::mod.add"),
            failed("pkg/mod.py::mod.wrong", "Expected: 3 Got: 2"),
            skipped("pkg/mod.py::mod.skips", "all tests skipped by +SKIP option"),
            passed("pkg/text.txt::text.txt"),
            skipped("test_module_skip.py", "the whole module", title="test_module_skip.py"),
        ],
        exit=1,
        options=("--doctest-modules", "--doctest-glob=*.txt", "--dist=loadfile"),
        shards={"1": "failed"},
        in_workers={"shards": {"1", "2"}},
    ),
    Case(
        "names",
        {"test_names.py": NAMES},
        NAMES_TESTS,
        exit=1,
        shards={"1": "failed"},
        in_workers={"shards": {"1", "2"}},
    ),
]
