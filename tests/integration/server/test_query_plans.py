"""Every statement that the server issues follows its index, on databases with many rows and no statistics."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import event

from pytest_tms.server.jobs.retention import RetentionJob
from pytest_tms.server.services.artifacts import delete_stray
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import deliveries, pending_work, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore
from tests.helpers.api import (
    Api,
    expect_success,
    result,
    scratch_database,
    upgraded_database,
    write_sqlite_database,
)
from tests.helpers.filled_databases import BIG, EXECUTION, FIRST, IDLE, PAUSED, fill, serving
from tests.helpers.queue_runners import QueueRunner
from tests.helpers.subscribers import Subscribers, subscribing

ROWS = int(os.environ.get("PLAN_ROWS", "20000"))
EVENTS = [
    "execution.started",
    "execution.progress",
    "shard.started",
    "shard.completed",
    "execution.completed",
]
OUTBOX = {
    "AND deliveries.due_at <= ": {"ix_deliveries_due"},  # has a webhook anything to be sent?
    # what is sent next, and does it wait for an earlier one?
    "deliveries.due_at + ": {"ix_deliveries_pending", "ix_deliveries_waiting"},
    "waiting.webhook_id DESC": {"ix_deliveries_waiting"},  # after what is a new event sent?
}
"""Statements of the outbox by a part of each, and the indexes that each uses, and no others."""

BACKLOG = (
    "ALTER TABLE deliveries SET (autovacuum_enabled = false)",
    "INSERT INTO webhooks (id, url, events, secret, retry, filters, extra, status, created_at) "
    """VALUES ('wh_1', '', '[]', '', '{}', '{}', '{}', 'active', 0)""",
    "INSERT INTO executions (id, number, status, test_suite, environment, provider, trigger_source, "
    "configuration, metadata, extra, token_hash, created_at, shards_total) "
    "SELECT 'exec_' || i, i, 'completed', '', '', '', '', '{}', '{}', '{}', '', 0, 1 "
    "FROM generate_series(1, 1000) AS n(i)",
    "INSERT INTO deliveries (id, webhook_id, execution_id, event, body, status, created_at, due_at) "
    "SELECT 'msg_' || i, 'wh_1', 'exec_' || 1 + i / 10, '', repeat('x', 700), 'pending', 0, 1 "
    "FROM generate_series(0, 9999) AS n(i)",
)
"""A backlog of one webhook on PostgreSQL."""

FILTERS = {
    "testSuite": "other",
    "environment": "dev",
    "branch": "main",
    "status": "failed",
    "provider": "custom",
    "commit": "abc",
    "project": "default",
    "author": "Ada",
    "since": "2020-01-01",
    "until": "2100-01-01",
    "q": "text",
}
LISTS = (
    "",
    "?cursor=10",
    *(f"?{urlencode(dict(some))}" for size in (1, 2) for some in combinations(FILTERS.items(), size)),
    f"?{urlencode(FILTERS)}",
)
"""Lists of executions: by each filter, each two, and all."""

TESTS = (
    "",
    "after=10",
    "view=files",
    "view=files&status=failed&after=10-5",
    "view=files&flaky=1",
    "status=failed",
    "outcome=xfailed",
    "q=test&sort=name",
    "sort=duration",
    "flaky=1",
    "new=1",
    "quarantined=1",
    "cause=0123456789abcdef",
)
"""Lists of tests of an execution."""
TEST_LISTS = (
    "",
    "q=wrong",
    "status=failed",
    "status=passed",
    "outcome=error",
    "file=a.py",
    "tag=%40a",
    "shard=1",
    "worker=gw0",
    "owner=Ada",
    "cause=0000000000000001",
    "new=1",
    "flaky=1",
    "sort=duration",
    "sort=name",
    "q=wrong&sort=duration&status=failed&cause=0000000000000001",
)
"""Lists of the tests of an execution: by each filter, in each order."""
FOLLOWED = {
    "results.outcome = ": "ix_results_outcome",
    "AND results.is_flaky AND": "ix_results_flaky",
    "results.duration >= ": "ix_results_duration",
    "result_details.cause = ": "ix_result_details_cause",
    "result_details.failing_since = ": "ix_result_details_since",
    "AND result_details.is_quarantined AND": "ix_result_details_quarantined",
    "failure_causes.failures DESC": "ix_failure_causes_largest",
}
"""Statements about tests by a part of each, and an index that each uses."""

Issued = dict[str, Any]
"""Statements with the parameters of one use."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with ROWS rows of each kind."""
    folder = tmp_path_factory.mktemp("plans")
    if request.param == "sqlite":
        write_sqlite_database(folder)
        database = Database(f"sqlite:///{folder}/tms.sqlite3")
        fill(database, ROWS)
        yield database
        database.close()
        return
    with upgraded_database() as url:
        database = Database(url)
        fill(database, ROWS)
        yield database
        database.close()


