"""The end of an execution by the states of its shards."""

from __future__ import annotations

import pytest

from pytest_tms import wire
from pytest_tms.server.domain.executions import Execution


def running(**values: object) -> Execution:
    known: dict[str, object] = {
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
    return Execution(**{**known, **values})  # type: ignore[arg-type]


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
