"""Background jobs on each database: timeouts, lost shards and progress events."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, text, update

from pytest_tms import wire
from pytest_tms.server.domain import clock
from pytest_tms.server.store import deadlines, tables
from tests.helpers.api import Api, result, running, upgraded_database
from tests.helpers.processes import serve, wait_for
from tests.helpers.subscribers import Subscribers
from tests.integration.server.test_tokens import written
from tests.integration.webhooks.conftest import ENVIRON, PROGRESS, subscribe

SETTINGS = {"TMS_SERVER_SHARD_SILENCE": "3"}
HOUR = 3_600_000
KEY = "x" * 43 + "="


@pytest.fixture
def name() -> str:
    return uuid4().hex[:10]


def payloads_of(subscribers: Subscribers, name: str, execution: dict[str, Any]) -> list[dict[str, Any]]:
    payloads = [got.payload for got in list(subscribers.of(name))]
    return [each for each in payloads if each["executionId"] == execution["executionId"]]


def events(payloads: list[dict[str, Any]]) -> list[str]:
    return [each["event"] for each in payloads]


def ends(payloads: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["event"], each["data"]["status"]) for each in payloads if "status" in each["data"]]


def live(api: Api, **fields: Any) -> dict[str, Any]:
    """An execution whose first shard reports live, and has sent a test."""
    execution = api.create(**fields)
    api.send(execution, "execution.progress", shardId="1", tests=[result("a")])
    return execution


def let_silence_pass(api: Api, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Wait until a shard that fell silent now is lost."""
    canary = live(api)

    def is_lost() -> bool:
        meanwhile()
        return bool(api.shard(canary)["status"] == "lost")

    wait_for(is_lost)


