"""Attempts of a shard: whose it is, what becomes of the tests, and when the execution runs again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from sqlalchemy import update

from pytest_tms.server.domain import clock
from pytest_tms.server.store import tables
from tests.helpers.api import Api, expect_success, result
from tests.integration.server.test_executions import counts
from tests.integration.server.test_tokens import written

Document = dict[str, Any]


def start(api: Api, execution: Document, runner: str, shard: str = "1", **data: Any) -> str:
    """Begin a shard, and give the one that the runner was given."""
    response = api.send(execution, "shard.started", shardId=shard, runner=runner, **data)
    given: str = response["shardId"]
    return given


def finish(api: Api, execution: Document, runner: str, *tests: Document, shard: str = "1") -> Document:
    return api.submit(execution, shard, runner=runner, tests=list(tests))


def fall_silent(api: Api, execution: Document, shard: str = "1") -> None:
    """Let the runner of a shard have reported for the last time two minutes ago."""
    table = tables.shards
    with written(api) as connection:
        connection.execute(
            update(table)
            .where(table.c.execution_id == execution["executionId"], table.c.shard_id == shard)
            .values(last_reported_at=clock.now() - 120_000, silence_deadline_at=None)
        )


def test_the_additions_are_announced(api: Api) -> None:
    assert {"attempts", "expected"} <= set(api.create()["capabilities"])


def test_a_shard_is_its_first_runners_and_a_repeated_start_says_the_same(api: Api) -> None:
    execution = api.create()
    api.send(execution, "execution.started", shardId="1", runner="a")
    assert [start(api, execution, "a") for _ in range(3)] == ["1", "1", "1"]
    assert finish(api, execution, "a", result("t", "failed"))["shardId"] == "1"
    assert start(api, execution, "a") == "1"
    assert api.shard(execution)["status"] == "failed"
    assert api.shard(execution)["attempt"] == 1
    assert api.status(execution)["status"] == "completed"


def test_an_answer_names_no_shard_to_a_client_that_names_no_runner(api: Api) -> None:
    execution = api.create()
    assert api.send(execution, "shard.started", shardId="1")["shardId"] is None


@pytest.mark.parametrize("event", ["execution.progress", "shard.started"])
def test_a_second_live_runner_of_a_shard_gets_one_of_its_own(api: Api, event: str) -> None:
    execution = api.create()
    api.send(execution, event, shardId="1", runner="a")
    assert start(api, execution, "b") == "1-2"
    assert start(api, execution, "b") == "1-2"
    assert start(api, execution, "c") == "1-3"
    assert api.status(execution)["progress"]["totalShards"] == 3
    for later in ("execution.started", "execution.progress", "shard.started"):
        for name in ("1", "1-2"):
            assert api.send(execution, later, shardId=name, runner="b")["shardId"] == "1-2"
    # b may name either; nothing of a's is overwritten.
    api.send(execution, "execution.progress", shardId="1-2", runner="b", tests=[result("t")])
    finish(api, execution, "a", result("t", "failed"))
    finish(api, execution, "b", result("t"), result("u"), shard="1-2")
    assert api.status(execution)["status"] == "running"
    assert finish(api, execution, "c", result("t"))["shardId"] == "1-3"
    status = api.status(execution)
    assert status["status"] == "completed"
    assert status["results"] == counts(passed=3, failed=1)
    assert [shard["status"] for shard in status["shardResults"]] == ["failed", "completed", "completed"]


def test_an_extra_shard_does_not_take_the_place_of_one_that_has_yet_to_begin(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    start(api, execution, "a")
    start(api, execution, "b")
    finish(api, execution, "a", result())
    finish(api, execution, "b", result())
    assert api.status(execution)["status"] == "running"
    finish(api, execution, "c", result(), shard="2")
    assert api.status(execution)["status"] == "completed"


def test_runners_that_start_at_once_never_share_a_shard(api: Api) -> None:
    execution = api.create()

    def begin(number: int) -> str:
        body = {
            "event": "shard.started",
            "executionId": execution["executionId"],
            "data": {"shardId": "1", "runner": f"r{number}"},
        }
        headers = {"Authorization": f"Bearer {api.token}"}
        response = requests.post(execution["webhookUrl"], json=body, headers=headers, timeout=60)
        given: str = expect_success(response, 202)["shardId"]
        return given

    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(begin, range(8)))
    assert sorted(given) == ["1", *(f"1-{number}" for number in range(2, 9))]
    assert {shard["shardId"] for shard in api.status(execution)["shardResults"]} == set(given)


@pytest.mark.parametrize("end", ["completed", "failed", "error", "lost", "cancelled"])
def test_a_shard_that_has_ended_runs_again_and_the_execution_with_it(api: Api, end: str) -> None:
    execution = api.create()
    start(api, execution, "a")
    api.send(execution, "shard.completed", shardId="1", runner="a", status=end, tests=[result("t", "failed")])
    assert api.status(execution)["status"] != "running"
    assert start(api, execution, "b") == "1"
    status = api.status(execution)
    assert (status["status"], status["reason"]) == ("running", None)
    assert status["progress"]["completedAt"] is None
    assert status["progress"]["shardsCompleted"] == 0
    assert (status["shardResults"][0]["status"], status["shardResults"][0]["attempt"]) == ("running", 2)
    assert status["results"] == counts(failed=1)
    finish(api, execution, "b", result("t"))
    status = api.status(execution)
    assert status["status"] == "completed"
    assert status["results"] == counts(passed=1, flaky=1)
    assert status["shardResults"][0]["status"] == "completed"
    assert status["progress"]["completedAt"]


def test_the_newest_verdict_counts_and_earlier_ones_stay_as_attempts(api: Api) -> None:
    execution = api.create()
    first = [
        result("fixed", "failed", error="boom"),
        result("broken"),
        result("same"),
        result("gone", "failed"),
    ]
    second = [result("fixed"), result("broken", "failed"), result("same"), result("new")]
    finish(api, execution, "a", *first)
    start(api, execution, "b")
    api.submit(execution, "1", runner="b", results=counts(passed=3, failed=1), tests=second)
    assert api.status(execution)["results"] == counts(passed=3, failed=2, flaky=1)
    found = {test["title"]: test for test in api.tests(execution)}
    assert {title: test["status"] for title, test in found.items()} == {
        "fixed": "passed",
        "broken": "failed",
        "same": "passed",
        "gone": "failed",
        "new": "passed",
    }
    assert found["fixed"]["earlierAttempts"] == [{**first[0], "attempt": 1}]
    assert found["broken"]["earlierAttempts"] == [{**first[1], "attempt": 1}]
    assert "earlierAttempts" not in found["gone"]
    assert "earlierAttempts" not in found["new"]
    # A repeated submission changes nothing; a third attempt keeps both.
    before = api.tests(execution)
    api.submit(execution, "1", runner="b", results=counts(passed=3, failed=1), tests=second)
    assert api.tests(execution) == before
    start(api, execution, "c")
    finish(api, execution, "c", result("broken"), result("gone"))
    assert api.status(execution)["results"] == counts(passed=5, flaky=3)
    found = {test["title"]: test for test in api.tests(execution)}
    assert [each["attempt"] for each in found["broken"]["earlierAttempts"]] == [2, 1]
    assert [each["status"] for each in found["broken"]["earlierAttempts"]] == ["failed", "passed"]
    assert api.shard(execution)["status"] == "completed"


def test_a_failure_of_an_earlier_attempt_that_did_not_run_again_stays_a_failure(api: Api) -> None:
    execution = api.create()
    finish(api, execution, "a", result("t", "failed"), result("u", "failed"))
    start(api, execution, "b")
    api.submit(
        execution,
        "1",
        runner="b",
        status="completed",
        results=counts(passed=1),
        tests=[result("t")],
    )
    assert api.status(execution)["results"] == counts(passed=1, failed=1, flaky=1)
    assert api.shard(execution)["status"] == "failed"


def test_earlier_attempts_are_bounded_in_number_and_size(api: Api) -> None:
    execution = api.create()
    for number in range(13):
        start(api, execution, f"r{number}")
        finish(
            api, execution, f"r{number}",
            result("t", "failed", longrepr="x" * 20_000 + f"E {number}", stdout="y" * 50_000, odd="z" * 9_000),
        )  # fmt: skip
    [test] = api.tests(execution)
    assert len(test["longrepr"]) > 20_000
    assert [each["attempt"] for each in test["earlierAttempts"]] == list(range(12, 2, -1))
    for each in test["earlierAttempts"]:
        assert sum(len(str(value)) for value in each.values()) < 9_000
    assert test["earlierAttempts"][0]["status"] == "failed"


def test_counts_of_an_attempt_without_tests_are_those_of_the_newest(api: Api) -> None:
    execution = api.create()
    start(api, execution, "a")
    api.send(execution, "shard.completed", shardId="1", runner="a", results=counts(passed=8, failed=2))
    start(api, execution, "b")
    assert api.status(execution)["results"] == counts(passed=8, failed=2)
    api.send(execution, "shard.completed", shardId="1", runner="b", results=counts(passed=10))
    status = api.status(execution)
    assert status["results"] == counts(passed=10)
    assert status["shardResults"][0]["status"] == "completed"
    start(api, execution, "c")
    finish(api, execution, "c", result("t"))
    assert api.status(execution)["results"] == counts(passed=1)


def test_an_execution_that_was_completed_with_counts_becomes_green_by_a_re_run(api: Api) -> None:
    execution = api.create(configuration={"shards": 4})
    finish(api, execution, "a", result("t", "failed"), result("u"))
    api.send(execution, "execution.completed", results=counts(passed=1, failed=1))
    start(api, execution, "b")
    assert api.status(execution)["status"] == "running"
    finish(api, execution, "b", result("t"))
    status = api.status(execution)
    assert status["status"] == "completed"
    assert status["results"] == counts(passed=2, flaky=1)


def test_a_newer_ci_attempt_takes_a_shard_from_a_runner_that_still_seems_alive(api: Api) -> None:
    execution = api.create()
    start(api, execution, "a", attempt=1)
    api.send(execution, "execution.progress", shardId="1", runner="a", tests=[result("t", "failed")])
    assert start(api, execution, "b", attempt=2) == "1"
    assert api.shard(execution)["attempt"] == 2
    # What the old runner sends is stored, and changes no state.
    late = {"shardId": "1", "runner": "a"}
    assert start(api, execution, "a", attempt=1) == "1"
    api.send(execution, "execution.progress", **late, tests=[result("late", "failed")], running=["x"])
    api.send(execution, "shard.completed", **late, status="cancelled")
    api.submit(
        execution, "1", runner="a", status="error", metadata={"of": "a"}, tests=[result("t", "failed")]
    )
    for event in ("execution.cancelled", "execution.failed", "execution.completed"):
        assert api.send(execution, event, runner="a")["executionStatus"] == "running"
    shard = api.shard(execution)
    assert (shard["status"], shard["attempt"], shard["metadata"]) == ("running", 2, {})
    assert api.status(execution)["running"] == []
    finish(api, execution, "b", result("t"), result("late"))
    status = api.status(execution)
    assert status["status"] == "completed"
    assert status["results"] == counts(passed=2, flaky=2)
    # Even after the end.
    api.send(execution, "execution.progress", **late, tests=[result("t", "failed"), result("same")])
    assert api.status(execution)["results"] == counts(passed=3, flaky=2)
    assert api.shard(execution)["status"] == "completed"


def test_a_ci_attempt_that_is_sent_after_the_first_report_counts(api: Api) -> None:
    execution = api.create()
    api.send(execution, "execution.progress", shardId="1", runner="a")
    start(api, execution, "a", attempt=1)
    assert start(api, execution, "b", attempt=2) == "1"


def test_an_equal_ci_attempt_gets_a_shard_of_its_own(api: Api) -> None:
    execution = api.create()
    assert start(api, execution, "a", attempt=2) == "1"
    assert start(api, execution, "b", attempt=2) == "1-2"
    assert start(api, execution, "c") == "1-3"


def test_a_re_run_of_jobs_that_shared_a_name_finds_each_its_shard(api: Api) -> None:
    execution = api.create()
    for runner in "ab":
        start(api, execution, runner, attempt=1)
    for runner, shard in (("a", "1"), ("b", "1-2")):
        finish(api, execution, runner, result("t", "failed"), shard=shard)
    assert [start(api, execution, runner, attempt=2) for runner in "cd"] == ["1", "1-2"]
    for runner, shard in (("c", "1"), ("d", "1-2")):
        finish(api, execution, runner, result("t"), shard=shard)
    status = api.status(execution)
    assert (status["status"], status["results"]) == ("completed", counts(passed=2, flaky=2))


def test_an_older_ci_attempt_that_reports_late_stands_behind_the_newer(api: Api) -> None:
    execution = api.create()
    start(api, execution, "b", attempt=2)
    finish(api, execution, "b", result("t"), result("u", "failed"))
    assert start(api, execution, "a", attempt=1) == "1"
    finish(api, execution, "a", result("t", "failed"), result("u"), result("only", "failed"))
    status = api.status(execution)
    assert status["status"] == "completed"
    assert status["results"] == counts(passed=1, failed=2, flaky=1)
    found = {test["title"]: test for test in api.tests(execution)}
    assert found["t"]["status"] == "passed"
    assert [(each["attempt"], each["status"]) for each in found["t"]["earlierAttempts"]] == [(1, "failed")]
    assert api.shard(execution)["attempt"] == 2


def test_a_runner_that_fell_silent_has_left_its_shard(api: Api) -> None:
    execution = api.create()
    start(api, execution, "a")
    fall_silent(api, execution)
    assert start(api, execution, "b") == "1"
    assert api.shard(execution)["attempt"] == 2


def test_a_shard_of_a_client_without_a_runner_is_left_to_it_while_it_reports(api: Api) -> None:
    execution = api.create()
    api.send(execution, "execution.progress", shardId="1", tests=[result("t", "failed")])
    assert start(api, execution, "b") == "1-2"
    api.submit(execution, "1", tests=[result("t", "failed")])
    assert start(api, execution, "c") == "1"
    assert api.shard(execution)["attempt"] == 2


def test_progress_names_the_shards_that_its_runner_was_given(api: Api) -> None:
    execution = api.create()
    start(api, execution, "a")
    start(api, execution, "b")
    api.send(execution, "execution.progress", runner="b", shards=["1"])
    with written(api) as connection:
        table = tables.shards.c
        query = tables.shards.select().where(table.execution_id == execution["executionId"])
        silent = {row.shard_id: row.silence_deadline_at for row in connection.execute(query)}
    assert silent["1"] is None
    assert silent["1-2"] is not None


def test_one_runner_may_have_several_shards(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    assert [start(api, execution, "a", shard) for shard in ("1", "2")] == ["1", "2"]
    assert [start(api, execution, "b", shard) for shard in ("1", "2")] == ["1-2", "2-2"]


def test_a_shard_with_a_long_name_has_room_for_another(api: Api) -> None:
    execution = api.create()
    name = "s" * 200
    assert start(api, execution, "a", name) == name
    given = start(api, execution, "b", name)
    assert given != name
    finish(api, execution, "b", result(), shard=given)
    assert api.shard(execution, given)["status"] == "completed"


# Who cancelled it ---------------------------------------------------------------------------


def test_a_re_run_re_opens_an_execution_that_its_runner_cancelled(api: Api) -> None:
    execution = api.create()
    start(api, execution, "a", attempt=1)
    api.send(execution, "shard.completed", shardId="1", runner="a", status="cancelled")
    api.send(execution, "execution.cancelled", runner="a", reason="Ctrl-C")
    assert api.status(execution)["status"] == "cancelled"
    response = api.send(execution, "shard.started", shardId="1", runner="b", attempt=1)
    assert response["executionStatus"] == "running"
    finish(api, execution, "b", result())
    assert api.status(execution)["status"] == "completed"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (1, 2, "running"),
        (None, 2, "running"),
        (1, 1, "cancelled"),
        (2, 2, "cancelled"),
        (1, None, "cancelled"),
    ],
)
def test_an_execution_that_a_person_cancelled_runs_again_for_a_newer_ci_attempt_alone(
    api: Api, first: int | None, second: int | None, expected: str
) -> None:
    execution = api.create()
    attempt: dict[str, Any] = {"attempt": first} if first else {}
    start(api, execution, "a", **attempt)
    expect_success(api.request("DELETE", f"/executions/{execution['executionId']}"), 200)
    api.send(execution, "shard.completed", shardId="1", runner="a", status="cancelled")
    data = {"shardId": "1", "runner": "b", **({"attempt": second} if second else {})}
    assert api.send(execution, "shard.started", **data)["executionStatus"] == expected
    finish(api, execution, "b", result())
    assert api.status(execution)["status"] == ("completed" if expected == "running" else "cancelled")


@pytest.mark.parametrize(("attempt", "expected"), [(1, "cancelled"), (2, "running")])
def test_a_newer_ci_attempt_also_runs_the_shards_that_never_began(
    api: Api, attempt: int, expected: str
) -> None:
    execution = api.create(configuration={"shards": 2})
    start(api, execution, "a", attempt=1)
    expect_success(api.request("DELETE", f"/executions/{execution['executionId']}"), 200)
    response = api.send(execution, "shard.started", shardId="2", runner="b", attempt=attempt)
    assert response["executionStatus"] == expected


def test_a_late_message_of_the_runner_that_was_cancelled_does_not_re_open(api: Api) -> None:
    execution = api.create()
    start(api, execution, "a", attempt=1)
    api.send(execution, "execution.cancelled", runner="a")
    assert start(api, execution, "a", attempt=1) == "1"
    finish(api, execution, "a", result())
    assert api.status(execution)["status"] == "cancelled"


# Clients without a runner -------------------------------------------------------------------


def test_a_cancelled_shard_runs_again_by_a_new_start(api: Api) -> None:
    execution = api.create()
    first = {"shardId": "1", "metadata": {"job": 1}}
    api.send(execution, "shard.started", **first)
    api.submit(execution, status="cancelled", tests=[result("t", "failed")])
    assert api.status(execution)["status"] == "cancelled"
    api.send(execution, "shard.started", **first)
    assert api.shard(execution)["status"] == "cancelled"
    second = {"shardId": "1", "metadata": {"job": 2}}
    for _ in range(2):
        assert api.send(execution, "shard.started", **second)["executionStatus"] == "running"
        assert api.shard(execution)["attempt"] == 2
    api.submit(execution, tests=[result("t")])
    status = api.status(execution)
    assert (status["status"], status["results"]) == ("completed", counts(passed=1, flaky=1))


def test_a_cancelled_shard_ends_again_by_new_results_and_a_repeated_cancel_changes_nothing(
    api: Api,
) -> None:
    execution = api.create()
    api.submit(execution, status="completed", tests=[result("t")])
    cancelled = api.create()
    api.submit(cancelled, status="completed", tests=[result("t")])
    api.send(cancelled, "shard.completed", shardId="1", status="cancelled")
    api.submit(cancelled, status="completed", tests=[result("t")])  # the first one, late
    api.submit(cancelled, tests=[result("t")])  # an end that names no status
    assert api.shard(cancelled)["status"] == "cancelled"
    api.submit(cancelled, status="completed", tests=[result("t"), result("u")])
    shard = api.shard(cancelled)
    assert (shard["status"], shard["attempt"]) == ("completed", 2)
    assert api.status(cancelled)["results"] == counts(passed=2)


def test_an_execution_that_a_person_cancelled_stays_so_for_clients_without_a_runner(api: Api) -> None:
    execution = api.create()
    api.send(execution, "shard.started", shardId="1")
    expect_success(api.request("DELETE", f"/executions/{execution['executionId']}"), 200)
    api.submit(execution, status="cancelled")
    api.send(execution, "shard.started", shardId="1", metadata={"again": True})
    api.submit(execution, status="completed", tests=[result()])
    assert api.status(execution)["status"] == "cancelled"


# The execution's own token ------------------------------------------------------------------


def test_the_own_token_opens_an_execution_that_runs_again(api: Api) -> None:
    hour = 3_600_000
    execution = api.create()
    finish(api, execution, "a", result("t", "failed"))
    table = tables.executions
    times = {"ended_at": clock.now() - 23 * hour, "created_at": clock.now() - 30 * hour}
    with written(api) as connection:
        connection.execute(update(table).where(table.c.id == execution["executionId"]).values(**times))
    start(api, execution, "b")
    with written(api) as connection:
        row = connection.execute(table.select().where(table.c.id == execution["executionId"])).one()
    assert row.ended_at is None
    assert row.deadline_at > clock.now()
    api.send(execution, "execution.progress", shardId="1", runner="b", tests=[result("t")])
