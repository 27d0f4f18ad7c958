"""Setups of shared fixtures are measured, each without those within it; those of single tests are not."""

from __future__ import annotations

import pytest

pytest_plugins = "pytester"

TIMING = """
now = [0.0]

def spend(seconds):
    now[0] += seconds
"""
PLUGIN = """
import pytest
from timing import now, spend
from pytest_tms.plugin.results.shared_setups import SharedSetupTimes

times = SharedSetupTimes()
times._clock = lambda: now[0]

def pytest_configure(config):
    config.pluginmanager.register(times)

@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    for each in times.take() or ():
        print("\\n", report.nodeid, each["scope"], each["node"], each["fixture"], each["duration"])

@pytest.fixture(scope="session")
def database():
    spend(5)

@pytest.fixture(scope="class")
def rows(tables):
    spend(3)

@pytest.fixture(scope="session")
def quick():
    spend(0.0009)

@pytest.fixture
def own():
    spend(100)
"""
PACKAGE = """
import pytest
from timing import spend

@pytest.fixture(scope="package")
def tables(request):
    spend(1)
    request.getfixturevalue("database")
    spend(1)
"""
SUITE = """
import unittest, pytest
from timing import spend

def setup_module():
    spend(7)

def test_first(quick, own): pass
def test_without_class(rows): pass

class TestA:
    @classmethod
    def setup_class(cls):
        spend(9)

    def test_x(self, rows): pass
    def test_y(self, rows): pass

class TestB(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        spend(11)

    def test_x(self): pass

@pytest.fixture(scope="module", params=[1, 2])
def each(request):
    spend(request.param)

def test_params(each): pass

@pytest.fixture(scope="module")
def broken():
    spend(4)
    raise ValueError

def test_broken(broken): pass
def test_late(request): request.getfixturevalue("late")

@pytest.fixture(scope="module")
def late():
    spend(2)
"""


def test_setups_are_measured_by_their_node_and_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(timing=TIMING)
    package = pytester.mkpydir("p")
    (package / "conftest.py").write_text(PACKAGE)
    (package / "test_a.py").write_text(SUITE)
    output = pytester.runpytest_inprocess("-p", "no:tms", "-p", "no:cacheprovider", "-s").outlines
    found = [line.strip() for line in output if line.strip().endswith("00")]
    file = "p/test_a.py"
    assert found == [
        f"{file}::test_first module {file} _xunit_setup_module_fixture_p.test_a 7000",
        f"{file}::test_without_class session  database 5000",
        f"{file}::test_without_class package p tables 2000",
        f"{file}::TestA::test_x class {file}::TestA _xunit_setup_class_fixture_TestA 9000",
        f"{file}::TestA::test_x class {file}::TestA rows 3000",
        f"{file}::TestB::test_x class {file}::TestB _unittest_setUpClass_fixture_TestB 11000",
        f"{file}::test_params[1] module {file} each 1000",
        f"{file}::test_params[2] module {file} each 2000",
        f"{file}::test_broken module {file} broken 4000",
        f"{file}::test_late module {file} late 2000",
    ]
