"""What webhooks cost: deliveries a second, the time from commit to first byte, and the outbox's share."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import requests
from sqlalchemy import BigInteger, Integer, insert, select

from bench.server import cpu_seconds, databases, serving
from bench.table import table
from pytest_tms.server.store import tables
from pytest_tms.server.store.database import Database

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
ENVIRON = {"TMS_SERVER_ALLOW_INSECURE_WEBHOOKS": "1", "TMS_SERVER_WEBHOOK_RATE": "0"}
RATE = 100
"""Events a second while the latency is measured."""


class _Subscriber(asyncio.Protocol):
    """Answers at once, and notes when each payload's first byte came."""

    def __init__(self, arrived: list[tuple[float, bytes]]) -> None:
        self._arrived = arrived
        self._buffer = b""
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._since = self._since or time.time()
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if end and len(rest) >= length:
            self._arrived.append((self._since, rest[:length]))
            self._buffer, self._since = rest[length:], 0.0
            self._transport.write(OK)


@contextmanager
def _subscribing() -> Iterator[tuple[str, list[tuple[float, bytes]]]]:
    arrived: list[tuple[float, bytes]] = []
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: _Subscriber(arrived), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", arrived
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def measure(events: int) -> str:
    """The table, for ``events`` deliveries of each kind."""
    os.environ.update(ENVIRON)
    with (
        tempfile.TemporaryDirectory() as folder,
        _subscribing() as (endpoint, arrived),
        serving(Path(folder) / "data") as (url, token),
    ):
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token}"

        def ask(method: str, path: str, body: object) -> dict[str, str]:
            response = session.request(method, f"{url}{path}", json=body)
            assert response.ok, response.text
            found: dict[str, str] = response.json()
            return found

        def run() -> float:
            """An execution with its results; the seconds of POST /results."""
            created = ask("POST", "/executions", {"testSuite": "all", "environment": "dev"})
            begun = time.perf_counter()
            tests = [{"title": str(number), "status": "passed"} for number in range(100)]
            ask("POST", "/results", {"executionId": created["executionId"], "shardId": "1", "tests": tests})
            return time.perf_counter() - begun

        silent = [run() for _ in range(100)]
        kinds = ["execution.started", "shard.started", "shard.completed", "execution.completed"]
        hook = ask("POST", "/webhooks", {"url": endpoint, "events": kinds})["webhookId"]
        durations, begun = [], time.perf_counter()
        for number in range(events // len(kinds)):
            durations.append(run())
            time.sleep(max(0, begun + (number + 1) * len(kinds) / RATE - time.perf_counter()))
        _wait(arrived, len(durations) * len(kinds))
        waits = sorted(at - _timestamp(body) for at, body in arrived)
        ask("PATCH", f"/webhooks/{hook}", {"status": "paused"})
        for _ in range(events // len(kinds)):
            run()
        arrived.clear()
        begun = time.perf_counter()
        ask("PATCH", f"/webhooks/{hook}", {"status": "active"})
        _wait(arrived, events // len(kinds) * len(kinds))
        taken = time.perf_counter() - begun
    rows = [
        ["deliveries a second, one subscriber, no limit", f"{len(arrived) / taken:,.0f}"],
        [f"commit to first byte at {RATE} a second, median, ms", f"{statistics.median(waits) * 1000:.0f}"],
        ["the same, p99, ms", f"{waits[int(len(waits) * 0.99)] * 1000:.0f}"],
        ["POST /results of 100 tests, nobody subscribed, ms", f"{statistics.median(silent) * 1000:.1f}"],
        ["the same, with a subscriber to its 4 events, ms", f"{statistics.median(durations) * 1000:.1f}"],
    ]
    return f"{events:,} deliveries from SQLite\n{table(['measure', 'value'], rows)}"


def backlog(events: int) -> str:
    """The table: deliveries a second of a backlog, also while another transaction stays open."""
    os.environ.update(ENVIRON)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, database_url in databases(Path(folder)):
            for is_held in (False, True):
                kind = "beside an open transaction" if is_held else "alone"
                pids: list[int] = []
                with (
                    _subscribing() as (endpoint, arrived),
                    serving(Path(folder) / name, "--database-url", database_url, pids=pids) as (url, token),
                ):
                    database = Database(database_url)
                    response = requests.post(
                        f"{url}/webhooks",
                        json={"url": endpoint, "events": ["execution.completed"]},
                        headers={"Authorization": f"Bearer {token}"},
                        timeout=60,
                    )
                    assert response.ok, response.text
                    with _held(database, is_held):
                        _fill(database, response.json()["webhookId"], events)
                        cpu, begun = cpu_seconds(pids[0]), time.perf_counter()
                        halfway = _wait(arrived, events // 2)
                        _wait(arrived, events)
                        taken = time.perf_counter() - begun
                        cpu = cpu_seconds(pids[0]) - cpu
                    database.close()
                second = events / 2 / (begun + taken - halfway)
                rows.append(
                    [name, kind, f"{events / taken:,.0f}", f"{second:,.0f}", f"{cpu / events * 1e6:.0f}"]
                )
    columns = ["database", "", "a second", "second half", "µs of CPU each"]
    return f"{events:,} deliveries of a backlog to one local subscriber, no limit\n{table(columns, rows)}"


@contextmanager
def _held(database: Database, is_held: bool) -> Iterator[None]:
    """Keep a transaction open that sees the database as it is now, so that no old row can be removed."""
    if not is_held:
        yield
        return
    with database.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            connection.execute(select(tables.webhooks)).all()
            yield


def _fill(database: Database, webhook_id: str, events: int) -> None:
    """Write a backlog of four events for each execution."""
    now = time.time_ns() // 1_000_000
    body = json.dumps({"timestamp": "2026-01-01T00:00:00Z", "data": {"text": "x" * 700}})
    with database.write() as connection:
        known = select(tables.executions)
        values = {column.name: "" for column in tables.executions.c if not column.nullable}
        numbers = {
            column.name: 0
            for column in tables.executions.c
            if not column.nullable and isinstance(column.type, BigInteger | Integer)
        }
        first = len(connection.execute(known).all())
        executions = [
            {
                **values,
                **numbers,
                "id": f"exec_{first + number}",
                "number": 10**6 + first + number,
                "status": "completed",
                "timeout_given": False,
                "cancelled_by_user": False,
            }
            for number in range(events // 4 + 1)
        ]
        connection.execute(insert(tables.executions), executions)
        connection.execute(
            insert(tables.deliveries),
            [
                {
                    "id": f"msg_{first}_{number}",
                    "webhook_id": webhook_id,
                    "execution_id": executions[number // 4]["id"],
                    "event": "execution.completed",
                    "body": body,
                    "status": "pending",
                    "created_at": now,
                    "due_at": now,
                }
                for number in range(events)
            ],
        )


def _wait(arrived: list[tuple[float, bytes]], number: int) -> float:
    """Wait until so many deliveries have arrived, and return the time of ``time.perf_counter``."""
    deadline = time.monotonic() + 300
    while len(arrived) < number:
        if time.monotonic() > deadline:
            raise SystemExit(f"only {len(arrived)} of {number} deliveries arrived")
        time.sleep(0.001)
    return time.perf_counter()


def _timestamp(body: bytes) -> float:
    """When the event was written, just before its commit."""
    moment: str = json.loads(body)["timestamp"]
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
