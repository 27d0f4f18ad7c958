"""Subtests are parts of their test, whoever brings them; the test has failed where one of them has."""

from __future__ import annotations

import pytest

from tests.helpers.reported_runs import Case, failed, passed

FIXTURE = """
import pytest

class Odd:
    def __repr__(self): raise RuntimeError("no repr")

def test_parts(subtests):
    for number in range(3):
        with subtests.test(number=number, name="x"):
            assert number != 1, "one is bad"

def test_all_pass(subtests):
    with subtests.test("a message"): pass
    with subtests.test("both", key="it's"): pass
    with subtests.test(): pass

def test_part_skips(subtests):
    with subtests.test("later"): pytest.skip("not now")
    with subtests.test("now"): pass

def test_part_xfails(subtests):
    with subtests.test("known"): pytest.xfail("a known defect")

def test_parts_and_call_fail(subtests):
    with subtests.test("part"): assert 0, "the part"
    assert 0, "the whole"
"""

UNITTEST = """
import unittest

class TestParts(unittest.TestCase):
    def test_parts(self):
        for number in range(3):
            with self.subTest("msg", number=number, name="x"):
                self.assertNotEqual(number, 1)
    def test_all_pass(self):
        with self.subTest(number=1): pass
    def test_part_skips(self):
        with self.subTest(number=1): self.skipTest("not now")
        with self.subTest(number=2): pass
"""

FILES = {"test_fixture.py": FIXTURE, "test_unittest.py": UNITTEST}

PARTS = [("number=0, name='x'", "passed"), ("number=1, name='x'", "failed"), ("number=2, name='x'", "passed")]
TESTS = [
    failed("test_fixture.py::test_parts", "1 of 3 subtests failed", subtests=PARTS),
    passed(
        "test_fixture.py::test_all_pass",
        subtests=[("a message", "passed"), ('both (key="it\'s")', "passed"), ("subtest", "passed")],
    ),
    passed("test_fixture.py::test_part_skips", subtests=[("later", "skipped"), ("now", "passed")]),
    passed("test_fixture.py::test_part_xfails", subtests=[("known", "skipped")]),
    failed(
        "test_fixture.py::test_parts_and_call_fail",
        "AssertionError: the whole",
        subtests=[("part", "failed")],
    ),
    failed(
        "test_unittest.py::TestParts::test_parts",
        "1 of 3 subtests failed",
        subtests=[(f"msg ({title})", status) for title, status in PARTS],
    ),
    passed("test_unittest.py::TestParts::test_all_pass", subtests=[("number=1", "passed")]),
    passed(
        "test_unittest.py::TestParts::test_part_skips",
        subtests=[("number=1", "skipped"), ("number=2", "passed")],
    ),
]

# JUnit XML takes a skipped part for the whole test, and has no failed parts.
ODD = (
    "test_fixture.py::test_part_skips",
    "test_fixture.py::test_part_xfails",
    "test_unittest.py::TestParts::test_part_skips",
    "test_unittest.py::TestParts::test_parts",
)
ODD_BESIDE_PYTEST = (*ODD, "test_fixture.py::test_parts")
"""Before pytest had subtests of its own, nobody told a test's failed parts."""


CASES = [
    Case(
        "subtests",
        FILES,
        TESTS,
        exit=1,
        shards={"1": "failed"},
        in_workers={"shards": {"1", "2"}},
        odd=ODD if hasattr(pytest, "Subtests") else ODD_BESIDE_PYTEST,
    ),
    Case(
        "subtests-8.4",
        FILES,
        TESTS,
        exit=1,
        shards={"1": "failed"},
        in_workers={"shards": {"1", "2"}},
        odd=ODD_BESIDE_PYTEST,
        environment="eight",
    ),
]