JOBS = (
    "shards.silence_deadline_at <= ",
    "executions.idle_since <= ",
    "idempotent_responses.created_at BETWEEN",
)
"""Parts of the statements of the background jobs."""


@pytest.fixture(scope="module")
def issued(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """The statements that a server issues for runners, people, webhooks and its own jobs."""
    found: Issued = {}
    changed = threading.Condition()

    def note(_: object, __: object, statement: str, parameters: Any, ___: object, many: bool) -> None:
        with changed:
            found.setdefault(statement, parameters[0] if many else parameters)
            changed.notify_all()

    folder = tmp_path_factory.mktemp("server")
    event.listen(database.engine, "before_cursor_execute", note)
    with (
        subscribing() as subscribers,
        serving(
            database,
            folder,
            allow_insecure_webhooks=True,
            progress_interval=1,
            run_key_wait=1,
            shard_silence=5,
        ) as api,
    ):
        _use(api, subscribers)
        for part in JOBS:
            with changed:
                assert changed.wait_for(partial(_is_issued, found, part), 60)
        retention = {"TMS_SERVER_RETENTION": "results=90d, artifacts=30d, events=7d"}
        RetentionJob(ServerSettings.read(retention, data_dir=folder), database).run()
        delete_stray(database, ObjectStore("", folder))
        with database.read() as connection:
            pending_work.read(connection)
    event.remove(database.engine, "before_cursor_execute", note)
    return found


def _is_issued(found: Issued, part: str) -> bool:
    return any(part in statement for statement in found)


def _use(api: Api, subscribers: Subscribers) -> None:
    """Do what runners, people and subscribers do."""
    hook = {"url": subscribers.url("plans"), "events": EVENTS}
    webhook = expect_success(api.request("POST", "/webhooks", hook, Idempotency_Key="hook"), 201)["webhookId"]
    execution = expect_success(
        api.request("POST", "/executions", {"testSuite": "all", "environment": "dev"}, Idempotency_Key="one"),
        201,
    )
    shared = {"testSuite": "all", "environment": "dev", "runKey": "plans"}
    assert [api.request("POST", "/executions", shared).status_code for _ in range(2)] == [201, 200]
    api.send(execution, "execution.started", shardId="1")
    api.send(execution, "execution.progress", shardId="1", tests=[result("a"), result("b", "failed")])
    subscribers.wait_for(
        lambda: any(got.payload["event"] == "execution.progress" for got in subscribers.of("plans"))
    )
    api.submit(execution, tests=[result("a"), result("c", "failed")])
    for tests in (
        [result("test 1", "failed"), result("new")],
        [result(f"n{number}") for number in range(2000)],
    ):
        api.submit({"executionId": EXECUTION}, tests=tests)
    for path in (
        "",
        "/tests",
        "/tests?status=passed&cursor=10",
        "/tests?status=failed",
        "/tests?status=skipped",
        "/failures",
        "/failures?cursor=5-000000000000000a",
        "/changes",
        "/changes?shard=1",
        "/compare?with=exec_2",
    ):
        expect_success(api.request("GET", f"/executions/{EXECUTION}{path}"), 200)
    expect_success(api.request("PUT", "/tests/9/rename", {"earlierKey": "7", "isSame": True}), 200)
    for cases in ([{"id": "TC-1", "title": "one"}, {"id": "TC-2"}], [{"id": "TC-1", "title": "other"}]):
        plan = {"project": "default", "cases": cases}
        expect_success(api.request("PUT", "/cases", plan), 200)
    api.submit(execution, "2", tests=[result("z", properties={"id": ["TC-1", "TC-new"]})])
    shared_execution = expect_success(api.request("POST", "/executions", shared), 200)
    first, second = (
        QueueRunner(api, shared_execution, shard, ["a", "b", shard], attempt=attempt)
        for shard, attempt in (("1", 1), ("2", 1))
    )
    first.start()
    first.report(first.take())
    second.take_all()
    second.claim(isLeaving=True)
    first.end("error")
    expect_success(api.request("GET", f"/executions/{shared_execution['executionId']}"), 200)
    QueueRunner(api, shared_execution, "1", ["a", "b"], attempt=2).take_all()
    for content in (b"a file", b"another"):
        file = f"/executions/{EXECUTION}/artifacts/{sha256(content).hexdigest()}"
        assert api.request("HEAD", file).status_code == 404
        assert [api.request("PUT", file, content).status_code for _ in range(2)] == [201, 200]
        assert api.page(f"/files/{EXECUTION}/{sha256(content).hexdigest()}/a").status_code == 200
    for query in LISTS:
        expect_success(api.request("GET", f"/executions{query}"), 200)
    for query in ("", "?status=pending", "?status=delivered", "?status=failed", "?cursor=10"):
        for each in (PAUSED, IDLE):
            expect_success(api.request("GET", f"/webhooks/{each}/deliveries{query}"), 200)
    for path in (
        "/",
        "/?before=5",
        "/?project=default&suite=all&environment=dev&branch=b&status=failed&author=a&date=2026-01-01&text=x",
        f"/runs/{EXECUTION}",
        f"/runs/{EXECUTION}?by=file",
        f"/runs/{EXECUTION}?after=10-0123456789abcdef",
        *(f"/runs/{EXECUTION}/tests?{query}" for query in TESTS),
        f"/runs/{EXECUTION}/timeline",
        f"/runs/{EXECUTION}/shards",
        f"/runs/{EXECUTION}/timeline?from=0&to=5000",
        f"/runs/{EXECUTION}/events",
        f"/runs/{EXECUTION}/events?after=10",
        f"/runs/{EXECUTION}/tests/1",
        f"/runs/{EXECUTION}/files",
        "/tokens",
        "/tokens?after=tok_1",
        f"/runs/{EXECUTION}/files?submission=sub_5",
        f"/runs/{EXECUTION}/files?q=a&kind=image&after={'0' * 64}",
        f"/runs/{EXECUTION}/files?after=sub_5",
        *(f"/runs/{EXECUTION}/tests?{query}" for query in TEST_LISTS),
        f"/runs/{EXECUTION}/compare?with=exec_2",
        "/tests",
        "/badge.svg?testSuite=all",
        "/tests?q=a&owner=b&after=5",
        "/tests?branch=b",
        "/tests?flaky=1",
        "/tests?nocase=1",
        "/tests?nocase=1&flaky=1",
        "/cases",
        "/cases?project=default&q=x&kind=missing&after=5",
        "/cases?kind=unplanned",
        "/cases.csv?project=default",
        "/cases/5",
        "/tests/5",
        "/tests/5?branch=b&before=5",
        "/trends",
        "/quarantine",
        "/quarantine?project=default&view=ended&before=5",
        "/webhooks",
        f"/webhooks/{PAUSED}",
        f"/webhooks/{PAUSED}?status=failed",
        f"/webhooks/{IDLE}?status=delivered&before=10",
    ):
        assert api.page(path).status_code == 200, path
    for path in ("/stream", f"/runs/{EXECUTION}/stream"):
        assert api.session.head(f"{api.root}{path}", timeout=60).status_code == 200
    expect_success(api.request("PATCH", f"/webhooks/{webhook}", {"status": "paused"}), 200)
    expect_success(api.request("POST", f"/webhooks/{webhook}/replay", {}), 200)
    replayed = expect_success(api.request("GET", f"/webhooks/{webhook}/deliveries"), 200)["deliveries"][0][
        "deliveryId"
    ]
    expect_success(api.request("POST", f"/webhooks/{webhook}/replay", {"deliveryId": replayed}), 200)
    expect_success(
        api.request(
            "DELETE",
            f"/executions/{expect_success(api.request('POST', '/executions', {'testSuite': 'all', 'environment': 'dev'}), 201)['executionId']}",
        ),
        200,
    )
    expect_success(api.request("POST", f"/executions/{execution['executionId']}/delete"), 200)
    expect_success(api.request("DELETE", f"/webhooks/{webhook}"), 200)


def test_no_statement_reads_a_whole_table(database: Database, issued: Issued) -> None:
    explained = {
        statement: plan(database, statement, issued[statement]) for statement in issued if _reads(statement)
    }
    assert len(explained) > 40
    for table in BIG:
        assert any(table in line for lines in explained.values() for line in lines) or table == "sessions"
    scans = {
        statement: lines
        for statement, lines in explained.items()
        if any(
            re.search(rf"(SCAN|Seq Scan on) ({'|'.join((*BIG, *FIRST.values()))})\b(?! USING)", line)
            for line in lines
        )
    }
    assert scans == {}, "\n\n".join(f"{each[:600]}\n{lines}" for each, lines in scans.items())


def test_lists_of_executions_search_their_own_index(database: Database, issued: Issued) -> None:
    part = "executions.number BETWEEN"
    statements = [each for each in issued if part in each]
    assert len(statements) > 50  # one of each set of filters
    for statement in statements:
        lines = plan(database, statement, issued[statement])
        used = {name for line in lines for name in re.findall(r"ix_executions_\w+", line)}
        assert used == {"ix_executions_list"}, lines
        assert not any("TEMP B-TREE" in line for line in lines), lines


@pytest.mark.parametrize(("part", "index"), FOLLOWED.items(), ids=FOLLOWED.values())
def test_lists_of_tests_follow_their_indexes(
    database: Database, issued: Issued, part: str, index: str
) -> None:
    statements = [each for each in issued if part in each and each.startswith("SELECT")]
    assert statements
    plans = {each: plan(database, each, issued[each]) for each in statements}
    assert any(index in line for lines in plans.values() for line in lines), plans


@pytest.mark.parametrize(("part", "indexes"), OUTBOX.items(), ids=OUTBOX)
def test_the_outbox_follows_the_indexes_of_pending_deliveries(
    database: Database, issued: Issued, part: str, indexes: set[str]
) -> None:
    statements = [each for each in issued if part in each]
    assert statements
    for statement in statements:
        lines = plan(database, statement, issued[statement])
        used = {name for line in lines for name in re.findall(r"ix_deliveries_\w+", line)}
        assert used == indexes, lines
        assert not any("TEMP B-TREE" in line or line.lstrip(" ->").startswith("Sort") for line in lines), (
            lines
        )


def test_what_is_sent_next_is_found_by_the_execution_without_statistics(tmp_path: Path) -> None:
    """A new backlog of one webhook: any index of its pending deliveries seems to have a single row."""
    found: Issued = {}

    def note(_: object, __: object, statement: str, parameters: Any, ___: object, ____: bool) -> None:
        found[statement] = parameters

    with scratch_database() as url:
        database = Database(url)
        database.upgrade(tmp_path)
        with database.write() as connection:
            for statement in BACKLOG:
                connection.exec_driver_sql(statement)
        event.listen(database.engine, "before_cursor_execute", note)
        with database.read() as connection:
            assert len(deliveries.due(connection, "wh_1", [], 1, 100)) == 100
            assert webhooks.claimable(connection, 1) == ["wh_1"]
        event.remove(database.engine, "before_cursor_execute", note)
        due, claimable = found
        for statement, index in ((due, "ix_deliveries_waiting"), (claimable, "ix_deliveries_due")):
            used = {
                name
                for line in plan(database, statement, found[statement])
                for name in re.findall(r"ix_deliveries_\w+", line)
            }
            assert used == {index} | ({"ix_deliveries_pending"} if statement == due else set())
        database.close()


def _reads(statement: str) -> bool:
    return re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT .* SELECT)\b", statement, re.DOTALL) is not None


