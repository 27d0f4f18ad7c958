"""Beside other plugins, and under the options that change what pytest shows or keeps."""

from __future__ import annotations

from tests.helpers.reported_runs import Case, StartsWith, failed, passed

ASYNC = """
import anyio, asyncio, pytest

@pytest.mark.asyncio
async def test_asyncio(): await asyncio.sleep(0)

@pytest.mark.asyncio
async def test_asyncio_fails():
    await asyncio.sleep(0)
    assert 0, "async"

@pytest.mark.anyio
async def test_anyio(): await anyio.sleep(0)
"""

BDD = """
from pytest_bdd import given, scenarios, then
scenarios("shop.feature")

@given("a shop")
def shop(): pass

@then("it opens")
def opens(): pass

@then("it burns")
def burns(): assert 0, "no fire"
"""

FEATURE = """
Feature: Shop
  Scenario: Opening
    Given a shop
    Then it opens
  Scenario: Burning
    Given a shop
    Then it burns
"""

TIMEOUT = """
import time, pytest

@pytest.mark.timeout(0.3)
def test_too_slow(): time.sleep(5)

def test_in_time(): pass
"""

SHUFFLED = """
import pytest

@pytest.mark.parametrize("n", range(9))
def test_many(n): assert n != 4, "four"
"""

CASES = [
    Case(
        "guests",
        {
            "test_async.py": ASYNC,
            "test_bdd.py": BDD,
            "shop.feature": FEATURE,
            "test_timeout.py": TIMEOUT,
            "test_shuffled.py": SHUFFLED,
        },
        [
            passed("test_async.py::test_asyncio"),
            failed("test_async.py::test_asyncio_fails", "AssertionError: async"),
            passed("test_async.py::test_anyio[asyncio]", parameters={"anyio_backend": "asyncio"}),
            passed("test_async.py::test_anyio[trio]"),
            passed("test_bdd.py::test_opening"),
            failed("test_bdd.py::test_burning", "AssertionError: no fire"),
            failed("test_timeout.py::test_too_slow", StartsWith("Failed: Timeout")),
            passed("test_timeout.py::test_in_time"),
            *(passed(f"test_shuffled.py::test_many[{n}]") for n in range(9) if n != 4),
            failed("test_shuffled.py::test_many[4]", "AssertionError: four"),
        ],
        exit=1,
        options=("--cov=.", "-p", "randomly", "--dist=worksteal"),
        shards={"1": "failed"},
        in_workers={"shards": {"1", "2"}},
        environment="guests",
    ),
]
