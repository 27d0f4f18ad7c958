"""Databases with many rows of each kind, filled by SQL, and a server in this process that uses one."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn
from sqlalchemy import text

from pytest_tms.server.app import create_app
from pytest_tms.server.domain import api_tokens, clock
from pytest_tms.server.listeners import listen
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import event_partitions, partitions, tables, tokens
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.result_documents import zstd
from tests.helpers.api import Api, upgraded_database, write_sqlite_database

BIG = (
    "executions",
    "shards",
    "submissions",
    "tests",
    "test_cases",
    "test_case_links",
    "test_renames",
    "results",
    "result_details",
    "result_documents",
    "failure_causes",
    "artifact_usage",
    "stray_objects",
    "events",
    "idempotent_responses",
    "deliveries",
    "sessions",
    "queues",
    "queue_tests",
    "queue_collections",
    "queue_runners",
    "queue_batches",
)
"""Tables with many rows."""
FIRST = {
    partitions.TABLE: partitions.FIRST,
    event_partitions.TABLE: event_partitions.FIRST,
}
"""The partitions that have these rows on PostgreSQL, by their tables."""
EXECUTION = "exec_0"
"""The execution that has all tests, events and submissions, and is running."""
PAUSED, IDLE = "wh_paused", "wh_idle"
"""The webhook that has all pending deliveries, and the one that has all others."""


def fill(database: Database, rows: int, *, webhooks: int = 50) -> None:
    """Write ``rows`` rows of each kind. The database has no statistics, then or later."""
    now = clock.now()
    series = (
        f"generate_series(0, {rows - 1}) AS n(i)"
        if database.engine.dialect.name == "postgresql"
        else f"(WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < {rows - 1}) SELECT i FROM s) AS n"
    )
    is_postgresql = database.engine.dialect.name == "postgresql"
    key_hash = "decode(md5('test ' || i), 'hex')" if is_postgresql else "CAST('test ' || i AS BLOB)"
    packed = zstd.compress(b'[{"title": "t", "status": "passed"}]').hex()
    documents = f"decode('{packed}', 'hex')" if is_postgresql else f"x'{packed}'"
    hook = "'https://example.com/', '[]', '', '{}', '{}', '{}'"
    statements = [
        "INSERT INTO executions (id, status, test_suite, environment, provider, trigger_source, configuration, "
        "metadata, extra, token_hash, created_at, started_at, deadline_at, shards_total, number, project_id, results_stored) "
        "SELECT 'exec_' || i, CASE i WHEN 0 THEN 'running' ELSE 'completed' END, 'all', "
        "CASE i % 2 WHEN 0 THEN 'dev' ELSE 'staging' END, 'custom', 'api', '{}', '{}', '{}', '', "
        f"{now}, {now}, {now + 10**9}, 1, i, 1, {rows} FROM {series}",
        "INSERT INTO shards (execution_id, shard_id, total, status, silence_deadline_at) "
        f"SELECT 'exec_' || i, '1', {rows}, CASE i WHEN 0 THEN 'running' ELSE 'completed' END, {now + 10**9} FROM {series}",
        "INSERT INTO submissions (id, execution_id, shard_id, received_at, tests, document) "
        f"SELECT 'sub_' || i, '{EXECUTION}', '1', {now}, 1, '{{}}' FROM {series}",
        "INSERT INTO projects (name, created_at) VALUES ('default', 0)",
        "INSERT INTO tests (project_id, key_hash, key, title, file, names_hash, first_seen, last_seen) "
        f"SELECT 1, {key_hash}, 'test ' || i, 'test ' || i, '', 0, {now}, {now} FROM {series}",
        "INSERT INTO test_cases (project_id, case_id, title, is_planned) "
        f"SELECT 1, 'TC-' || i, 'case ' || i, i % 2 = 0 FROM {series}",
        f"INSERT INTO test_case_links (case_number, test_id) SELECT i + 1, i + 1 FROM {series} WHERE i % 3 > 0",
        "INSERT INTO test_renames (test_id, earlier_id, is_same, decided_at) "
        f"SELECT i + 2, i + 1, i % 4 = 0, 0 FROM {series}",
        "INSERT INTO results (execution, sequence, test_id, shard_id, attempt, is_superseded, status, duration, "
        "retries, failed_before, is_flaky, document, digest) "
        "SELECT 0, i + 1, i + 1, '1', 1, false, CASE i % 100 WHEN 0 THEN 1 WHEN 1 THEN 2 ELSE 0 END, i, 0, false, "
        f"i % 100 = 2, i + 1, 0 FROM {series}",
        "INSERT INTO result_details (execution, sequence, error, cause, failing_since, failing_runs) "
        "SELECT 0, i + 1, 'wrong', CASE i % 100 WHEN 0 THEN i END, CASE i % 100 WHEN 0 THEN 0 END, 1 "
        f"FROM {series} WHERE i % 100 < 2",
        "INSERT INTO failure_causes (execution, fingerprint, project_id, exception, message, location, failures) "
        f"SELECT 0, i, 1, 'E', 'wrong', '', 1 FROM {series}",
        f"INSERT INTO result_documents (execution, first, documents) SELECT 0, i + 1, {documents} FROM {series}",
        f"INSERT INTO blobs (sha256, object, size, content_type) SELECT i, i, 1, 'text/plain' FROM {series}",
        "INSERT INTO artifacts (execution_id, sha256, name, size, content_type, created_at) "
        f"SELECT '{EXECUTION}', i, 'a.txt', 1, 'text/plain', {now} FROM {series}",
        f"INSERT INTO artifact_usage (execution_id, bytes) SELECT 'exec_' || i, 1 FROM {series}",
        f"INSERT INTO stray_objects (object, delete_at) SELECT 'stray ' || i, {now + 10**9} FROM {series}",
        "INSERT INTO events (execution_id, event, received_at, document) "
        f"SELECT '{EXECUTION}', 'execution.progress', {now}, '{{}}' FROM {series}",
        "INSERT INTO idempotent_responses (token_hash, key, request_hash, response, created_at) "
        f"SELECT 'me', 'key ' || i, '', '{{}}', {now} FROM {series}",
        "INSERT INTO sessions (hash, token_hash, created_at, expires_at) "
        f"SELECT 'hash ' || i, '', {now}, {now + 10**9} FROM {series}",
        "INSERT INTO queues (execution, created_at, ci_attempt, since, tests, left_out, weight, free, free_weight) "
        f"SELECT i, {now}, 1, 0, 1, 0, 1, '[]', 0 FROM {series}",
        f"INSERT INTO queue_tests (execution, first, document) SELECT i, 0, {documents} FROM {series}",
        "INSERT INTO queue_collections (execution, number, digest, tests, lacks) "
        f"SELECT i, 0, '', 1, {documents} FROM {series}",
        "INSERT INTO queue_runners (execution, runner, shard_id, collection, workers, lease_until) "
        f"SELECT i, 'r', '1', 0, 1, {now + 10**9} FROM {series}",
        "INSERT INTO queue_batches (execution, runner, number, ranges, is_open) "
        f"SELECT i, 'r', 1, '[]', true FROM {series}",
        "INSERT INTO webhooks (id, url, events, secret, retry, filters, extra, status, created_at) "
        f"SELECT CASE i WHEN 0 THEN '{PAUSED}' WHEN 1 THEN '{IDLE}' ELSE 'wh_' || i END, {hook}, "
        f"CASE i WHEN 0 THEN 'paused' ELSE 'active' END, {now} FROM {series} WHERE i < {webhooks}",
        *(
            "INSERT INTO deliveries (id, webhook_id, execution_id, event, body, status, created_at, due_at) "
            f"SELECT 'msg_{status}_' || i, '{webhook}', '{EXECUTION}', 'execution.started', '{{}}', '{status}', "
            f"{now}, {now} FROM {series} WHERE i < {number}"
            for webhook, status, number in (
                (PAUSED, "pending", rows),
                (IDLE, "delivered", rows),
                (IDLE, "failed", 10),
            )
        ),
    ]
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            for table in BIG:
                leaves = f"SELECT relid::regclass::text FROM pg_partition_tree('{table}') WHERE isleaf"
                for name in connection.scalars(text(leaves)).all():
                    connection.execute(text(f"ALTER TABLE {name} SET (autovacuum_enabled = false)"))
            connection.execute(text(f"SELECT setval('execution_numbers', {rows})"))
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%") if "generate" in statement else statement)


def empty_tables(database: Database) -> None:
    """Bring a PostgreSQL database to the state of a new one, in a tenth of the time that creates another."""
    names = ", ".join(table.name for table in tables.metadata.sorted_tables)
    with database.write() as connection:
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        connection.execute(text("ALTER SEQUENCE execution_numbers RESTART"))
        connection.execute(text("INSERT INTO blob_usage (bytes) VALUES (0)"))


@contextmanager
def filled_database(kind: str, folder: Path, rows: int, *, webhooks: int) -> Iterator[Database]:
    """A database of this kind (``sqlite`` or ``postgresql``), with ``rows`` rows of each kind."""
    with ExitStack() as stack:
        postgresql = stack.enter_context(upgraded_database()) if kind == "postgresql" else ""
        if not postgresql:
            write_sqlite_database(folder)
        database = Database(postgresql or f"sqlite:///{folder}/tms.sqlite3")
        stack.callback(database.close)
        fill(database, rows, webhooks=webhooks)
        yield database


@contextmanager
def serving(database: Database, folder: Path, **settings: object) -> Iterator[Api]:
    """A server on ``database`` in a thread of this process."""
    given = ServerSettings.read(
        {}, port=0, data_dir=folder, rate_limits="off", database_url=str(database.engine.url), **settings
    )
    token, secret = api_tokens.new_token("tests", clock.now(), api_tokens.SCOPES)
    with database.write() as connection:
        tokens.add(connection, token, api_tokens.hash_token(secret))
    with warnings.catch_warnings():  # tests elsewhere never load the framework
        warnings.simplefilter("ignore", DeprecationWarning)
        app = create_app(given, database)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
    server = uvicorn.Server(config)
    with listen(given) as sock:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        # A request before the server has started waits in the queue of the socket.
        api = Api(f"http://127.0.0.1:{sock.getsockname()[1]}/api", secret, folder)
        try:
            yield api
        finally:
            api.session.close()
            server.should_exit = True
            thread.join()