def plan(database: Database, statement: str, parameters: Any) -> Sequence[str]:
    """The lines of a statement's plan. PostgreSQL's is the one for any values of the parameters."""
    with database.read() as connection:
        if connection.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            return [row.detail for row in rows]
        if isinstance(parameters, tuple):  # by position
            for number in range(len(parameters)):
                statement = statement.replace("%s", f"%(p{number})s", 1)
            parameters = {f"p{number}": value for number, value in enumerate(parameters)}
        names = list(dict.fromkeys(re.findall(r"%\(([^()]+)\)s", statement)))
        numbered = re.sub(r"%\(([^()]+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement)
        values = ", ".join(_literal(parameters[name]) for name in names)
        call = f"EXECUTE one ({values})" if names else "EXECUTE one"
        lines: list[str] = []
        connection.exec_driver_sql("PREPARE one AS " + numbered.replace("%%", "%").replace("%", "%%"))
        for mode in ("force_generic_plan", "force_custom_plan"):
            connection.exec_driver_sql(f"SET LOCAL plan_cache_mode = {mode}")
            rows = connection.exec_driver_sql(f"EXPLAIN {call}".replace("%", "%%"))
            lines += [row[0] for row in rows]
        connection.exec_driver_sql("DEALLOCATE one")
        return lines


def _literal(value: object) -> str:
    value = getattr(value, "obj", value)  # of the driver's wrapper of bytes
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(_literal, value))}]"
    if isinstance(value, bytes):
        return rf"'\x{value.hex()}'::bytea"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
