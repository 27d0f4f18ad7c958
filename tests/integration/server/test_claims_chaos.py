"""Shards that share a queue while they are killed, lose responses, are late or doubled, and the server restarts.

Whatever happens, each test has one counted verdict, the execution ends, and every test runs if any shard remains.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_tms.division import divide_by_hash
from tests.helpers.api import write_sqlite_database
from tests.helpers.simulated_tms import STEP, SimulatedTms, Unavailable

pytestmark = pytest.mark.filterwarnings(  # of Litestar 3
    "ignore::litestar.exceptions.LitestarDeprecationWarning"
)
MAX_TIME = 2_400_000
"""Milliseconds after which a simulated run must have ended."""
ALONE_AFTER = 10_000
"""Milliseconds without the server after which a shard runs its part of the unclaimed tests."""


class SimulatedShard:
    """A shard as the plugin runs it, in steps of a second."""

    def __init__(
        self,
        run: SimulatedRun,
        shard_id: str,
        tests: list[str],
        *,
        start: int = 0,
        speed: float = 1.0,
        attempt: int = 1,
    ) -> None:
        self.run = run
        self.id = shard_id
        self.runner = f"{run.seed}-{len(run.shards)}"
        self.tests = tests
        self.start = start
        self.speed = speed
        self.attempt = attempt
        self.killed_at: int | None = None
        self.leaves_at: int | None = None
        self.is_machine_killed = False
        self.disconnected = (0, 0)
        self.state = "waiting"
        self.ended_at = 0
        self.has_started = False
        self.local: list[str] = []
        self.left = 0.0
        self.outbox: list[tuple[str, dict[str, Any]]] = []
        self.number = 1
        self.has_claimed = False
        self.retry_at = 0
        self.heard_at = start
        self.reported_at = start
        self.is_finished = False
        self.is_leaving = False
        self.was_killed = False
        self.order: list[str] = []
        self.unclaimed: list[list[int]] = []
        self.shards: list[str] = []
        self.ran: list[str] = []

    @property
    def is_over(self) -> bool:
        return self.state in ("ended", "dead")

    def step(self) -> None:
        if self.is_over or self.run.elapsed < self.start:
            return
        self.ended_at = self.run.elapsed
        self.act(self.run.elapsed)

    def act(self, now: int) -> None:
        if not self.has_started:
            self.has_started = True
            self.report("shard.started", attempt=self.attempt)
        if self.state == "closing":
            self.deliver()
            return
        self.work()
        if self.state == "waiting" and self.killed_at is not None and now >= self.killed_at:
            self.end_killed()
        if self.state == "dead":
            return
        if self.leaves_at is not None and now >= self.leaves_at and not self.is_leaving:
            self.is_leaving = True
            self.local = self.local[:0]
        if self.state == "waiting" and not self.outbox and now - self.reported_at >= 5_000:
            self.report("execution.progress", running=self.local[:1])
        self.deliver()
        if not self.outbox and self.state == "waiting":
            self.claim_tests(now)
        if self.is_finished and not self.local and not self.outbox and self.state == "waiting":
            self.state = "closing"
            self.report("shard.completed", status="cancelled" if self.is_leaving else "completed")

    def work(self) -> None:
        budget = STEP * self.speed
        while self.local and budget > 0:
            name = self.local[0]
            if not self.left:
                self.left = self.run.durations[name]
                self.run.starts[name] += 1
                if name == self.run.poison:
                    self.end_killed()
                    return
            used = min(budget, self.left)
            budget -= used
            self.left -= used
            if self.left <= 0:
                self.left = 0
                self.local.pop(0)
                self.ran.append(name)
                self.run.results[name] += 1
                status = "failed" if self.run.chance.random() < 0.1 else "passed"
                test = {"title": name, "nodeId": name, "status": status, "duration": 1000}
                self.report(
                    "execution.progress", tests=[test | ({"error": "E"} if status == "failed" else {})]
                )

    def end_killed(self) -> None:
        self.was_killed = True
        if self.is_machine_killed:
            self.state = "dead"
            return
        self.state = "closing"  # its sender closes the shard
        in_flight = self.local[:1] if self.left else []
        self.report("execution.progress", running=in_flight)
        self.report("shard.completed", status="error", reason="pytest was killed", running=in_flight)

    def report(self, event: str, **data: Any) -> None:
        self.reported_at = self.run.elapsed
        self.outbox.append((event, {"runner": self.runner, "shardId": self.id, **data}))

    def is_connected(self) -> bool:
        return not self.disconnected[0] <= self.run.elapsed < self.disconnected[1]

    def deliver(self) -> None:
        while self.outbox and self.is_connected():
            event, data = self.outbox[0]
            try:
                self.exchange(lambda: self.run.tms.send(self.run.execution, event, **data))  # noqa: B023  # called at once
            except Unavailable:
                return
            self.outbox.pop(0)
        if self.state == "closing" and not self.outbox:
            self.state = "ended"

    def claim_tests(self, now: int) -> None:
        if self.is_finished or now < self.retry_at or len(self.local) > 1:
            return
        body: dict[str, Any] = {
            "runner": self.runner,
            "shardId": self.id,
            "number": self.number,
            "attempt": self.attempt,
        }
        if self.number == 1:
            body["tests"] = [{"nodeId": name, "group": name.partition("::")[0]} for name in self.tests]
        if self.is_leaving:
            body["isLeaving"] = True
        path = f"/executions/{self.run.execution['executionId']}/claims"
        try:
            claim = self.exchange(lambda: self.request(path, body))
        except Unavailable:
            if now - self.heard_at > ALONE_AFTER and not self.local and self.order and not self.is_leaving:
                names = [self.order[n] for start, end in self.unclaimed for n in range(start, end)]
                self.local += divide_by_hash(names, {*self.shards, self.id})[self.id]
                self.unclaimed = []
            return
        self.number += 1
        self.heard_at = now
        if claim["order"]:
            self.order = [self.tests[position] for position in claim["order"]]
        self.unclaimed, self.shards = claim["unclaimed"], claim["shards"]
        self.local += [name for name in claim["tests"] if name not in self.local and name not in self.ran]
        self.retry_at = now + claim["retryAfter"]
        self.is_finished = claim["state"] == "finished"

    def request(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request of which the server takes note, whether or not its response arrives."""
        response = self.run.tms.request("POST", path, body, self.run.execution["webhookToken"])
        self.has_claimed = True
        return response

    def exchange(self, send: Any) -> dict[str, Any]:
        """Send a request; it or its response may be lost.

        Raises:
            Unavailable: It was lost, or the server does not run.
        """
        if not self.is_connected():
            raise Unavailable("the network is down")
        fate = self.run.chance.random()
        if fate < self.run.loss:
            raise Unavailable("the request was lost")
        response: dict[str, Any] = send()
        if fate > 1 - self.run.loss:
            raise Unavailable("the response was lost")
        return response


