"""What the history says of flaky tests and faults, beside what a simulation knows of them."""

from __future__ import annotations

import pytest

from tests.helpers.api import Api
from tests.helpers.simulated_year import Year


@pytest.mark.slow
def test_flaky_tests_and_faults_are_found_and_infrastructure_failures_change_neither(api: Api) -> None:
    year = Year(seed=1, days=50)
    found = []
    for day, execution_id in year.report(api):
        if day not in year.infrastructure:
            found += year.found(api, day, execution_id)
    assert found
    for fault, commit, runs in found:
        assert (fault.test, commit, runs) == (fault.test, year.commit(fault.first), year.runs_of(fault))
    flaky = year.flaky(api)
    often = {test for test, rate in year.rates.items() if rate >= 0.05}
    assert often <= flaky.keys()
    assert flaky.keys() <= year.rates.keys()
