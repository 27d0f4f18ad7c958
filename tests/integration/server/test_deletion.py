"""Deleting executions: hidden at once, then nothing is left of them; retention and `tms prune`."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.domain.ids import first_id
from pytest_tms.server.domain.retention import Retention, parse_retention
from pytest_tms.server.domain.stored_files import StoredFile
from pytest_tms.server.jobs.retention import RetentionJob
from pytest_tms.server.services import deletion as deletion_service
from pytest_tms.server.services.deletion import delete_marked, mark_deleted
from pytest_tms.server.services.retention import find_expired, prune
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import artifacts, deletion, tables
from pytest_tms.server.store.database import Database
from tests.helpers.api import Api, expect_error, expect_success, result
from tests.helpers.filled_databases import EXECUTION, fill, serving
from tests.helpers.processes import run_tms, wait_for

ROWS = 1000
ADMIN = Actor(id="command", name="tests")
LEFT = (
    "projects",
    "tests",
    "webhooks",
    "tokens",
    "audit",
    "executions",
    "shards",
    "idempotent_responses",
    "sessions",
)
"""Tables that keep rows when the one execution with results is deleted."""
DELETED = ("results", "result_details", "result_documents", "shared_setups")


@pytest.fixture
def database(empty_database: Database) -> Database:
    """A database whose execution 0 has ROWS results, events, submissions and deliveries."""
    fill(empty_database, ROWS, webhooks=2)
    with empty_database.write() as connection:
        connection.execute(text("UPDATE executions SET status = 'completed'"))
        connection.execute(
            text("INSERT INTO shared_setups SELECT execution, sequence, 0, 'module', '', 'f', 1 FROM results")
        )
    return empty_database


def count(database: Database, table: str) -> int:
    with database.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(tables.metadata.tables[table])) or 0)


def no_pause(_: float) -> None:
    """Deletions of tests need no pause."""


def test_everything_of_an_execution_is_deleted_and_nothing_else(database: Database) -> None:
    mark_deleted(database, ADMIN, EXECUTION)
    assert delete_marked(database, no_pause) == 1
    for table in (*DELETED, "events", "submissions", "deliveries"):
        assert count(database, table) == 0, table
    assert count(database, "executions") == count(database, "shards") == ROWS - 1
    assert count(database, "idempotent_responses") == ROWS  # of another token


def test_a_deletion_that_is_interrupted_continues(database: Database) -> None:
    mark_deleted(database, ADMIN, EXECUTION)
    stops = iter([False, True])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletion_service, "TRANSACTION", 0.0001)
        assert delete_marked(database, lambda _: next(stops)) == 0
    with database.read() as connection:
        assert [each.id for each in deletion.marked(connection, 10)] == [EXECUTION]
    assert delete_marked(database, no_pause) == 1
    assert count(database, "results") == 0


def test_the_answers_of_its_own_token_are_deleted(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE executions SET token_hash = 'me' WHERE number = 0"))
    mark_deleted(database, ADMIN, EXECUTION)
    delete_marked(database, no_pause)
    assert count(database, "idempotent_responses") == 0


@pytest.fixture
def admin(api: Api) -> str:
    """The text of a token with the scope admin."""
    made = run_tms(
        "token", "create", "--name", "admin", "--scope", "admin", "--json", "--data-dir", str(api.data_dir),
        *api.database,
    )  # fmt: skip
    token: str = json.loads(made.stdout)["token"]
    return token


def test_a_deleted_execution_is_hidden_at_once(api: Api, admin: str) -> None:
    execution = api.create()
    api.submit(execution, tests=[result("a")])
    path = f"/executions/{execution['executionId']}"
    deleted = expect_success(api.request("POST", f"{path}/delete", token=admin), 200)
    assert deleted["executionId"] == execution["executionId"]
    for method, rest in (("GET", ""), ("GET", "/tests"), ("DELETE", "")):
        expect_error(api.request(method, f"{path}{rest}"), 404)
    expect_error(api.request("POST", f"{path}/delete", token=admin), 404)
    body = {"event": "execution.progress", "executionId": execution["executionId"]}
    expect_error(api.request("POST", execution["webhookUrl"], body, token=execution["webhookToken"]), 401)
    expect_error(
        api.request(
            "POST", "/results", {"executionId": execution["executionId"], "shardId": "2", "tests": []}
        ),
        404,
    )
    for page in ("reports", "logs", "artifacts"):
        assert api.page(f"/{page}/{execution['executionId']}").status_code == 404
    found = expect_success(api.request("GET", f"/executions?q={execution['executionId']}"), 200)
    assert found["executions"] == []
    assert execution["executionId"] not in api.page("/").text


def test_an_execution_that_runs_is_not_deleted(api: Api, admin: str) -> None:
    execution = api.create()
    api.send(execution, "execution.started")
    path = f"/executions/{execution['executionId']}/delete"
    error = expect_error(api.request("POST", path, token=admin), 409)
    assert error["message"] == "The execution is running: cancel it before you delete it."
    expect_error(api.request("POST", path), 403)


def test_the_deletion_is_in_the_audit_log(api: Api, admin: str) -> None:
    execution = api.create()
    api.submit(execution, tests=[result("a")])
    expect_success(api.request("POST", f"/executions/{execution['executionId']}/delete", token=admin), 200)
    listed = run_tms("audit", "--json", "--data-dir", str(api.data_dir), *api.database)
    [entry] = [
        each
        for each in json.loads(listed.stdout)
        if each["action"] == "execution.deleted" and each["target"] == execution["executionId"]
    ]
    assert entry["name"] == "admin"
    assert entry["details"] == {"suite": "all", "environment": "dev", "tests": 1}


def test_the_report_has_a_button_behind_a_confirmation(api: Api) -> None:
    execution = api.create()
    path = f"/runs/{execution['executionId']}/delete"
    assert path not in api.page(f"/runs/{execution['executionId']}").text
    assert api.page(path).url.endswith(f"/runs/{execution['executionId']}")
    api.submit(execution, tests=[result("a")])
    assert path in api.page(f"/runs/{execution['executionId']}").text
    form = api.page(path).text
    token = form.split('name="csrf_token" value="')[1].split('"')[0]
    sent = api.session.post(f"{api.root}{path}", data={"csrf_token": "wrong"})
    assert sent.status_code == 403
    sent = api.session.post(f"{api.root}{path}", data={"csrf_token": token})
    assert sent.url == f"{api.root}/"
    assert api.page(f"/runs/{execution['executionId']}").status_code == 404


def old(database: Database, days: int, branch: str, number: int) -> str:
    """Make execution ``number`` one that was created so many days ago on a branch; return its id."""
    at = clock.now() - days * DAY
    name = f"{first_id('exec', at)[:-4]}{number:04}"
    with database.write() as connection:
        for table in ("shards", "artifact_usage"):
            connection.execute(
                text(f"DELETE FROM {table} WHERE execution_id = :old"), {"old": f"exec_{number}"}
            )
        connection.execute(
            text(
                "UPDATE executions SET id = :name, created_at = :at, branch = :branch, results_stored = 3 "
                "WHERE number = :number"
            ),
            {"name": name, "at": at, "branch": branch, "number": number},
        )
    return name


def test_retention_deletes_what_is_older_and_keeps_branches(database: Database) -> None:
    ids = {
        (days, branch): old(database, days, branch, number)
        for number, (days, branch) in enumerate(
            [(89, "topic"), (91, "topic"), (91, "main"), (366, "main"), (500, "release")], 1
        )
    }
    running = old(database, 100, "topic", 6)
    with database.write() as connection:
        connection.execute(text("UPDATE executions SET status = 'running' WHERE number = 6"))
    retention = parse_retention("results=90d, keep-branch=main:365d, keep-branch=release")
    assert (find_expired(database, retention).executions, find_expired(database, retention).results) == (2, 6)
    pruned = prune(database, ADMIN, retention, no_pause)
    assert (pruned.executions, pruned.results, pruned.events) == (2, 6, 0)
    with database.read() as connection:
        kept = set(connection.scalars(select(tables.executions.c.id)))
    assert {name for name in ids.values() if name not in kept} == {ids[91, "topic"], ids[366, "main"]}
    assert running in kept
    assert prune(database, ADMIN, retention, no_pause).executions == 0


def test_events_are_deleted_by_their_own_age(database: Database) -> None:
    with database.write() as connection:
        connection.execute(
            text("UPDATE events SET received_at = :at WHERE id <= 300"), {"at": clock.now() - 8 * DAY}
        )
    assert prune(database, ADMIN, Retention(events=7 * DAY), no_pause).events == 300
    assert count(database, "events") == ROWS - 300


def test_files_are_deleted_by_their_own_age(database: Database) -> None:
    with database.write() as connection:
        for table in ("artifacts", "artifact_usage"):
            connection.execute(text(f"DELETE FROM {table}"))
        for number, days in enumerate((1, 29, 31, 90)):
            file = StoredFile(
                sha256=f"{number:064}",
                object=str(number),
                name="screenshot.png",
                size=100,
                content_type="image/png",
                created_at=clock.now() - days * DAY,
            )
            assert artifacts.add(connection, "exec_0", file, quota=1000)
    assert prune(database, ADMIN, Retention(artifacts=30 * DAY), no_pause).files == 2
    assert count(database, "artifacts") == 2
    with database.read() as connection:
        assert artifacts.usage(connection, "exec_0") == (200, 0)


def test_tests_without_results_are_deleted_when_they_were_not_seen_for_long(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DELETE FROM results WHERE sequence <= 20"))
        connection.execute(
            text("UPDATE tests SET last_seen = :at WHERE id <= 10"), {"at": clock.now() - 30 * DAY}
        )
        connection.execute(
            text("UPDATE tests SET last_seen = :at WHERE id > 100"), {"at": clock.now() - 30 * DAY}
        )
    assert prune(database, ADMIN, Retention(), no_pause).tests == 10
    assert count(database, "tests") == ROWS - 10


def test_a_test_that_was_deleted_is_added_when_it_runs_again(database: Database, tmp_path: Path) -> None:
    with serving(database, tmp_path / "server") as api:
        execution = api.create()
        api.submit(execution, tests=[result("seldom")])
        with database.write() as connection:
            long_ago = clock.now() - 30 * DAY
            connection.execute(text("UPDATE tests SET last_seen = :at"), {"at": long_ago})
        again = api.create()
        api.submit(again, tests=[result("seldom")])
        assert prune(database, ADMIN, Retention(), no_pause).tests == 0
        assert [each["title"] for each in api.tests(again)] == ["seldom"]


def test_the_job_deletes_what_is_marked_and_prunes_once_a_night(database: Database, tmp_path: Path) -> None:
    name = old(database, 91, "topic", 1)
    settings = ServerSettings.read({"TMS_SERVER_RETENTION": "results=90d"}, data_dir=tmp_path)
    RetentionJob(settings, database).run()
    with database.read() as connection:
        assert name not in set(connection.scalars(select(tables.executions.c.id)))
    name = old(database, 91, "topic", 2)
    RetentionJob(settings, database).run()
    mark_deleted(database, ADMIN, EXECUTION)
    RetentionJob(settings, database).run()
    with database.read() as connection:
        kept = set(connection.scalars(select(tables.executions.c.id)))
    assert name in kept
    assert EXECUTION not in kept


def test_one_process_at_a_time_has_the_job(database: Database, tmp_path: Path) -> None:
    mark_deleted(database, ADMIN, EXECUTION)
    settings = ServerSettings.read({}, data_dir=tmp_path)
    first, second = RetentionJob(settings, database), RetentionJob(settings, database)
    assert first.take()
    second.run()
    assert count(database, "results") == ROWS
    first.run()
    assert count(database, "results") == 0
    assert second.take()


def test_a_server_deletes_what_is_marked(database: Database, tmp_path: Path) -> None:
    mark_deleted(database, ADMIN, EXECUTION)
    with serving(database, tmp_path / "server"):
        wait_for(lambda: count(database, "results") == 0)


def test_writers_do_not_wait_for_a_deletion(database: Database) -> None:
    mark_deleted(database, ADMIN, EXECUTION)
    paused = threading.Event()

    def wait(_: float) -> bool:
        with database.write() as connection:  # another writer, between two transactions
            connection.execute(text("UPDATE executions SET author = 'x' WHERE number = 5"))
        paused.set()
        return False

    delete_marked(database, wait)
    assert paused.is_set()


def prune_command(database: Database, folder: Path, *options: str) -> Any:
    url = database.engine.url.render_as_string(hide_password=False)
    return run_tms("prune", "--data-dir", str(folder), "--database-url", url, *options)


def test_tms_prune_says_what_it_deletes(database: Database, tmp_path: Path) -> None:
    old(database, 91, "topic", 1)
    old(database, 91, "main", 2)
    options = ("--older-than", "90d", "--keep-branch", "main")
    completed = prune_command(database, tmp_path, *options, "--dry-run")
    assert completed.stdout == "1 execution with 3 results would be deleted\n", completed.stderr
    completed = prune_command(database, tmp_path, *options, "--json")
    assert json.loads(completed.stdout) == {
        "executions": 1,
        "results": 3,
        "events": 0,
        "files": 0,
        "tests": 0,
    }
    completed = prune_command(database, tmp_path, *options)
    assert completed.stdout == "0 executions with 0 results were deleted\n"
    assert prune_command(database, tmp_path).returncode == 2
