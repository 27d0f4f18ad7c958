"""A database of version 0.1.0 is upgraded with its executions; on each database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from pytest_tms.server.store import database as databases
from pytest_tms.server.store import executions
from pytest_tms.server.store.database import Database
from tests.helpers.api import scratch_database

ROWS = [
    ("exec_waits", "created", 1_800_000, None, 1_800_001, False),
    ("exec_set", "created", 5_000, None, 5_001, True),
    ("exec_runs", "running", 1_800_000, 99, 99, False),
    ("exec_done", "completed", 5_000, 99, None, False),
]
"""Id, status, timeout, deadline before; deadline after, and whether its creator set the timeout, after."""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_executions_of_the_version_before_keep_their_deadlines(tmp_path: Path, kind: str) -> None:
    if kind == "sqlite":
        check(f"sqlite:///{tmp_path / 'tms.sqlite3'}", tmp_path)
    else:
        with scratch_database() as url:
            check(url, tmp_path)


def check(url: str, folder: Path) -> None:
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(Path(databases.__file__).parent / "migrations"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        for name, status, timeout, deadline, *_ in ROWS:
            connection.execute(
                text(
                    "INSERT INTO executions (id, status, test_suite, environment, provider, trigger_source,"
                    " configuration, metadata, extra, token_hash, created_at, deadline_at, shards_total)"
                    " VALUES (:id, :status, 'all', 'dev', 'p', 'api', :configuration, '{}', '{}', '', 1, :at, 1)"
                ),
                {
                    "id": name,
                    "status": status,
                    "configuration": json.dumps({"timeout": timeout}),
                    "at": deadline,
                },
            )
        connection.execute(
            text("INSERT INTO shards (execution_id, shard_id, status) VALUES ('exec_runs', '1', 'running')")
        )
        connection.execute(
            text(
                "INSERT INTO tests (execution_id, shard_id, test_key, status, title, file, duration, retries,"
                " document) VALUES ('exec_runs', '1', 't', 'passed', 't', '', 0, 0, '{}')"
            )
        )
    database.upgrade(folder)
    with database.read() as connection:
        for name, _, _, _, deadline, is_given in ROWS:
            found = executions.get(connection, name)
            if found.status == "completed":
                assert found.deadline_at is None
            else:
                assert (found.deadline_at, found.timeout_given) == (deadline, is_given)
        [shard] = executions.shards(connection, "exec_runs")
        assert (shard.attempt, shard.runner, shard.not_run_tests) == (1, None, ())
    database.close()