@pytest.mark.slow
def test_an_execution_past_its_timeout_fails_and_says_why(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribe(hooks, subscribers.url(name), events=["shard.completed", "execution.failed"])
    execution = hooks.create(configuration={"shards": 3, "timeout": 3000})
    hooks.submit(execution, "1", tests=[result("a")])
    hooks.send(execution, "shard.started", shardId="2")
    wait_for(lambda: hooks.status(execution)["status"] == "failed")
    status = hooks.status(execution)
    reason = "Shard 3 of 3 never reported. It ran longer than its timeout of 3 s"
    assert status["reason"] == reason
    assert [each["status"] for each in status["shardResults"]] == ["completed", "lost"]
    assert reason in hooks.page(f"/reports/{execution['executionId']}").text
    subscribers.wait_for(lambda: len(payloads_of(subscribers, name, execution)) == 3)
    payloads = payloads_of(subscribers, name, execution)
    assert ends(payloads) == [
        ("shard.completed", "completed"),
        ("shard.completed", "lost"),
        ("execution.failed", "failed"),
    ]
    assert payloads[-1]["data"]["reason"] == reason
    assert payloads[-1]["data"]["artifacts"]["reportUrl"] == execution["reportUrl"]
    # What comes too late is kept, and the shard's real end is told.
    hooks.submit(execution, "2", tests=[result("b", "failed")])
    status = hooks.status(execution)
    assert (status["status"], status["results"]["total"]) == ("failed", 2)
    assert status["shardResults"][1]["status"] == "failed"
    subscribers.wait_for(
        lambda: ends(payloads_of(subscribers, name, execution))[3:] == [("shard.completed", "failed")]
    )


@pytest.mark.slow
def test_an_execution_that_never_starts_fails(hooks: Api, subscribers: Subscribers, name: str) -> None:
    subscribe(hooks, subscribers.url(name))
    execution = hooks.create(configuration={"timeout": 3000})
    wait_for(lambda: hooks.status(execution)["status"] == "failed")
    status = hooks.status(execution)
    assert status["reason"] == "It did not start within 3 s"
    assert status["progress"]["startedAt"] is None
    assert status["progress"]["completedAt"]
    subscribers.wait_for(lambda: events(payloads_of(subscribers, name, execution)) == ["execution.failed"])
    # The answer says so to a client; the process that was to run it runs it after all.
    assert hooks.send(execution, "execution.started")["executionStatus"] == "failed"
    for begun in ("execution.started", "shard.started"):
        assert hooks.send(execution, begun, shardId="1", runner="a")["executionStatus"] == "running"
    hooks.submit(execution, runner="a", tests=[result()])
    subscribers.wait_for(
        lambda: (
            events(payloads_of(subscribers, name, execution))
            == [
                "execution.failed",
                "execution.started",
                "shard.started",
                "shard.completed",
                "execution.completed",
            ]
        )
    )


def test_the_default_timeout_counts_from_the_last_report(hooks: Api) -> None:
    quiet, talking, given = (
        hooks.create(configuration=configuration)
        for configuration in ({}, {"timeout": None}, {"timeout": 1_800_000})
    )
    for execution in (quiet, talking, given):
        assert execution["configuration"]["timeout"] == 1_800_000
        hooks.send(execution, "execution.started")
    table = tables.executions
    soon = clock.now() + 60_000
    with written(hooks) as connection:
        connection.execute(
            update(table)
            .where(table.c.id.in_([each["executionId"] for each in (talking, given)]))
            .values(deadline_at=soon)
        )
        connection.execute(
            update(table).where(table.c.id == quiet["executionId"]).values(deadline_at=clock.now())
        )
    hooks.send(talking, "execution.progress")
    hooks.send(given, "execution.progress")
    with written(hooks) as connection:
        found = {row.id: row.deadline_at for row in connection.execute(table.select())}
    assert found[talking["executionId"]] > soon + 1_000_000
    assert found[given["executionId"]] == soon
    wait_for(lambda: hooks.status(quiet)["status"] == "failed")
    assert hooks.status(quiet)["reason"] == "It sent nothing for 1800 s"


def test_an_execution_whose_timeout_passed_is_cancelled_while_a_shard_reports(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribe(hooks, subscribers.url(name), events=["execution.failed", "execution.cancelled"])
    execution = hooks.create(configuration={"timeout": 1000})
    path = f"/executions/{execution['executionId']}"
    hooks.send(execution, "execution.progress", shardId="1", runner="a")
    wait_for(lambda: hooks.status(execution)["status"] == "failed")
    report = hooks.send(execution, "execution.progress", shardId="1", runner="a")
    assert report["executionStatus"] == "failed"
    assert hooks.request("DELETE", path).json()["status"] == "cancelled"
    report = hooks.send(execution, "execution.progress", shardId="1", runner="a")
    assert report["executionStatus"] == "cancelled"
    subscribers.wait_for(
        lambda: (
            events(payloads_of(subscribers, name, execution)) == ["execution.failed", "execution.cancelled"]
        )
    )


def test_a_shard_that_runs_again_is_announced_again(hooks: Api, subscribers: Subscribers, name: str) -> None:
    subscribe(hooks, subscribers.url(name))
    execution = hooks.create()
    for runner, status in (("a", "failed"), ("b", "passed")):
        hooks.send(execution, "shard.started", shardId="1", runner=runner)
        hooks.submit(
            execution, runner=runner, tests=[result("t", status)], collected=3, notRun=2, notRunReason="-x"
        )
    expected = ["shard.started", "shard.completed", "execution.completed"]
    subscribers.wait_for(lambda: len(payloads_of(subscribers, name, execution)) >= 7)
    payloads = payloads_of(subscribers, name, execution)
    assert events(payloads) == ["execution.started", *expected, *expected]
    data = payloads[-1]["data"]
    assert data["results"] == {"total": 1, "passed": 1, "failed": 0, "skipped": 0, "flaky": 1}
    assert (data["notRun"], data["notRunReason"]) == (2, "-x")
    assert payloads[3]["data"]["results"]["failed"] == 1


def test_the_search_for_deadlines_follows_its_index(hooks: Api) -> None:
    with written(hooks) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        asked: list[str] = []

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            asked.append(statement)
            plans.append(parameters)

        plans: list[Any] = []
        event.listen(connection.engine, "before_cursor_execute", note)
        deadlines.timed_out(connection, 0, clock.now())
        event.remove(connection.engine, "before_cursor_execute", note)
        explain = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        plan = connection.exec_driver_sql(f"{explain} {asked[0]}", plans[0]).all()
        assert "ix_executions_deadline" in str(plan)


@pytest.mark.slow
def test_a_silent_shard_is_lost_until_it_reports_again(
    hooks: Api, subscribers: Subscribers, name: str
) -> None:
    subscribe(hooks, subscribers.url(name), events=["shard.completed", "execution.completed"])
    failing = live(hooks)
    waiting = live(hooks, configuration={"shards": 2})
    wait_for(lambda: hooks.shard(waiting)["status"] == "lost")
    wait_for(lambda: hooks.status(failing)["status"] == "failed")
    assert hooks.status(failing)["reason"] == "A shard was lost: its runner stopped reporting"
    hooks.submit(failing, tests=[result("a"), result("b")])
    assert hooks.status(failing)["status"] == "failed"
    assert hooks.status(failing)["results"]["total"] == 2
    # The other execution waits for a second shard.
    assert hooks.status(waiting)["status"] == "running"
    assert hooks.status(waiting)["progress"]["shardsCompleted"] == 1
    hooks.send(waiting, "execution.progress", shards=["1"])
    assert hooks.shard(waiting)["status"] == "running"
    assert hooks.shard(waiting)["duration"] is None
    assert hooks.status(waiting)["progress"]["shardsCompleted"] == 0
    hooks.submit(waiting, "1", tests=[result("a"), result("c")])
    hooks.submit(waiting, "2", tests=[result("b")])
    assert hooks.status(waiting)["status"] == "completed"
    subscribers.wait_for(lambda: len(payloads_of(subscribers, name, waiting)) == 4)
    assert ends(payloads_of(subscribers, name, waiting)) == [
        ("shard.completed", "lost"),
        ("shard.completed", "completed"),
        ("shard.completed", "completed"),
        ("execution.completed", "completed"),
    ]


@pytest.mark.slow
def test_a_shard_without_live_reports_is_not_lost(hooks: Api) -> None:
    three_hours_ago = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3 * 3600))
    documented = hooks.create()
    hooks.send(documented, "execution.started")
    hooks.send(documented, "shard.started", shardId="1")
    hooks.send(documented, "execution.progress")
    told_later = hooks.create(configuration={"timeout": HOUR})
    for said in ("shard.started", "execution.progress"):
        body = {
            "event": said,
            "executionId": told_later["executionId"],
            "happenedAt": three_hours_ago,
            "data": {"shardId": "1", "tests": [result()]},
        }
        assert hooks.request("POST", told_later["webhookUrl"], body).status_code == 202
    slow = hooks.create()
    hooks.send(slow, "execution.progress", shardId="1", interval=HOUR)
    named, unnamed = live(hooks), live(hooks)

    def speak() -> None:
        hooks.send(named, "execution.progress", shards=["1"])
        hooks.send(unnamed, "execution.progress")

    let_silence_pass(hooks, speak)
    for execution in (documented, told_later, slow, named, unnamed):
        assert hooks.shard(execution)["status"] == "running"
        hooks.submit(execution, tests=[result()])
        assert hooks.status(execution)["status"] == "completed"


