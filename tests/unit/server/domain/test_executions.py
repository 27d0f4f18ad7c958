"""The end of an execution by the states of its shards."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tms import wire
from pytest_tms.server.domain.executions import Execution


def running(**values: Any) -> Execution:
    known: dict[str, Any] = {
        "id": "exec_1",
        "status": "running",
        "test_suite": "smoke",
        "environment": "dev",
        "provider": "custom",
        "trigger_source": "api",
        "configuration": {"timeout": 1000, "shards": 2},
        "metadata": {},
        "extra": {},
        "token_hash": "",
        "created_at": 1,
        "started_at": 2,
        "shards_total": 2,
        "shards_seen": 2,
        "shards_finished": 2,
    }
    return Execution(**{**known, **values})


@pytest.mark.parametrize(
    ("shards", "status", "reason"),
    [
        ({"completed", "failed"}, "completed", None),
        ({"completed", "cancelled"}, "cancelled", None),
        ({"completed", "error"}, "failed", "A shard ended in error"),
        ({"cancelled", "lost"}, "failed", "A shard was lost: its runner stopped reporting"),
    ],
)
def test_an_execution_ends_by_the_states_of_its_shards(
    shards: set[str], status: wire.ExecutionState, reason: str | None
) -> None:
    after = running().with_finished_shards(shards, now=9)
    assert (after.status, after.reason, after.ended_at) == (status, reason, 9)


def test_a_reason_that_is_known_already_is_kept() -> None:
    after = running(reason="It ran longer than its timeout").with_finished_shards({"lost"}, now=9)
    assert after.reason == "It ran longer than its timeout"


def test_the_configuration_names_suite_and_environment() -> None:
    assert running().full_configuration == {
        "timeout": 1000,
        "shards": 2,
        "testSuite": "smoke",
        "environment": "dev",
    }


def shared(*declared: int, **values: Any) -> Execution:
    return running(run_key="run 7", declared_shards=declared, **values)


@pytest.mark.parametrize(
    ("before", "joining", "declared", "total"),
    [
        ((), (), (), 2),
        ((), (4,), (4,), 5),
        ((2,), (), (2,), 2),
        ((2,), (2,), (2,), 2),
        ((2,), (4,), (2, 4), 4),
        ((2, 4), (3,), (2, 3, 4), 2),
    ],
)
def test_of_the_declared_numbers_of_shards_the_largest_counts(
    before: tuple[int, ...], joining: tuple[int, ...], declared: tuple[int, ...], total: int
) -> None:
    after = shared(*before).with_job(joining, 9)
    assert (after.declared_shards, after.shards_total, after.joined_at) == (declared, total, 9)
    assert after.configuration["shards"] == max(declared, default=1)
    assert after.awaits_shards == (not declared)
    assert after.status == "running"


def test_a_separate_shard_stays_counted_beside_a_larger_number() -> None:
    assert shared(2, shards_total=3).with_job((4,), 9).shards_total == 5


@pytest.mark.parametrize(
    ("execution", "is_idle"),
    [
        (shared(), True),
        (shared(shards_finished=1), False),
        (shared(shards_seen=0, shards_finished=0), False),
        (shared(2), False),
        (shared(status="completed"), False),
        (running(), False),
    ],
)
def test_only_an_execution_whose_shards_nobody_declared_waits_for_more(
    execution: Execution, is_idle: bool
) -> None:
    assert execution.idled(50, has_changed=True).idle_since == (50 if is_idle else None)


def test_the_wait_begins_anew_with_a_report_or_a_job_that_joins() -> None:
    waiting = shared(idle_since=10)
    assert waiting.idled(50, has_changed=False).idle_since == 10
    assert waiting.idled(50, has_changed=True).idle_since == 50
    assert waiting.with_job((), 60).idle_since == 60
    assert waiting.with_job((2,), 60).idle_since is None
