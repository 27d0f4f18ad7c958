"""A database of version 0.1.0 is upgraded with its data, and then has the tables that the code expects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

from pytest_tms.server import store
from pytest_tms.server.store import deliveries, page_queries, tables, webhooks
from pytest_tms.server.store.database import Database
from tests.helpers.api import scratch_database

FIRST = "0007"
"""The revision of version 0.1.0."""


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of version 0.1.0 with an execution, its tests and a submission."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path}/tms.sqlite3")
        yield _filled(database)
        database.close()
        return
    with scratch_database() as url:
        database = Database(url)
        yield _filled(database)
        database.close()


def _filled(database: Database) -> Database:
    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations"))
    small = {"title": "small", "status": "failed", "longrepr": "def test_small", "tags": ["@smoke"]}
    large = {"title": "large", "status": "failed", "longrepr": "x" * 200_000}
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, FIRST)
        connection.execute(
            text(
                "INSERT INTO executions (id, status, test_suite, environment, provider, trigger_source, "
                "configuration, metadata, extra, token_hash, created_at, shards_total) "
                "VALUES ('exec_1', 'completed', 'all', 'dev', 'custom', 'api', '{}', '{}', '{}', '', 1, 1)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO tests (execution_id, shard_id, test_key, status, title, file, duration, retries, "
                "document) VALUES ('exec_1', '1', :key, 'failed', :key, '', 1, 0, :document)"
            ),
            [{"key": each["title"], "document": json.dumps(each)} for each in (small, large)],
        )
        connection.execute(
            text(
                "INSERT INTO submissions (id, execution_id, shard_id, received_at, tests, document) "
                "VALUES ('sub_1', 'exec_1', '1', 1, 2, :document)"
            ),
            {"document": json.dumps({"artifacts": {"logs": ["a.log"]}})},
        )
        connection.execute(
            text(
                "INSERT INTO webhooks (id, url, events, secret, retry, filters, extra, status, created_at) "
                "VALUES ('wh_1', 'https://example.com/', '[]', 'x', '{}', '{}', '{}', 'active', 1)"
            )
        )
    return database


def _is_no_partition(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or not str(name).startswith(("result_documents_", "events_"))


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection", "ignore:autogenerate skipping")
def test_an_upgraded_database_has_the_tables_of_the_code(old: Database, tmp_path: Path) -> None:
    old.upgrade(tmp_path)
    with old.read() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _is_no_partition})
        found = compare_metadata(context, tables.metadata)
    if old.engine.dialect.name == "sqlite":  # of which SQLAlchemy reads no index on an expression
        on_expressions = ("ix_executions_running", "ix_tests_file")
        found = [each for each in found if getattr(each[1], "name", "") not in on_expressions]
    assert found == [], 'the tables differ from the last revision: run make migration m="…"'


def test_what_was_stored_before_is_shown_after_an_upgrade(old: Database, tmp_path: Path) -> None:
    old.upgrade(tmp_path)
    with old.write() as connection:
        small, large = page_queries.failing(connection, "exec_1", after=0, limit=10)
        assert (small.details.longrepr, small.details.tags) == ("def test_small", ["@smoke"])
        assert large.title == "large"
        assert "characters are not shown" in large.details.longrepr
        ((_, _, files),) = page_queries.submissions(connection, "exec_1", after="", limit=10)
        assert [(each.kind, each.names) for each in files] == [("logs", ["a.log"])]
        assert webhooks.get(connection, "wh_1").headers == {}
        assert [deliveries.next_sequence(connection, "exec_1", 2) for _ in range(2)] == [1, 3]
