"""The queue of an execution: batches, repeated requests, leases, and how it ends."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result

NAMES = [f"tests/test_{number // 10}.py::test_{number}" for number in range(60)]


class Runner:
    """A runner that takes tests from the queue of an execution."""

    def __init__(
        self, api: Api, execution: dict[str, Any], shard: str, tests: Sequence[str] = NAMES, **claims: Any
    ) -> None:
        self.api = api
        self.execution = execution
        self.id = uuid.uuid4().hex
        self.shard = shard
        self.tests = tests
        self.claims = claims
        self.number = 0
        self.is_started = False
        self.finished: list[str] = []

    def start(self, **data: Any) -> dict[str, Any]:
        self.is_started = True
        return self.send("shard.started", **data)

    def send(self, event: str, **data: Any) -> dict[str, Any]:
        return self.api.send(self.execution, event, runner=self.id, shardId=self.shard, **data)

    def body(self, number: int, **fields: Any) -> dict[str, Any]:
        body = {"runner": self.id, "shardId": self.shard, "number": number, **self.claims, **fields}
        if number == 1 and "isLeaving" not in fields:
            body["tests"] = [{"nodeId": each, "group": each.partition("::")[0]} for each in self.tests]
        return body

    def post(self, number: int, **fields: Any) -> dict[str, Any]:
        path = f"/executions/{self.execution['executionId']}/claims"
        token = self.execution["webhookToken"]
        return expect_success(self.api.request("POST", path, self.body(number, **fields), token=token), 200)

    def claim(self, **fields: Any) -> dict[str, Any]:
        self.number += 1
        return self.post(self.number, **fields)

    def report(self, names: Sequence[str], status: str = "passed", **data: Any) -> None:
        tests = [result(name, status, nodeId=name, duration=10) for name in names]
        self.finished += names
        self.send("execution.progress", tests=tests, **data)

    def end(self, status: str = "completed", **data: Any) -> None:
        self.send("shard.completed", status=status, **data)


def test_two_shards_run_each_test_once(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    shards = [Runner(api, execution, each) for each in "12"]
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
    runner = Runner(api, api.create(), "1")
    first = runner.claim()
    assert first == runner.post(1)
    assert first["tests"]
    second = runner.claim()
    assert not set(first["tests"]) & set(second["tests"])
    assert [runner.post(1)["tests"], runner.post(2)["tests"]] == [first["tests"], second["tests"]]


def test_the_first_request_of_a_runner_has_its_tests(api: Api) -> None:
    runner = Runner(api, api.create(), "1")
    path = f"/executions/{runner.execution['executionId']}/claims"
    assert invalid_fields(api.request("POST", path, runner.body(2))) == {"tests"}
    expect_error(api.request("POST", "/executions/exec_none/claims", runner.body(1)), 404)


def test_the_order_of_the_queue_is_given_as_positions_of_the_tests(api: Api) -> None:
    runner = Runner(api, api.create(), "1")
    first = runner.claim()
    ordered = [NAMES[position] for position in first["order"]]
    assert sorted(ordered) == sorted(NAMES)
    assert ordered[: len(first["tests"])] == first["tests"]
    assert first["unclaimed"] == [[len(first["tests"]), len(NAMES)]]
    assert first["shards"] == ["1"]
    assert runner.claim()["order"] == []