@pytest.mark.slow
def test_a_restarted_server_waits_before_it_declares_shards_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {**SETTINGS, "TMS_SERVER_RATE_LIMITS": "documented"}.items():
        monkeypatch.setenv(variable, value)
    with running(tmp_path) as api:
        execution, late = live(api), live(api, configuration={"timeout": HOUR})
        api.send(late, "execution.progress", shardId="1", interval=HOUR)
        seldom = live(api, configuration={"shards": 10_000})  # asked to report seldom, for the limit's sake
    with sqlite3.connect(tmp_path / "tms.sqlite3") as connection:
        connection.execute(
            "UPDATE shards SET silence_deadline_at = 1 WHERE silence_deadline_at < ?",
            (time.time() * 1000 + HOUR,),
        )
        connection.execute("UPDATE executions SET deadline_at = 1 WHERE deadline_at IS NOT NULL")
        connection.execute("UPDATE executions SET deadline_at = NULL WHERE shards_total > 1")
    connection.close()
    process, url = serve(tmp_path)
    api = Api(url, api.token, tmp_path)
    try:
        meanwhile = api.create(configuration={"timeout": 1})
        api.send(meanwhile, "execution.started")
        wait_for(lambda: api.status(meanwhile)["status"] == "failed")
        assert api.status(execution)["status"] == api.status(late)["status"] == "running"
        wait_for(lambda: api.status(late)["status"] == "failed")
        wait_for(lambda: api.status(execution)["status"] == "failed")
        assert api.shard(seldom)["status"] == "running"
    finally:
        api.session.close()
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.slow
def test_several_servers_deliver_each_event_once_and_replace_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subscribers: Subscribers, name: str
) -> None:
    for variable, value in {**ENVIRON, **PROGRESS, "TMS_SERVER_KEYS": KEY}.items():
        monkeypatch.setenv(variable, value)
    with upgraded_database() as url, running(tmp_path / "one", "--database-url", url) as one:
        process, second = serve(tmp_path / "two", "--database-url", url)
        try:
            two = Api(second, one.token, tmp_path / "two")
            subscribe(one, subscribers.url(name))
            lasting = one.create()
            one.send(lasting, "execution.started")
            late = []
            for number in range(20):
                execution = (one, two)[number % 2].create(configuration={"timeout": 3000})
                late.append(execution)
                # Its runner may reach another server with each message.
                api = (two, one)[number % 2]
                api.send({**execution, "webhookUrl": f"{api.url}/webhooks/executions/{execution['executionId']}"},
                         "shard.started", shardId="1")  # fmt: skip

            def has_failed(execution: dict[str, Any]) -> bool:
                return "execution.failed" in events(payloads_of(subscribers, name, execution))

            def progress() -> list[float]:
                times = [
                    each["timestamp"]
                    for each in payloads_of(subscribers, name, lasting)
                    if each["event"] == "execution.progress"
                ]
                return [wire.parse_time(each).timestamp() for each in times]

            subscribers.wait_for(lambda: all(map(has_failed, late)))
            subscribers.wait_for(lambda: len(progress()) >= 5)
            for execution in late:
                order = [
                    each
                    for each in events(payloads_of(subscribers, name, execution))
                    if "progress" not in each
                ]
                assert order == ["execution.started", "shard.started", "shard.completed", "execution.failed"]
            # Were it told by each server, there would be two a second.
            assert len(progress()) <= progress()[-1] - progress()[0] + 2
            process.kill()
            orphan = one.create(configuration={"timeout": 100})
            one.send(orphan, "execution.started")
            subscribers.wait_for(lambda: has_failed(orphan))
        finally:
            process.kill()
            process.wait(timeout=20)
