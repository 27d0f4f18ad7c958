"""Live progress of many shards: stored together as if each message had been stored alone."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest
import requests
from sqlalchemy import select

from pytest_tms import wire
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.rates import parse
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services.events import accept_event
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.live_progress import LiveProgress, ProgressMessage
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.services.received_events import read_event
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import executions, tables
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from tests.helpers.api import Api, expect_success, result, upgraded_database, write_sqlite_database

RUNNERS = 6
ROUNDS = 14
SHARDS = 100
"""Shards of each execution, more than report: the interval of reports depends on the number that is known."""
URLS = Urls("http://127.0.0.1")


class _IdleWorker:
    """A delivery worker that does nothing: there are no webhooks."""

    def wake(self) -> None:
        """Do nothing."""


class _Server(NamedTuple):
    """What handles the events of one server, without its network."""

    database: Database
    settings: ServerSettings
    rate_limits: RateLimits

    def accept_alone(self, message: ProgressMessage) -> wire.EventAccepted:
        return accept_event(
            self.database,
            self.settings,
            self.rate_limits,
            message.execution_id,
            message.received,
            urls=message.urls,
            delivery_worker=cast("DeliveryWorker", _IdleWorker()),
            idempotency=message.idempotency,
            caller=Caller(id="anyone", request_id="req", address=""),
        )

    async def accept_together(self, messages: list[ProgressMessage]) -> list[wire.EventAccepted | None]:
        progress = LiveProgress(self.database, self.settings, self.rate_limits, lambda: None)
        return await asyncio.gather(*(progress.accept(each) for each in messages))


@pytest.fixture(params=["sqlite", "postgresql"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[_Server, _Server]]:
    """Two servers with a database each."""
    if request.param == "sqlite":
        urls = []
        for name in ("one", "other"):
            write_sqlite_database(tmp_path / name)
            urls.append(f"sqlite:///{tmp_path / name / 'tms.sqlite3'}")
        yield _server(urls[0], tmp_path), _server(urls[1], tmp_path)
    else:
        with upgraded_database() as one, upgraded_database() as other:
            made = _server(one, tmp_path), _server(other, tmp_path)
            yield made
            for each in made:
                each.database.close()


@pytest.mark.parametrize("seed", range(3))
def test_messages_that_are_stored_together_have_the_effects_that_each_has_alone(
    servers: tuple[_Server, _Server], seed: int
) -> None:
    together, alone = servers
    for each in servers:
        with each.database.write() as connection:
            for number in range(2):
                executions.create(connection, _execution(number))
    ordinary = 0
    for messages in _rounds(random.Random(seed)):
        answers = asyncio.run(together.accept_together(messages))
        ordinary += sum(each is not None for each in answers)
        answers = [
            each or together.accept_alone(message) for each, message in zip(answers, messages, strict=True)
        ]
        assert answers == [alone.accept_alone(message) for message in messages]
        assert _content(together.database) == _content(alone.database)
    assert ordinary > 10


def test_messages_that_arrive_at_the_same_time_are_stored_once(api: Api) -> None:
    shards, turns = 12, 6
    execution = api.create(configuration={"shards": shards})
    for number in range(shards):
        api.send(execution, "shard.started", shardId=str(number), runner=f"runner-{number}")
    ready = threading.Barrier(shards)
    name = execution["executionId"]

    def send(number: int) -> list[bool]:
        same = []
        for turn in range(turns):
            tests = [result(f"test_{number}_{turn}_{each}") for each in range(5)]
            data = {"shardId": str(number), "runner": f"runner-{number}", "tests": tests}
            body = {"event": "execution.progress", "executionId": name, "data": data}
            headers = {
                "Authorization": f"Bearer {execution['webhookToken']}",
                "Idempotency-Key": f"{name}-{number}-{turn}",
            }
            ready.wait(timeout=60)
            with requests.Session() as session:
                answers = [
                    expect_success(
                        session.post(execution["webhookUrl"], json=body, headers=headers, timeout=60), 202
                    )
                    for _ in range(2)
                ]
            same.append(answers[0] == answers[1])
        return same

    with ThreadPoolExecutor(shards) as pool:
        assert all(all(each) for each in pool.map(send, range(shards)))
    status = api.status(execution)
    assert status["results"]["total"] == status["results"]["passed"] == shards * turns * 5
    assert {shard["results"]["total"] for shard in status["shardResults"]} == {turns * 5}
    titles = [test["title"] for test in api.tests(execution)]
    assert len(titles) == len(set(titles)) == shards * turns * 5


def _rounds(choose: random.Random) -> Iterator[list[ProgressMessage]]:
    """Yield messages of different shards that arrive at the same time, in several rounds."""
    earlier: list[ProgressMessage] = []
    tests = [f"a.py::test_{number}" for number in range(12)]
    for turn in range(ROUNDS):
        messages = []
        for number in range(RUNNERS):
            runner = None if number == RUNNERS - 1 else f"runner-{number}-{turn // 9}"
            shards = [str(number), f"{number}-b"]
            data: dict[str, Any] = {"shardId": shards[0], "runner": runner, "attempt": 1 + turn // 9}
            event = "execution.progress"
            kind = choose.choice(
                ["tests", "tests", "tests", "tests", "beat", "running", "start", "new", "end", "late"]
            )
            if turn in (0, 9):
                kind = "start"
            if kind == "new":
                data["shardId"] = shards[0] = f"{number}-{turn}"
            if kind == "start":
                event = "shard.started"
            elif kind == "end":
                event, data["results"] = (
                    "shard.completed",
                    {"total": 1, "passed": 1, "failed": 0, "skipped": 0},
                )
            else:
                data |= {"shards": shards, "interval": 1000, "status": "running"}
            if kind in ("tests", "new", "late", "end"):
                chosen = choose.sample(tests, choose.randint(1, 4))
                data["tests"] = [
                    {
                        **result(name, choose.choice(["passed", "failed", "skipped"])),
                        "nodeId": name,
                        "duration": choose.randint(0, 50),
                        **({"error": "AssertionError: x"} if choose.random() < 0.5 else {}),
                    }
                    for name in chosen
                ]
            if kind == "running":
                data["running"] = [{"nodeId": choose.choice(tests), "shardId": choose.choice(shards)}]
            if choose.random() < 0.1:
                data["note"] = "more"
            body: dict[str, Any] = {"event": event, "executionId": f"exec_{number % 2}", "data": data}
            if kind == "late":
                body["happenedAt"] = "2026-01-01T00:00:00Z"
            messages.append(_message(body, f"key-{turn}-{number}" if number else "", (turn + 1) * 1000))
        if turn:
            messages.append(_of_separate_shard(choose.choice(tests), (turn + 1) * 1000))
        earlier += messages
        if turn % 3 == 2:
            again = choose.choice(earlier)
            messages.append(again)
        yield messages
        if not turn:
            yield [_of_separate_shard(tests[0], 1500)]


def _of_separate_shard(test: str, now: int) -> ProgressMessage:
    """Return a message of a runner that named a shard which another one runs, so that it got another."""
    data = {
        "shardId": "1",
        "runner": "late runner",
        "running": [{"nodeId": f"a.py::test_{now}", "shardId": "1"}],
        "tests": [{**result(test), "nodeId": test}],
    }
    return _message(
        {"event": "execution.progress", "executionId": "exec_1", "data": data}, f"late-{now}", now
    )


def _message(body: dict[str, Any], key: str, now: int) -> ProgressMessage:
    """Return a message that is received at ``now``."""
    encoded = msgspec.json.encode(body)
    received = read_event(msgspec.json.decode(encoded, type=wire.Event), msgspec.json.decode(encoded))
    received = replace(received, now=now, then=received.then if "happenedAt" in body else now)
    request = IdempotentRequest(key, "wh_token", "/path", encoded, None)
    return ProgressMessage(body["executionId"], received, URLS, request)


def _content(database: Database) -> dict[str, Any]:
    """Return what is stored, without the order of arrival."""
    found: dict[str, Any] = {}
    with database.read() as connection:
        for table, left_out in (
            (tables.executions, {"progressed_at", "version", "created_at"}),
            (tables.shards, set()),
            (tables.runners, set()),
            (tables.events, {"id"}),
            (tables.results, {"sequence", "document", "test_id"}),
            (tables.result_details, {"sequence"}),
            (tables.failure_causes, {"sequence"}),
            (tables.idempotent_responses, {"created_at"}),
            (tables.tests, {"id", "first_seen", "last_seen"}),
        ):
            columns = [column for column in table.c if column.name not in left_out]
            found[table.name] = sorted(map(repr, connection.execute(select(*columns))))
    return found


def _execution(number: int) -> Execution:
    return Execution(
        id=f"exec_{number}",
        test_suite=f"suite-{number}",  # so that neither is the run that the other is compared with
        environment="dev",
        provider="custom",
        trigger_source="manual",
        configuration={"shards": SHARDS, "timeout": 1_800_000},
        metadata={},
        extra={},
        token_hash="",
        created_at=1,
        shards_total=SHARDS,
        status="running",
        started_at=1,
    )


def _server(url: str, data_dir: Path) -> _Server:
    database = Database(url)
    settings = ServerSettings(data_dir=data_dir)
    return _Server(database, settings, RateLimits(parse(settings.rate_limits)))
