"""Tests over all executions: the catalogue with statistics, and the history of one test."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.errors import NotFound
from pytest_tms.server.domain.flakiness import Flakiness, Observation, Statistics, statistics
from pytest_tms.server.services import flaky_tests
from pytest_tms.server.store import test_catalogue, test_history
from pytest_tms.server.store.test_catalogue import CatalogueFilter
from pytest_tms.server.store.test_history import HistoryEntry, HistoryFilter, RegisteredTest

OBSERVED = 50
"""Latest results of a test of which its statistics are."""


@dataclass(frozen=True, kw_only=True)
class TestSummary:
    """A test with the statistics of its latest results, and how the last of them ended (the newest first).

    ``flakiness`` is set in a list of flaky tests, whose statistics are those of the runs in question.
    """

    __test__ = False

    test: RegisteredTest
    statistics: Statistics
    last_status: wire.TestStatus | None
    recent: list[wire.TestStatus]
    flakiness: Flakiness | None = None


def list_tests(
    connection: Connection, wanted: CatalogueFilter, *, after: int, limit: int
) -> tuple[list[TestSummary], int | None]:
    """Return one page of tests, and the cursor of the next page or None; ``after`` is 0 on the first page.

    Tests without a result in the environments that are allowed are left out.
    """
    if wanted.is_flaky:
        return _list_flaky(connection, wanted, after, limit)
    test_ids, following = test_catalogue.find(connection, wanted, after=after, limit=limit)
    observed = test_catalogue.observations(connection, test_ids, wanted.environments, OBSERVED)
    summaries = [
        _summary(test, [each for _, each in observed[test.id]])
        for test in test_history.get_tests(connection, test_ids)
        if observed[test.id] or not wanted.environments
    ]
    return summaries, following


def list_observed(
    connection: Connection, test_ids: Sequence[int], environments: Collection[str]
) -> list[TestSummary]:
    """Return some tests with the statistics of their latest results in the environments that are allowed."""
    observed = test_catalogue.observations(connection, test_ids, environments, OBSERVED)
    return [
        _summary(test, [each for _, each in observed[test.id]])
        for test in test_history.get_tests(connection, test_ids)
    ]


def get_history(
    connection: Connection, key: str, wanted: HistoryFilter, *, before: int | None, limit: int
) -> tuple[TestSummary, list[HistoryEntry], int | None]:
    """Return a test, one page of its results, the newest first, and the cursor of the next page or None.

    Raises:
        NotFound: The test does not exist, or none of its results is in an environment that is allowed.
    """
    number = int(key) if key.isascii() and key.isdecimal() and len(key) < 19 else 0
    test = test_history.get_test(connection, number)
    found = test_catalogue.observations(connection, [number], wanted.environments, OBSERVED)
    observed = found[number]
    if test is None or (wanted.environments and not observed):
        raise NotFound(f"There is no test {key[:100]}.")
    results, following = test_history.history(connection, number, wanted, before=before, limit=limit)
    return _summary(test, [each for _, each in observed]), results, following


def _list_flaky(
    connection: Connection, wanted: CatalogueFilter, after: int, limit: int
) -> tuple[list[TestSummary], int | None]:
    found, following = flaky_tests.list_flaky(connection, wanted, after=after, limit=limit)
    tests = {each.id: each for each in test_history.get_tests(connection, [each.test_id for each in found])}
    return [
        TestSummary(
            test=tests[each.test_id],
            statistics=each.statistics,
            last_status=each.observations[0].status if each.observations else None,
            recent=[observed.status for observed in each.observations[:10]],
            flakiness=each.flakiness,
        )
        for each in found
        if each.test_id in tests
    ], following


def _summary(test: RegisteredTest, observed: list[Observation]) -> TestSummary:
    return TestSummary(
        test=test,
        statistics=statistics(observed),
        last_status=observed[0].status if observed else None,
        recent=[each.status for each in observed[:10]],
    )
