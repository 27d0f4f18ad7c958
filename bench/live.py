"""Live ingest: many shards that each send a batch of results a second, beside raw inserts of the same rows.

Each shard sends at its own times, one after another. The latency is counted from the time at which a message
was to be sent, so that a server that falls behind is seen.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from bench.ingest import _insert, _submission
from bench.server import POSTGRES, cpu_seconds, databases, serving
from bench.table import table

BATCH = 5
"""Tests of one message."""
START = 3.0
"""Seconds over which the shards begin."""


class _Message(NamedTuple):
    """One measured message; the latency is in seconds."""

    latency: float
    status: int


def measure(shards: int, seconds: int) -> str:
    """The table, for so many shards and seconds."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, database in databases(Path(folder)):
            several = [] if name == "SQLite" else [2]
            for workers, executions in itertools.product([1, *several], (1, max(1, shards // 10))):
                pids: list[int] = []
                place = Path(folder) / name
                environ = {"TMS_SERVER_WORKERS": str(workers)}
                with serving(place, "--database-url", database, environ=environ, pids=pids) as (url, token):
                    processes = [*pids, *_children(pids[0])]
                    cpu = sum(map(cpu_seconds, processes))
                    begun = time.perf_counter()
                    sent = asyncio.run(_run(url, token, executions, shards, seconds))
                    taken = time.perf_counter() - begun
                    cpu = sum(map(cpu_seconds, processes)) - cpu
                    memory = max(map(_peak_memory, processes))
                waits = sorted(each.latency for each in sent)
                stored = sum(each.status == 202 for each in sent) * BATCH
                rows.append(
                    [
                        name,
                        f"{workers}",
                        f"{executions}",
                        f"{stored / taken:,.0f}",
                        f"{statistics.median(waits) * 1000:,.0f}",
                        f"{waits[int(len(waits) * 0.99)] * 1000:,.0f}",
                        f"{cpu / len(sent) * 1000:.2f}",
                        f"{memory:.0f}",
                        f"{sum(each.status != 202 for each in sent)}",
                    ]
                )
        raw = list(_raw(Path(folder), shards * BATCH * seconds))
    columns = [
        "database",
        "workers",
        "executions",
        "results/s",
        "p50, ms",
        "p99, ms",
        "CPU, ms",
        "MB",
        "errors",
    ]
    return (
        f"{shards} live shards, each with {BATCH} results a second, for {seconds} s\n"
        f"{table(columns, rows)}\n\nthe same rows without a server, a second\n{table(['way', 'rows/s'], raw)}"
    )


async def _run(url: str, token: str, executions: int, shards: int, seconds: int) -> list[_Message]:
    created = []
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        for _ in range(executions):
            body = {"testSuite": "all", "environment": "dev", "configuration": {"shards": shards}}
            created.append(session.post(f"{url}/executions", json=body).json())
    start = time.perf_counter() + 1
    sent: list[_Message] = []
    await asyncio.gather(
        *(
            _shard(created[number % executions], number, start + START * number / shards, seconds, sent)
            for number in range(shards)
        )
    )
    return sent


async def _shard(
    execution: dict[str, Any], number: int, start: float, seconds: int, sent: list[_Message]
) -> None:
    parts = urlsplit(execution["webhookUrl"])
    assert parts.hostname is not None
    messages = [_request(execution, number, turn) for turn in range(seconds)]
    reader = writer = None
    for turn, request in enumerate(messages):
        due = start + turn
        await asyncio.sleep(due - time.perf_counter())
        try:
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(request)
            status = await _status(reader)
        except (OSError, EOFError):
            reader, status = None, 0
        sent.append(_Message(time.perf_counter() - due, status))
    if writer is not None:
        writer.close()


def _request(execution: dict[str, Any], number: int, turn: int) -> bytes:
    """Return a message of a shard as the plugin sends it, with a key against repetition."""
    parts = urlsplit(execution["webhookUrl"])
    given: Any = _submission(execution["executionId"], BATCH)["tests"]
    name = str(number)
    data = {
        "shardId": name,
        "shards": [name],
        "runner": f"runner-{number}",
        "status": "running",
        "tests": [{**each, "nodeId": f"t{number}.py::{turn}::{each['nodeId']}"} for each in given],
    }
    event = {"event": "execution.progress", "executionId": execution["executionId"], "data": data}
    body = json.dumps(event).encode()
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {execution['webhookToken']}\r\nContent-Length: {len(body)}\r\n"
        f"Idempotency-Key: {uuid.uuid4()}\r\n\r\n"
    )
    return head.encode() + body


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    )
    await reader.readexactly(length)
    return int(head[9:12])


def _raw(folder: Path, rows: int) -> Iterator[list[str]]:
    """Yield the rows a second of one sqlite3 executemany and of one COPY."""
    tests: Any = _submission("exec", rows)["tests"]
    yield ["sqlite3 executemany", f"{rows / _insert(folder / 'raw.sqlite3', tests):,.0f}"]
    try:
        import psycopg

        with psycopg.connect(f"{POSTGRES}/postgres", connect_timeout=2) as connection:
            connection.execute(
                "CREATE TEMPORARY TABLE raw (key text PRIMARY KEY, title text, file text, status text, "
                "duration bigint, document text)"
            )
            begun = time.perf_counter()
            with connection.cursor().copy("COPY raw FROM STDIN") as copy:
                for test in tests:
                    names = ("nodeId", "title", "file", "status", "duration")
                    copy.write_row((*(test[name] for name in names), json.dumps(test)))
            connection.commit()
            yield ["COPY", f"{rows / (time.perf_counter() - begun):,.0f}"]
    except (ImportError, psycopg.OperationalError):
        return


def _children(pid: int) -> list[int]:
    """Return the worker processes of a server."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _peak_memory(pid: int) -> float:
    """Return the most memory that a process has taken, in MB."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024
