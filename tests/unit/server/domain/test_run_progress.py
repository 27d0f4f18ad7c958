"""The progress of a running execution, and what its workers do."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tms import wire
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.forecast import Forecast
from pytest_tms.server.domain.run_progress import MAX_SHOWN, Progress, WorkerActivity, activities, progress

NOW = 1_700_000_000_000


def running(finished: int = 0, **more: Any) -> Execution:
    fields: dict[str, Any] = {
        "id": "exec_1", "status": "running", "test_suite": "s", "environment": "e", "provider": "p",
        "trigger_source": "api", "configuration": {}, "metadata": {}, "extra": {}, "token_hash": "",
        "created_at": NOW - 70_000, "started_at": NOW - 60_000,
        "summed": wire.Counts(total=finished, passed=finished),
    }  # fmt: skip
    return Execution(**{**fields, **more})


@pytest.mark.parametrize(
    ("forecast", "previous", "expected"),
    [
        (Forecast(), None, (None, None)),
        (Forecast(expected=80, ends_at=NOW + 30_000), None, (62, 30_000)),
        (Forecast(expected=80, ends_at=NOW + 30_000), 100_000, (62, 40_000)),
        (Forecast(expected=80, ends_at=NOW + 30_000), 50_000, (62, 30_000)),
        (Forecast(), 100_000, (None, 40_000)),
        (Forecast(expected=50), None, (99, None)),
        (Forecast(expected=60, ends_at=NOW - 5), None, (83, 0)),
    ],
)
def test_time_left_is_told_by_the_previous_run_and_then_by_the_own_pace(
    forecast: Forecast, previous: int | None, expected: tuple[int | None, int | None]
) -> None:
    found = progress(running(50), forecast, NOW, previous)
    assert found == Progress(50, forecast.expected, expected[0], 60_000, expected[1])


def test_an_execution_that_waits_has_no_elapsed_time() -> None:
    assert progress(running(started_at=None), Forecast(), NOW, 5000).elapsed is None


def in_flight(node_id: str, started_at: str | None = None, worker: str | None = None) -> wire.RunningTest:
    return wire.RunningTest(node_id=node_id, started_at=started_at, worker=worker)


def test_workers_run_a_test_are_idle_or_lost() -> None:
    shards = [
        Shard(shard_id="1", status="running", in_flight=(in_flight("t.py::a", "2023-11-14T22:13:18Z", "gw0"),)),
        Shard(shard_id="2", status="running", in_flight=(in_flight("t.py::b", "2023-11-14T22:13:10Z", "gw1"),)),
        Shard(shard_id="3", status="running"),
        Shard(shard_id="4", status="lost", last_reported_at=NOW - 9000, in_flight=(in_flight("t.py::c", "nonsense"),)),
        Shard(shard_id="5", status="completed"),
        Shard(shard_id="6", status="pending"),
    ]  # fmt: skip
    found = activities(shards, NOW)
    assert found.listed == [
        WorkerActivity("lost", "4", "", "t.py::c", 9000),
        WorkerActivity("running", "2", "gw1", "t.py::b", 10_000),
        WorkerActivity("running", "1", "gw0", "t.py::a", 2000),
        WorkerActivity("idle", "3", "", "", None),
    ]
    assert (found.running, found.idle, found.lost, found.left_out) == (2, 1, 1, 0)


def test_a_start_that_is_no_time_has_no_age_and_the_list_is_bounded() -> None:
    tests = tuple(in_flight(f"t.py::{n}", "yesterday") for n in range(MAX_SHOWN + 7))
    found = activities([Shard(shard_id="1", status="running", in_flight=tests)], NOW)
    assert len(found.listed) == MAX_SHOWN
    assert found.left_out == 7
    assert found.listed[0].age is None
