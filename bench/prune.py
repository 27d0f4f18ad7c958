"""How long a writer waits while executions with many results are deleted: on SQLite and PostgreSQL."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

from sqlalchemy import text

from bench.server import databases
from bench.table import table
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.domain.ids import first_id
from pytest_tms.server.domain.retention import Retention
from pytest_tms.server.services.retention import prune
from pytest_tms.server.store.database import Database
from tests.helpers.filled_databases import fill

EXECUTIONS = 100
"""Executions that have the results."""
BETWEEN = 0.01
"""Seconds between two transactions of the writer."""


def measure(results: int) -> str:
    """Return the table: seconds of the deletion, and milliseconds of the writer."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, url in databases(Path(folder)):
            database = Database(url)
            database.upgrade(Path(folder))
            _fill(database, results // EXECUTIONS)
            alone = _Writer(database)
            time.sleep(3)
            alone.stop()
            writer = _Writer(database)
            begun = time.perf_counter()
            pruned = prune(database, Actor(id="command"), Retention(results=90 * DAY), time.sleep)
            seconds = time.perf_counter() - begun
            writer.stop()
            assert pruned.results == results // EXECUTIONS * EXECUTIONS
            rows.append([name, f"{seconds:.1f}", *alone.summary(), *writer.summary()])
            database.close()
    header = ["database", "seconds", "alone: median", "longest", "meanwhile: median", "longest"]
    return (
        f"pruning {results:,} results of {EXECUTIONS} executions; transactions of a concurrent writer in ms\n"
        f"{table(header, rows)}"
    )


def _fill(database: Database, results: int) -> None:
    """Give each execution as many results as the helper gives the first one."""
    fill(database, results)
    ids = f"'{first_id('exec', clock.now() - 100 * DAY)[:-6]}'"
    number = "printf('%06d', number)" if database.is_sqlite else "lpad(number::text, 6, '0')"
    old = f"number > 0 AND number <= {EXECUTIONS}"
    columns = {
        "results": "sequence, test_id, shard_id, attempt, is_superseded, status, duration, retries, "
        "failed_before, is_flaky, document, digest",
        "result_details": "sequence, error",
        "result_documents": "first, documents",
    }
    with database.write() as connection:
        for name in ("shards", "artifact_usage", "artifacts", "events", "submissions", "deliveries"):
            connection.execute(text(f"DELETE FROM {name}"))
        connection.execute(
            text(
                f"UPDATE executions SET id = {ids} || {number}, created_at = {clock.now() - 100 * DAY}, "
                f"results_stored = {results}, status = 'completed' WHERE {old}"
            )
        )
        for name, some in columns.items():
            connection.execute(
                text(
                    f"INSERT INTO {name} ({some}, execution) SELECT {some}, number "
                    f"FROM {name}, (SELECT number FROM executions WHERE {old}) AS old WHERE execution = 0"
                )
            )


class _Writer:
    """Writes in short transactions on a thread, and measures each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stopping = threading.Event()
        self._taken: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def summary(self) -> list[str]:
        taken = sorted(self._taken)
        return [f"{taken[len(taken) // 2] * 1000:.1f}", f"{taken[-1] * 1000:.1f}"]

    def _run(self) -> None:
        while not self._stopping.wait(BETWEEN):
            begun = time.perf_counter()
            with self._database.write() as connection:
                connection.execute(
                    text(
                        "INSERT INTO events (execution_id, event, received_at, document) "
                        "VALUES ('exec_0', 'shard.started', 0, '{}')"
                    )
                )
            self._taken.append(time.perf_counter() - begun)
