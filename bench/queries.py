"""What the outbox costs beside 50 webhooks, one of them paused with many events: on SQLite and PostgreSQL."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.server import databases
from bench.table import table
from pytest_tms.server.domain import clock
from pytest_tms.server.store import deliveries, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.deliveries import NewDelivery
from tests.helpers.filled_databases import EXECUTION, PAUSED, fill

WEBHOOKS = 50
TIMES = 20


def measure(events: int) -> str:
    """The table: milliseconds."""
    found: dict[str, list[str]] = {}
    names = []
    with tempfile.TemporaryDirectory() as folder:
        for name, url in databases(Path(folder)):
            names.append(name)
            database = Database(url)
            database.upgrade(Path(folder))
            fill(database, events, webhooks=WEBHOOKS)
            for what, seconds in _measured(database):
                found.setdefault(what, []).append(f"{seconds * 1000:.2f}")
            database.close()
    rows = [[what, *values] for what, values in found.items()]
    return (
        f"{WEBHOOKS} webhooks, one paused with {events:,} events; milliseconds, best of {TIMES}\n"
        f"{table(['statement', *names], rows)}"
    )


def _measured(database: Database) -> list[tuple[str, float]]:
    now = clock.now()

    def enqueue() -> None:
        rows = [
            NewDelivery(f"msg_{time.perf_counter_ns()}", PAUSED, EXECUTION, "x", "{}", "pending", now, now)
        ]
        with database.write() as connection:
            deliveries.enqueue(connection, rows)

    def read(function: Callable[..., object], *arguments: object) -> Callable[[], None]:
        def run() -> None:
            with database.read() as connection:
                function(connection, *arguments)

        return run

    return [
        ("claimable(): is anything due?", _best(read(webhooks.claimable, now + 1))),
        ("enqueue() of one event, whole transaction", _best(enqueue)),
        ("due(): the next 128 events", _best(read(deliveries.due, PAUSED, (), now + 1, 128))),
        ("expired(): deliveries to delete", _best(read(deliveries.expired, now, 500))),
    ]


def _best(run: Callable[[], None]) -> float:
    taken = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return min(taken)
