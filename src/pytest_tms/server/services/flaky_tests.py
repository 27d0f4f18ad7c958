"""Flaky tests of some runs, ranked by how certainly they are flaky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from pytest_tms.server.domain.flakiness import Flakiness, Observation, Statistics, flakiness, statistics
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
    counted = [test_id for test_id, _ in test_catalogue.flaky(connection, runs)]
    found = test_catalogue.matching(connection, counted, wanted)
    end = after + limit
    ranked = rank(connection, found[:RANKED], runs)[after:end] if after < RANKED else []
    rest = found[max(after, RANKED) : end]
    return [*ranked, *_describe(connection, rest, runs)], end if len(found) > end else None


def rank(connection: Connection, test_ids: Sequence[int], runs: Sequence[ListedExecution]) -> list[FlakyTest]:
    """Sort tests by the lower bound of their flake rate in some runs: 3 of 4 are more than 1 of 1."""
    return sorted(
        _describe(connection, test_ids, runs),
        key=lambda each: (-each.statistics.flaky.low, -each.flakiness.cost, each.test_id),
    )


def _describe(
    connection: Connection, test_ids: Sequence[int], runs: Sequence[ListedExecution]
) -> list[FlakyTest]:
    observed = test_catalogue.observations_in(connection, test_ids, runs)
    return [
        FlakyTest(each, statistics(observed[each]), flakiness(observed[each]), observed[each])
        for each in test_ids
    ]
