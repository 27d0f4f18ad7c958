"""How well the history finds flaky tests and first failing commits, in a simulated year of 730 runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.server import serving
from bench.table import table
from tests.helpers.api import Api
from tests.helpers.simulated_year import FLAKY, SEEN, TESTS, Year

DAYS = 365
LOW = 0.005
"""The lower bound of the rate from which on a test counts as flaky in the second column."""
OFTEN = 0.05
"""The rate from which on a test fails often."""


def measure(seed: int) -> str:
    """The table: precision and recall of the lists of flaky tests, and the first failing commits."""
    year = Year(seed=seed, days=DAYS)
    correct = wrong = 0
    lists: list[dict[int, float]] = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as (url, token):
        api = Api(url, token, Path(folder))
        for day, execution_id in year.report(api):
            if day not in year.infrastructure:
                for fault, commit, runs in year.found(api, day, execution_id):
                    is_right = (commit, runs) == (year.commit(fault.first), year.runs_of(fault))
                    correct += is_right
                    wrong += not is_right
            if (day + 1) % SEEN == 0:
                lists.append(year.flaky(api))
    truth = set(year.rates)
    rates = sorted(year.rates.values())
    often = {test for test, rate in year.rates.items() if rate >= OFTEN}
    likely = [{test for test, low in found.items() if low >= LOW} for found in lists]
    rows = [
        ["precision", _precision([set(found) for found in lists], truth), _precision(likely, truth)],
        ["recall", _recall([set(found) for found in lists], truth), _recall(likely, truth)],
        [
            f"recall, rate of {OFTEN:.0%} or more",
            _recall([set(found) for found in lists], often),
            _recall(likely, often),
        ],
    ]
    return (
        f"{2 * DAYS} runs of {TESTS} tests, {FLAKY} of them flaky at rates from {rates[0]:.0%} "
        f"to {rates[-1]:.0%}; {len(year.infrastructure)} days of infrastructure failures, "
        f"{len(year.outages)} outages of a third of the tests; {len(lists)} lists of 100 runs each\n"
        f"{table(['flaky tests', 'all listed', f'lower bound of {LOW:.1%} or more'], rows)}\n"
        f"first failing commits and numbers of failed runs: {correct} of {correct + wrong} right"
    )


def _precision(lists: list[set[int]], truth: set[int]) -> str:
    return f"{sum(len(found & truth) for found in lists) / max(1, sum(map(len, lists))):.2f}"


def _recall(lists: list[set[int]], truth: set[int]) -> str:
    return f"{sum(len(found & truth) for found in lists) / (len(lists) * len(truth)):.2f}"
