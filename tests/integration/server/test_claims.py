"""The queue of an execution: batches, repeated requests, leases, and how it ends."""

from __future__ import annotations

from typing import Any

from tests.helpers.api import Api, expect_error, invalid_fields
from tests.helpers.queue_runners import QueueRunner

NAMES = [f"tests/test_{number // 10}.py::test_{number}" for number in range(60)]


def queue_runner(api: Api, execution: dict[str, Any], shard: str = "1", **claims: Any) -> QueueRunner:
    return QueueRunner(api, execution, shard, NAMES, **claims)


def test_two_shards_run_each_test_once(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    shards = [queue_runner(api, execution, each) for each in "12"]
    for each in shards:
        each.start()
    running = list(shards)
    while running:
        for each in list(running):
            claim = each.claim()
            each.report(claim["tests"])
            if claim["state"] == "finished":
                each.end()
                running.remove(each)
    assert sorted(shards[0].finished + shards[1].finished) == sorted(NAMES)
    found = api.status(execution)
    assert (found["status"], found["results"]["passed"]) == ("completed", len(NAMES))


def test_a_repeated_number_returns_the_same_batch(api: Api) -> None:
    runner = queue_runner(api, api.create())
    first = runner.claim()
    assert first == runner.post(1)
    assert first["tests"]
    second = runner.claim()
    assert not set(first["tests"]) & set(second["tests"])
    assert [runner.post(1)["tests"], runner.post(2)["tests"]] == [first["tests"], second["tests"]]


def test_the_first_request_of_a_runner_has_its_tests(api: Api) -> None:
    runner = queue_runner(api, api.create())
    path = f"/executions/{runner.execution['executionId']}/claims"
    assert invalid_fields(api.request("POST", path, runner.body(2))) == {"tests"}
    expect_error(api.request("POST", "/executions/exec_none/claims", runner.body(1)), 404)


def test_the_order_of_the_queue_is_given_as_positions_of_the_tests(api: Api) -> None:
    runner = queue_runner(api, api.create())
    first = runner.claim()
    ordered = [NAMES[position] for position in first["order"]]
    assert sorted(ordered) == sorted(NAMES)
    assert ordered[: len(first["tests"])] == first["tests"]
    assert first["unclaimed"] == [[len(first["tests"]), len(NAMES)]]
    assert first["shards"] == ["1"]
    assert runner.claim()["order"] == []


def test_the_page_says_which_shards_ended_early_and_what_they_did_not_collect(api: Api) -> None:
    execution = api.create(runKey="page of a queue")
    first = queue_runner(api, execution)
    first.start()
    number = len(first.take())
    second = QueueRunner(api, execution, "2", NAMES[1:])
    second.start()
    second.take()
    first.end("error", reason="pytest was killed")
    text = " ".join(api.page(f"/runs/{execution['executionId']}").text.split())
    tests = f"{number} unfinished tests were" if number > 1 else "1 unfinished test was"
    assert f"Shard 1 ended early: pytest was killed; {tests} given to other shards." in text
    assert f"60 together: shard 2 did not collect {NAMES[0]}." in text
