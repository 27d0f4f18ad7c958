"""Flaky tests of some runs, ranked by how certainly they are flaky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from pytest_tms.server.domain.flakiness import (
    Flakiness,
    Observation,
    Statistics,
    flakiness,
    statistics,
    wilson,
)
from pytest_tms.server.store import test_catalogue
from pytest_tms.server.store.execution_lists import ListedExecution
from pytest_tms.server.store.test_catalogue import CatalogueFilter

RANKED = 200
"""Tests with most flaky results that are ranked by their rate; the others follow by number."""


class FlakyTest(NamedTuple):
    """A flaky test by its id, with its results in the runs in question, the newest first."""

    test_id: int
    statistics: Statistics
    flakiness: Flakiness
    observations: list[Observation]


def list_flaky(
    connection: Connection, wanted: CatalogueFilter, *, after: int, limit: int
) -> tuple[list[FlakyTest], int | None]:
    """Return one page of flaky tests of the latest runs that match a filter, and the cursor of the next.

    ``after`` is the number of tests before the page.
    """
    runs = test_catalogue.runs(connection, wanted.runs)
    counted = test_catalogue.flaky(connection, runs)
    wanted_ids = set(test_catalogue.matching(connection, [test_id for test_id, _ in counted], wanted))
    found = rank(connection, [each for each in counted if each[0] in wanted_ids], runs)
    end = after + limit
    return describe(connection, found[after:end], runs), end if len(found) > end else None


def rank(
    connection: Connection, counted: Sequence[tuple[int, int]], runs: Sequence[ListedExecution]
) -> list[int]:
    """Sort (test, number of flaky results) by the lower bound of the rate: 3 of 4 are more than 1 of 1.

    Every result counts here, also a skipped one, so that the index has all that is needed.
    """
    first, rest = counted[:RANKED], counted[RANKED:]
    numbers = test_catalogue.numbers_of_results(connection, [test_id for test_id, _ in first], runs)

    def order(each: tuple[int, int]) -> tuple[float, int, int]:
        test_id, number = each
        return -wilson(number, max(number, numbers.get(test_id, 0))).low, -number, test_id

    return [test_id for test_id, _ in (*sorted(first, key=order), *rest)]


def describe(
    connection: Connection, test_ids: Sequence[int], runs: Sequence[ListedExecution]
) -> list[FlakyTest]:
    """Return tests with their results in some runs, in the given order."""
    observed = test_catalogue.observations_in(connection, test_ids, runs)
    return [
        FlakyTest(each, statistics(observed[each]), flakiness(observed[each]), observed[each])
        for each in test_ids
    ]
