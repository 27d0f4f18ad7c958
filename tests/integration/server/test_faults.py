"""Faults below a server under load: no confirmed result is lost, and it recovers. `bench faults` measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.faults import SCENARIOS, run_scenario

UNAVAILABLE = {"PostgreSQL restarted", "storage refusing", "disk full"}
"""Faults during which requests are refused."""


@pytest.mark.nightly
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_confirmed_result_is_lost_and_the_server_recovers(name: str, tmp_path: Path) -> None:
    with SCENARIOS[name](tmp_path) as scenario:
        outcome = run_scenario(scenario)
    assert outcome.confirmed > 0
    assert outcome.lost == 0
    assert outcome.given_up == 0
    assert outcome.without_retry_after == 0
    allowed = {"200", "201", "409", "503"}
    if name == "replica killed":
        allowed |= {"502", "ConnectionError", "ChunkedEncodingError"}  # of the proxy
    if name == "disk full":
        allowed |= {"507"}
    assert set(outcome.statuses) <= allowed
    assert outcome.tracebacks == 0
    assert ("503" in outcome.statuses) or name not in UNAVAILABLE