class SimulatedRun:
    """One execution with faults that its seed determines."""

    def __init__(self, tms: SimulatedTms, seed: int) -> None:
        self.tms = tms
        self.seed = seed
        chance = self.chance = random.Random(seed)
        files = [f"test_{seed}_{number}.py" for number in range(chance.randint(1, 6))]
        self.names = [f"{chance.choice(files)}::test_{number}" for number in range(chance.randint(8, 40))]
        self.durations = {name: chance.uniform(200, 5_000) for name in self.names}
        self.loss = chance.choice([0, 0, 0.05, 0.15])
        self.poison = chance.choice(self.names) if chance.random() < 0.2 else None
        self.starts: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.began = tms.now
        self.shards: list[SimulatedShard] = []
        count = chance.randint(1, 5)
        fields: dict[str, Any] = {"runKey": f"chaos-{seed}-{tms.now}"}
        if chance.random() < 0.5:
            fields["configuration"] = {"shards": count}
        self.execution = tms.create(**fields)
        for number in range(count):
            self.add(str(number + 1))
            if chance.random() < 0.2:
                self.add(str(number + 1))
        if chance.random() < 0.4:
            self.add("late", start=chance.randint(20_000, 150_000))
        self.downtime = (0, 0)
        if chance.random() < 0.25:
            start = chance.randint(5_000, 40_000)
            self.downtime = (start, start + chance.randint(1_000, 30_000))

    @property
    def elapsed(self) -> int:
        return self.tms.now - self.began

    def add(self, shard_id: str, start: int | None = None) -> None:
        chance = self.chance
        tests = list(self.names)
        if chance.random() < 0.1 and len(tests) > 2:
            tests.remove(chance.choice(tests))
        if chance.random() < 0.1:
            tests.append(f"only_{shard_id}.py::test")
            self.durations[tests[-1]] = 500
        begin = chance.choice([0, chance.randint(0, 45_000)]) if start is None else start
        shard = SimulatedShard(self, shard_id, tests, start=begin, speed=chance.uniform(0.8, 1.2))
        fate = chance.random()
        if fate < 0.35:
            shard.killed_at = begin + chance.randint(0, 40_000)
            shard.is_machine_killed = chance.random() < 0.5
        elif fate < 0.45:
            shard.leaves_at = begin + chance.randint(1_000, 30_000)
        if chance.random() < 0.2:
            start = begin + chance.randint(0, 20_000)
            shard.disconnected = (start, start + chance.randint(5_000, 40_000))
        self.shards.append(shard)

    def play(self) -> None:
        while not all(shard.is_over for shard in self.shards):
            assert self.elapsed < MAX_TIME, "a shard does not end"
            if self.downtime[0] <= self.elapsed < self.downtime[1]:
                if self.tms.is_running:
                    self.tms.stop()
            else:
                self.tms.start()
            for shard in self.chance.sample(self.shards, len(self.shards)):
                shard.step()
            self.tms.wait(STEP)
        self.tms.start()
        while self.status()["status"] in ("created", "running"):
            assert self.elapsed < MAX_TIME, "the execution does not end"
            self.tms.wait(30_000)

    def status(self) -> dict[str, Any]:
        return self.tms.status(self.execution)

    def collected(self) -> set[str]:
        """The tests that shards collected which made a request."""
        return {name for shard in self.shards if shard.has_claimed for name in shard.tests}

    def check(self) -> None:
        status = self.status()
        counted = Counter(test["nodeId"] for test in self.tms.tests(self.execution))
        assert set(counted.values()) <= {1}, "a test has several verdicts"
        assert status["results"]["total"] == len(counted)
        assert sum(each["results"]["total"] for each in status["shardResults"]) == len(counted)
        missing = self.collected() - set(counted)
        for name in missing:
            last = max(
                (shard for shard in self.shards if name in shard.tests), key=lambda each: each.ended_at
            )
            has_left = last.was_killed or not last.is_finished or last.is_leaving
            assert has_left, f"{last.runner} remained, and no shard ran {name}"
        if missing:
            assert status["status"] in ("failed", "cancelled"), status["reason"]
            assert f"{len(missing)} test" in (status["reason"] or ""), (status["reason"], missing)
            assert status["progress"]["testsNotRun"] == len(missing)
        elif self.collected():
            assert status["status"] == "completed", (status["status"], status["reason"])
        if self.poison is not None:  # shards that cannot report which test ended them are not counted
            unknown = sum(shard.is_machine_killed or shard.disconnected[1] > 0 for shard in self.shards)
            assert self.starts[self.poison] <= 2 + unknown

    def rerun(self) -> None:
        """Repeat the jobs in CI: only failed tests and those without a result run again."""
        before = {test["nodeId"]: test["status"] for test in self.tms.tests(self.execution)}
        self.poison, self.loss, self.shards = None, 0, []
        self.starts.clear()
        for number in (1, 2):
            start = self.elapsed + 1_000
            self.shards.append(SimulatedShard(self, str(number), self.names, start=start, attempt=2))
            self.shards[-1].runner += "-again"
        self.play()
        passed = {name for name, status in before.items() if status == "passed"}
        assert not passed & set(self.starts), "a test that passed ran again"
        assert {name for name in self.names if name not in passed} == set(self.starts)
        assert set(self.starts.values()) <= {1}
        self.check()


@pytest.fixture
def tms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedTms]:
    write_sqlite_database(tmp_path)
    made = SimulatedTms(f"sqlite:///{tmp_path}/tms.sqlite3", tmp_path, monkeypatch)
    yield made
    made.start()
    made.close()


def play(tms: SimulatedTms, seeds: range) -> None:
    for seed in seeds:
        run = SimulatedRun(tms, seed)
        try:
            run.play()
            run.check()
            if seed % 3 == 0:
                run.rerun()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("first", range(0, 20, 4))
def test_every_test_has_one_verdict_after_any_sequence_of_faults(tms: SimulatedTms, first: int) -> None:
    play(tms, range(first, first + 4))


@pytest.mark.slow
def test_every_test_has_one_verdict_in_100_runs(tms: SimulatedTms) -> None:
    play(tms, range(20, 120))


@pytest.mark.nightly
def test_every_test_has_one_verdict_in_1000_runs(tms: SimulatedTms) -> None:
    play(tms, range(120, 1120))
