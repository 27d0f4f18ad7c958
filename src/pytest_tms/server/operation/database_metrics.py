"""Metrics that are read from the database when ``/metrics`` is requested."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.domain import clock
from pytest_tms.server.metrics import gauge
from pytest_tms.server.store import pending_work
from pytest_tms.server.store.database import Database


def collect(database: Database) -> Iterator[Metric]:
    """Yield the metrics of a database; of one that does not respond only that it is down."""
    build = GaugeMetricFamily("tms_build_info", "The version of the server, as a label.", labels=["version"])
    build.add_metric([version("pytest-tms")], 1)
    yield build
    try:
        with database.read() as connection:
            found = pending_work.read(connection)
            waiters = None if database.is_sqlite else pending_work.lock_waiters(connection)
    except ServiceUnavailable:
        yield gauge("tms_database_up", "Whether the database responds.", 0)
        return
    now = clock.now()
    yield gauge("tms_database_up", "Whether the database responds.", 1)
    yield gauge("tms_deliveries_pending", "Deliveries that are to be sent, at most 10000.", found.pending)
    yield gauge(
        "tms_outbox_age_seconds",
        "Age of the oldest delivery to an active webhook that is to be sent.",
        _age(found.oldest_pending_at, now),
    )
    yield gauge(
        "tms_deliveries_overdue_seconds",
        "Time for which the oldest delivery to an active webhook has been due.",
        _age(found.oldest_due_at, now),
    )
    yield gauge("tms_executions_running", "Executions that run, at most 10000.", found.running)
    yield gauge(
        "tms_deadlines_overdue_seconds",
        "Time for which the oldest deadline of a running execution or shard has passed.",
        _age(found.oldest_deadline_at, now),
    )
    if waiters is not None:
        yield gauge("tms_database_lock_waiters", "Sessions of PostgreSQL that wait for a lock.", waiters)
    elif (file := database.engine.url.database) and (wal := Path(f"{file}-wal")).exists():
        yield gauge("tms_database_wal_bytes", "Size of SQLite's write-ahead log.", wal.stat().st_size)


def _age(at: int | None, now: int) -> float:
    """Return the seconds since a time, 0 if it has not come."""
    return 0.0 if at is None else max(0, now - at) / 1000
