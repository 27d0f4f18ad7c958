"""The ends of a session's shards and of its execution."""

from __future__ import annotations

import pytest

from pytest_tms.plugin.session.ending import NotRun, closing_line, not_started, shard_ends
from pytest_tms.plugin.session.shards import SessionShards
from pytest_tms.plugin.xdist.sharding import ShardName
from pytest_tms.wire.base import TestStatus
from pytest_tms.wire.results import TestResult

ALL_RAN = NotRun(0, "the session ended before", [], [])


def shards_with(*statuses: TestStatus) -> SessionShards:
    """The shard "1", with a test of each status, that started at 100 seconds."""
    shards = SessionShards(None, None, 100)
    for number, status in enumerate(statuses):
        name = f"a.py::test_{number}"
        result = TestResult(title=name, status=status, node_id=name)
        shards.first.count(name, result)
    return shards


@pytest.mark.parametrize(
    ("statuses", "exit_status", "cancel_reason", "status"),
    [
        (["passed"], 0, "", "completed"),
        ([], 5, "", "completed"),
        (["passed", "failed"], 1, "", "failed"),
        (["passed"], 3, "", "error"),
        (["failed"], 4, "", "error"),
        (["failed"], 2, "Ctrl-C", "cancelled"),
    ],
)
def test_status_of_a_shard(
    statuses: list[TestStatus], exit_status: int, cancel_reason: str, status: str
) -> None:
    (end,) = shard_ends(
        shards_with(*statuses),
        ALL_RAN,
        now=101.5,
        exit_status=exit_status,
        cancel_reason=cancel_reason,
        metadata={"branch": "main"},
    )
    assert (end.status, end.duration, end.exit_status) == (status, 1500, exit_status)
    assert end.reason == cancel_reason
    assert end.metadata["branch"] == "main"
    assert end.metadata["startTime"] == "1970-01-01T00:01:40.000Z"


def test_a_file_that_cannot_be_collected_is_an_error() -> None:
    shards = shards_with("failed")
    shards.first.has_broken_files = True
    (end,) = shard_ends(shards, ALL_RAN, now=101, exit_status=2, cancel_reason="", metadata={})
    assert end.status == "error"


def test_tests_that_did_not_run_are_counted_and_named() -> None:
    not_run = NotRun(3, "Ctrl-C", ["a.py::b"], ["a.py::c", "a.py::d"])
    (end,) = shard_ends(
        shards_with("passed"), not_run, now=101, exit_status=2, cancel_reason="Ctrl-C", metadata={}
    )
    assert (end.collected, end.not_run, end.not_run_reason) == (4, 3, "Ctrl-C")
    assert end.not_run_tests == ["a.py::b", "a.py::c", "a.py::d"]


@pytest.mark.parametrize(
    ("statuses", "exit_status", "cancel_reason", "event"),
    [
        (["passed"], 0, "", "execution.completed"),
        (["failed"], 1, "", "execution.completed"),
        (["passed"], 3, "", "execution.failed"),
        (["passed"], 2, "Ctrl-C", "execution.cancelled"),
    ],
)
def test_the_last_line_ends_the_execution(
    statuses: list[TestStatus], exit_status: int, cancel_reason: str, event: str
) -> None:
    ends = shard_ends(
        shards_with(*statuses),
        ALL_RAN,
        now=101,
        exit_status=exit_status,
        cancel_reason=cancel_reason,
        metadata={},
    )
    closed = closing_line(ends, now=101, wait=15, ends_execution=True)
    assert (closed.event, closed.reason, closed.wait) == (event, cancel_reason, 15)
    assert closed.results is not None
    assert closed.results.total == len(statuses)
    assert closing_line(ends, now=101, wait=15, ends_execution=False).event is None


def test_what_has_a_result_or_is_running_has_started() -> None:
    names = ["a.py::test_0", "a.py::running", "a.py::late"]
    assert not_started(names, shards_with("passed"), ["a.py::running"], str) == ["a.py::late"]


def test_a_copy_or_a_workers_run_of_a_test_counts_under_its_name() -> None:
    shards = SessionShards(None, None, 100)
    shards.first.count("a.py::a @gw0", TestResult(title="a", status="passed"))
    shards.first.count("a.py::b #2", TestResult(title="b", status="passed"))
    assert not_started(["a.py::a", "a.py::b", "a.py::c"], shards, [], str) == ["a.py::c"]


@pytest.mark.parametrize(
    ("name", "ids", "declared", "are_part", "has_first"),
    [
        (None, ["1"], None, False, True),
        (ShardName("api", 0), ["api"], None, False, True),
        (ShardName("1", 1), ["1"], 1, False, True),
        (ShardName("1", 4), ["1"], 4, True, True),
        (ShardName("2", 4), ["2"], 4, True, False),
    ],
)
def test_shards_of_a_session(
    name: ShardName | None, ids: list[str], declared: int | None, are_part: bool, has_first: bool
) -> None:
    shards = SessionShards(name, None, 100)
    found = (shards.ids, shards.declared, shards.are_part, shards.has_first)
    assert found == (ids, declared, are_part, has_first)
    assert shards.is_parallel == are_part
    assert shards.of_worker("gw7") is shards.first
