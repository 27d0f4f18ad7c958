"""Runners that take tests from the queue of an execution."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from tests.helpers.api import Api, expect_success, result
from tests.helpers.simulated_tms import SimulatedTms


class QueueRunner:
    """A runner that collected ``tests``; ``claims`` are fields of all its requests.

    ``finished`` are the tests that it has sent a result of.
    """

    def __init__(
        self,
        tms: Api | SimulatedTms,
        execution: dict[str, Any],
        shard: str,
        tests: Sequence[str],
        **claims: Any,
    ) -> None:
        self.tms = tms
        self.execution = execution
        self.id = uuid.uuid4().hex
        self.shard = shard
        self.tests = tests
        self.claims = claims
        self.number = 0
        self.finished: list[str] = []

    def start(self, **data: Any) -> dict[str, Any]:
        return self.send("shard.started", **data)

    def send(self, event: str, **data: Any) -> dict[str, Any]:
        return self.tms.send(self.execution, event, **{"runner": self.id, "shardId": self.shard, **data})

    def body(self, number: int, **fields: Any) -> dict[str, Any]:
        """The body of a request."""
        body = {"runner": self.id, "shardId": self.shard, "number": number, **self.claims, **fields}
        if number == 1 and "isLeaving" not in fields:
            body["tests"] = [{"nodeId": each, "group": each.partition("::")[0]} for each in self.tests]
        return body

    def post(self, number: int, **fields: Any) -> dict[str, Any]:
        """Send a request with this number."""
        path = f"/executions/{self.execution['executionId']}/claims"
        token, body = self.execution["webhookToken"], self.body(number, **fields)
        if isinstance(self.tms, SimulatedTms):
            return self.tms.request("POST", path, body, token)
        return expect_success(self.tms.request("POST", path, body, token=token), 200)

    def claim(self, **fields: Any) -> dict[str, Any]:
        """Send the next request."""
        self.number += 1
        return self.post(self.number, **fields)

    def take(self) -> list[str]:
        """Send the next request and return its tests."""
        tests: list[str] = self.claim()["tests"]
        return tests

    def take_all(self) -> list[str]:
        """Take tests until no more are free."""
        taken: list[str] = []
        while found := self.take():
            taken += found
        return taken

    def report(self, names: Sequence[str], status: str = "passed", **data: Any) -> None:
        """Send results of tests."""
        more = {"error": "E"} if status == "failed" else {}
        tests = [result(name, status, nodeId=name, duration=10, **more) for name in names]
        self.finished += names
        self.send("execution.progress", tests=tests, **data)

    def end(self, status: str = "completed", **data: Any) -> dict[str, Any]:
        return self.send("shard.completed", status=status, **data)

    def run(self) -> list[str]:
        """Run tests until the queue is finished, and end the shard."""
        while (claim := self.claim())["state"] == "running":
            self.report(claim["tests"])
        assert claim["state"] == "finished", claim
        self.end()
        return self.finished
