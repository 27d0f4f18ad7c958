"""The life of an execution: states, counts, shards, cancel; the same on every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.helpers.api import Api, expect_error, expect_success, result

EVENTS = (
    "execution.started",
    "execution.progress",
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "shard.started",
    "shard.completed",
)


def counts(passed: int = 0, failed: int = 0, skipped: int = 0, flaky: int = 0) -> dict[str, int]:
    total = passed + failed + skipped
    return {"total": total, "passed": passed, "failed": failed, "skipped": skipped, "flaky": flaky}


def test_an_execution_is_created_runs_and_completes_when_all_its_shards_have(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    assert execution["status"] == api.status(execution)["status"] == "created"
    assert api.send(execution, "execution.started")["executionStatus"] == "running"
    api.submit(execution, "1", tests=[result("a"), result("b", "failed")])
    status = api.status(execution)
    assert status["status"] == "running"
    assert status["progress"]["shardsCompleted"] == 1
    assert status["progress"]["completedAt"] is None
    api.submit(execution, "2", tests=[result("c", retries=1), result("d", "skipped")])
    status = api.status(execution)
    assert status["status"] == "completed"
    assert status["results"] == counts(passed=2, failed=1, skipped=1, flaky=1)
    assert status["progress"]["shardsCompleted"] == status["progress"]["totalShards"] == 2
    assert status["progress"]["duration"] >= 0
    assert [shard["status"] for shard in status["shardResults"]] == ["failed", "completed"]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (["completed", "failed"], "completed"),
        (["completed", "error"], "failed"),
        (["lost", "completed"], "failed"),
        (["cancelled", "completed"], "cancelled"),
        (["cancelled", "error"], "failed"),
    ],
)
def test_an_execution_ends_by_how_its_shards_did(api: Api, ends: list[str], expected: str) -> None:
    execution = api.create(configuration={"shards": 2})
    for number, end in enumerate(ends):
        api.send(execution, "shard.completed", shardId=str(number), status=end, results=counts(passed=1))
    status = api.status(execution)
    assert status["status"] == expected
    assert [shard["status"] for shard in status["shardResults"]] == ends
    assert status["results"] == counts(passed=2)


def test_execution_completed_ends_it_at_once_with_the_counts_it_carries(api: Api) -> None:
    execution = api.create(configuration={"shards": 4})
    api.send(execution, "execution.completed", status="completed", results=counts(passed=95, failed=5))
    status = api.status(execution)
    assert status["status"] == "completed"
    assert status["results"] == counts(passed=95, failed=5)
    assert status["progress"]["completedAt"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, counts(passed=1, failed=1, flaky=1)),
        ({"total": 10}, counts(passed=9, failed=1, flaky=1)),
        ({"passed": 5}, counts(passed=5, failed=1, flaky=1)),
        ({"failed": 7, "total": 10}, counts(passed=3, failed=7, flaky=1)),
        (counts(passed=10), counts(passed=9, failed=1)),
        (counts(skipped=10), counts(failed=1, skipped=9)),
        (counts(failed=3), counts(failed=3)),
        ({"total": 1, "failed": 1}, counts(passed=1, failed=1, flaky=1)),
        ({"total": 2, "passed": 2}, counts(passed=1, failed=1, flaky=1)),
        (counts(failed=1), counts(passed=1, failed=1, flaky=1)),
    ],
)
def test_given_counts_win_over_a_partial_list_and_the_missing_come_from_it(
    api: Api, given: dict[str, int], expected: dict[str, int]
) -> None:
    execution = api.create()
    api.submit(execution, tests=[result("a", retries=1), result("b", "failed")], results=given)
    assert api.status(execution)["results"] == expected
    assert api.shard(execution)["results"] == expected


def test_no_count_hides_a_failure_that_was_sent(api: Api) -> None:
    execution = api.create(configuration={"shards": 3})
    api.submit(
        execution, "1", status="completed", results={"total": 1, "passed": 1}, tests=[result("a", "failed")]
    )
    assert api.shard(execution)["status"] == "failed"
    api.send(execution, "shard.completed", shardId="2", status="completed", results=counts(failed=2))
    api.submit(execution, "2", tests=[result("b"), result("c"), result("d")])
    api.send(execution, "execution.completed", results=counts(passed=10))
    status = api.status(execution)
    assert status["results"] == counts(passed=7, failed=3)
    assert [shard["results"] for shard in status["shardResults"]] == [
        counts(failed=1),
        counts(passed=1, failed=2),
    ]
    api.send(execution, "shard.completed", shardId="3", status="completed", results=counts(passed=1))
    assert api.shard(execution, "3")["status"] == "completed"
    api.send(execution, "execution.progress", shardId="3", tests=[result("late", "failed")])
    assert api.status(execution)["results"] == counts(passed=6, failed=4)
    assert api.shard(execution, "3")["status"] == "failed"


def test_an_execution_takes_as_long_as_its_longest_shard(api: Api) -> None:
    times = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:05:30Z"}
    documented = api.create()
    api.submit(documented, metadata=times, tests=[result()])
    assert api.status(documented)["progress"]["duration"] >= 330_000
    by_tests = api.create()
    api.submit(by_tests, tests=[result("a", duration=4000), result("b", duration=2500.4)])
    assert api.shard(by_tests)["duration"] == 6500
    assert api.status(by_tests)["progress"]["duration"] >= 6500
    api.submit(by_tests, tests=[result("b", duration=3000), result("c", duration=1000)])
    assert api.shard(by_tests)["duration"] == 8000


def test_more_shards_than_configured_are_counted(api: Api) -> None:
    execution = api.create()
    for number in range(3):
        api.submit(execution, str(number), tests=[result()])
    status = api.status(execution)
    assert status["status"] == "completed"
    assert status["progress"]["totalShards"] == status["progress"]["shardsCompleted"] == 3
    assert status["results"] == counts(passed=3)


def test_an_execution_waits_for_a_shard_that_started_beyond_those_configured(api: Api) -> None:
    execution = api.create()
    api.send(execution, "shard.started", shardId="1")
    api.send(execution, "shard.started", shardId="2")
    api.submit(execution, "1", tests=[result()])
    assert api.status(execution)["status"] == "running"
    api.submit(execution, "2", tests=[result()])
    assert api.status(execution)["status"] == "completed"


def test_shards_are_listed_in_the_order_of_their_numbers(api: Api) -> None:
    execution = api.create(configuration={"shards": 12})
    for shard in ("10", "gpu", "9", "1", "arm"):
        api.send(execution, "shard.started", shardId=shard)
    shards = api.status(execution)["shardResults"]
    assert [shard["shardId"] for shard in shards] == ["1", "9", "10", "arm", "gpu"]


def test_sending_the_same_again_changes_nothing(api: Api) -> None:
    execution = api.create()
    tests = [result("a"), result("b", "failed"), result("a"), result("a #2"), result("a")]
    api.submit(execution, tests=tests)
    first, listed = api.status(execution), api.tests(execution)
    assert first["results"] == counts(passed=4, failed=1)
    for _ in range(3):
        api.submit(execution, tests=tests)
    assert api.status(execution)["results"] == first["results"]
    assert api.tests(execution) == listed


def test_a_test_that_is_sent_again_is_replaced(api: Api) -> None:
    execution = api.create()
    api.submit(execution, tests=[result("a", "failed", nodeId="n"), result("b", nodeId="m")])
    api.submit(execution, tests=[result("a2", nodeId="n", retries=1), result("c", "skipped", nodeId="o")])
    assert api.status(execution)["results"] == counts(passed=2, skipped=1, flaky=1)
    assert [test["title"] for test in api.tests(execution)] == ["b", "a2", "c"]
    assert api.shard(execution)["status"] == "completed"


def test_tests_that_differ_only_in_what_a_column_cannot_hold_count_twice(api: Api) -> None:
    execution = api.create()
    long = "x" * 3000
    api.submit(
        execution,
        tests=[
            result("a\x00"),
            result("a\ufffd"),
            result(long + "1"),
            result(long + "2"),
            result("x", nodeId="::a"),
        ],
    )
    assert api.status(execution)["results"] == counts(passed=5)


def test_counts_of_any_size_never_break_an_execution(api: Api) -> None:
    execution = api.create(configuration={"shards": 3})
    most = 2**53 - 1
    for shard in ("1", "2"):
        api.send(execution, "shard.completed", shardId=shard, results={"passed": most, "failed": most})
    assert api.status(execution)["results"]["passed"] == most
    api.submit(execution, "3", tests=[result(retries=most, duration=most)])
    assert api.tests(execution)[0]["retries"] == most


def test_tests_that_come_while_a_shard_runs_count_once(api: Api) -> None:
    execution = api.create()
    api.send(execution, "execution.progress", shardId="1", tests=[result("a"), result("b", "failed")])
    status = api.status(execution)
    assert status["status"] == "running"
    assert status["results"] == counts(passed=1, failed=1)
    assert status["shardResults"][0]["status"] == "running"
    api.send(execution, "execution.progress", shardId="1", tests=[result("c")], running=["d"])
    api.submit(execution, tests=[result("a"), result("b", "failed"), result("c"), result("d")])
    assert api.status(execution)["results"] == counts(passed=3, failed=1)
    assert len(api.tests(execution)) == 4


@pytest.mark.parametrize("event", EVENTS)
def test_tests_that_an_event_carries_are_kept(api: Api, event: str) -> None:
    execution = api.create()
    api.send(execution, event, shardId="1", tests=[result("a", mine=1)])
    assert api.tests(execution) == [{"shardId": "1", **result("a", mine=1)}]
    assert api.status(execution)["results"] == counts(passed=1)


@pytest.mark.parametrize("event", ["execution.failed", "execution.cancelled", "execution.completed"])
def test_the_end_of_an_execution_makes_no_shard_run(api: Api, event: str) -> None:
    execution = api.create()
    api.send(execution, event, shardId="1")
    assert api.status(execution)["shardResults"] == []


@pytest.mark.parametrize("end", ["execution.completed", "execution.failed", "execution.cancelled"])
def test_what_arrives_after_the_end_is_counted_and_leaves_the_state(api: Api, end: str) -> None:
    execution = api.create(configuration={"shards": 2})
    api.send(execution, end)
    before = api.status(execution)
    for event in EVENTS:
        response = api.send(execution, event, shardId="1")
        assert response["executionStatus"] == before["status"] == end.partition(".")[2]
    api.submit(execution, "1", status="error", tests=[result("a")])
    api.submit(execution, "2", tests=[result("b")])
    after = api.status(execution)
    assert after["status"] == before["status"]
    assert after["progress"]["completedAt"] == before["progress"]["completedAt"]
    assert after["results"] == counts(passed=2)


def test_a_start_after_its_end_does_not_restart_a_shard(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    api.submit(execution, "1", tests=[result()])
    api.send(execution, "shard.started", shardId="1")
    api.send(execution, "execution.progress", shardId="1")
    assert api.shard(execution)["status"] == "completed"
    assert api.status(execution)["progress"]["shardsCompleted"] == 1


def test_an_end_without_a_start_is_an_end(api: Api) -> None:
    execution = api.create()
    api.send(execution, "shard.completed", shardId="1", duration=1500, results=counts(passed=1))
    assert api.shard(execution)["duration"] == 1500
    assert api.status(execution)["status"] == "completed"


def test_a_cancelled_execution_stays_so_and_says_it_again(api: Api) -> None:
    execution = api.create()
    path = f"/executions/{execution['executionId']}"
    first = expect_success(api.request("DELETE", path), 200)
    assert first == {
        "executionId": execution["executionId"],
        "status": "cancelled",
        "cancelledAt": first["cancelledAt"],
        "reason": "User requested cancellation",
    }
    assert expect_success(api.request("DELETE", path), 200) == first
    assert api.send(execution, "execution.progress")["executionStatus"] == "cancelled"
    api.submit(execution, tests=[result()])
    assert api.status(execution)["status"] == "cancelled"


def test_a_runner_says_why_it_cancelled(api: Api) -> None:
    execution = api.create()
    api.send(execution, "execution.cancelled", reason="Ctrl-C")
    path = f"/executions/{execution['executionId']}"
    assert expect_success(api.request("DELETE", path), 200)["reason"] == "Ctrl-C"


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_an_execution_that_has_ended_cannot_be_cancelled(api: Api, state: str) -> None:
    execution = api.create()
    api.send(execution, f"execution.{state}")
    error = expect_error(api.request("DELETE", f"/executions/{execution['executionId']}"), 409)
    assert error["code"] == "CONFLICT"
    assert state in error["message"]


@pytest.mark.parametrize("same_shard", [True, False], ids=["one shard", "a shard each"])
def test_submissions_at_once_give_exact_counts(api: Api, same_shard: bool) -> None:
    shards = 1 if same_shard else 24
    execution = api.create(configuration={"shards": shards})

    def submit(number: int) -> int:
        tests = [result(f"{number}-{each}", "failed" if each == 0 else "passed") for each in range(20)]
        body: dict[str, Any] = {
            "executionId": execution["executionId"],
            "shardId": "1" if same_shard else str(number),
            "tests": tests,
        }
        headers = {"Authorization": f"Bearer {api.token}"}
        return requests.post(f"{api.url}/results", json=body, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(12) as threads:
        assert set(threads.map(submit, [*range(24), *range(24)])) == {201}
    status = api.status(execution)
    assert status["results"] == counts(passed=24 * 19, failed=24)
    assert status["progress"]["shardsCompleted"] == shards
    assert status["status"] == "completed"
    assert len(api.tests(execution)) == 24 * 20


def test_a_submission_says_what_became_of_it(api: Api) -> None:
    execution = api.create()
    response = api.submit(
        execution,
        tests=[result("a"), result("b")],
        artifacts={"logs": ["a", "b"], "videos": ["c"], "traces": None},
    )
    assert response["status"] == "accepted"
    assert response["summary"] == {"testsProcessed": 2, "artifactsUploaded": 0, "webhooksTriggered": 0}


def test_a_shard_takes_as_long_as_its_runner_says(api: Api) -> None:
    execution = api.create(configuration={"shards": 9})
    times = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:01.500+00:00"}
    for number, metadata in enumerate(
        [
            times,
            {"duration": 7},
            {"duration": "long"},
            {"startTime": 1, "endTime": []},
            {**times, "endTime": "x"},
        ]
    ):
        api.submit(execution, str(number), metadata=metadata, tests=[result()])
    assert [shard["duration"] for shard in api.status(execution)["shardResults"][:2]] == [1500, 7]
