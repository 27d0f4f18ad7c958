"""The sentence about an execution."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tms import wire
from pytest_tms.server.domain.verdicts import verdict


def counts(passed: int = 0, failed: int = 0, skipped: int = 0, flaky: int = 0) -> wire.Counts:
    return wire.Counts(
        total=passed + failed + skipped, passed=passed, failed=failed, skipped=skipped, flaky=flaky
    )


@pytest.mark.parametrize(
    ("status", "results", "more", "expected"),
    [
        ("created", counts(), {}, ("running", "Waiting for the first shard")),
        ("running", counts(3), {}, ("running", "Running")),
        ("running", counts(3, 1), {}, ("failed", "Running, 1 test failed")),
        ("completed", counts(), {}, ("none", "No tests ran")),
        ("completed", counts(3), {}, ("passed", "All tests passed")),
        ("completed", counts(3, flaky=2), {}, ("passed", "All tests passed, 2 of them flaky")),
        ("completed", counts(skipped=3), {}, ("skipped", "All tests were skipped")),
        ("completed", counts(0, 1200), {}, ("failed", "1,200 tests failed")),
        ("completed", counts(3, 7), {"new": 2, "known": 5}, ("failed", "7 tests failed: 2 new, 5 known")),
        ("completed", counts(3, 7), {"new": 7, "known": 0}, ("failed", "7 tests failed: all new since the previous run")),
        ("completed", counts(3, 1), {"new": 0, "known": 1}, ("failed", "1 test failed: known from the previous run")),
        ("completed", counts(3, 7), {"new": 1, "known": 5}, ("failed", "7 tests failed")),
        ("completed", counts(7), {"not_run": 38, "expected": 45}, ("none", "Stopped early: 38 of 45 did not run")),
        ("failed", counts(7), {"not_run": 2}, ("failed", "The run failed, stopped early: 2 did not run")),
        ("cancelled", counts(7), {}, ("cancelled", "Cancelled")),
        ("cancelled", counts(7, 1), {"cancelled_by": "ada"}, ("cancelled", "Cancelled by ada, 1 test failed")),
    ],
)  # fmt: skip
def test_states_are_named_as_a_user_names_them(
    status: wire.ExecutionState, results: wire.Counts, more: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert verdict(status, results, **more) == expected
