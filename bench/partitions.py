"""What partitions by time give and cost on PostgreSQL: retention as a drop, and queries that name no time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from bench.server import databases
from bench.table import table
from pytest_tms.server.store.database import Database

WEEKS, DAYS = 26, 30
"""Partitions of results, and of deliveries."""
TIMES = 30
DOCUMENTS = """
    INSERT INTO {name} SELECT i, 1, (
        SELECT decode(string_agg(md5(i::text || '.' || j::text), ''), 'hex')
        FROM generate_series(1, 256) AS m(j)
    ) FROM generate_series(0, {last}) AS n(i)
"""
RESULTS = """
    INSERT INTO {name} SELECT i / 200, i, i % 20000, 'shard', 1, i FROM generate_series(0, {last}) AS n(i)
"""
DELIVERIES = """
    INSERT INTO {name} SELECT i, 'wh_' || i % 10, 'exec_' || i / 4, i,
        CASE WHEN i > {last} - 1000 THEN 'pending' ELSE 'delivered' END
    FROM generate_series(0, {last}) AS n(i)
"""
HISTORY = "SELECT * FROM {name} WHERE test_id = 7 ORDER BY execution DESC LIMIT 50"
DUE = """
    SELECT * FROM {name} AS d WHERE webhook_id = 'wh_3' AND status = 'pending' AND due_at + 0 <= 1000000000
    AND (SELECT max(due_at) FROM {name} AS w WHERE w.webhook_id = d.webhook_id
        AND w.execution_id = d.execution_id AND w.status = 'pending') <= 1000000000
    ORDER BY number LIMIT 128
"""


def measure(rows: int) -> str:
    """The table, for ``rows`` results."""
    found: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, url in databases(Path(folder)):
            if name != "PostgreSQL":
                continue
            database = Database(url)
            with database.write() as connection:
                found += [*_retention(connection, rows // 10), *_queries(connection, rows)]
            database.close()
    return (
        f"{rows:,} results and deliveries, {rows // 10:,} rows of documents of 4 kB; times in milliseconds\n"
        f"{table(['', 'one table', 'partitions'], found)}"
    )


def _retention(connection: Connection, rows: int) -> list[list[str]]:
    key = "execution bigint, first bigint, documents bytea NOT NULL, PRIMARY KEY (execution, first)"
    connection.execute(text(f"CREATE TABLE documents ({key})"))
    connection.execute(text(f"CREATE TABLE parts ({key}) PARTITION BY RANGE (execution)"))
    half = rows // 2
    connection.execute(text(f"CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO ({half})"))
    connection.execute(text("CREATE TABLE parts_default PARTITION OF parts DEFAULT"))
    inserted = [
        _seconds(connection, DOCUMENTS.format(name=name, last=rows - 1)) for name in ("documents", "parts")
    ]
    deleted = sum(
        _seconds(
            connection, f"DELETE FROM documents WHERE execution >= {first} AND execution < {first + 200}"
        )  # numbers
        for first in range(0, half, 200)
    )
    dropped = _seconds(connection, "DROP TABLE parts_1")
    return [
        ["insert documents", *(f"{each * 1000:,.0f}" for each in inserted)],
        ["delete half of them, without VACUUM", f"{deleted * 1000:,.0f}", f"{dropped * 1000:,.1f}"],
    ]


def _queries(connection: Connection, rows: int) -> list[list[str]]:
    found = []
    kinds = (
        (
            "history of a test, by its index",
            "execution bigint, sequence bigint, test_id bigint, shard_id text, attempt int, duration bigint, "
            "PRIMARY KEY (execution, sequence)",
            "execution",
            rows // 200 // WEEKS + 1,
            WEEKS,
            ["(test_id, execution, shard_id, attempt)"],
            RESULTS,
            HISTORY,
        ),
        (
            "due deliveries of a webhook",
            "number bigint PRIMARY KEY, webhook_id text, execution_id text, due_at bigint, status text",
            "number",
            rows // DAYS + 1,
            DAYS,
            [
                "(webhook_id, number, due_at, execution_id) WHERE status = 'pending'",
                "(execution_id, webhook_id, due_at) WHERE status = 'pending'",
            ],
            DELIVERIES,
            DUE,
        ),
    )
    for what, columns, key, width, parts, indexes, fill, query in kinds:
        for name in ("one", "split"):
            suffix = f" PARTITION BY RANGE ({key})" if name == "split" else ""
            connection.execute(text(f"CREATE TABLE {name} ({columns}){suffix}"))
            for number in range(parts if suffix else 0):
                bounds = f"FROM ({number * width}) TO ({(number + 1) * width})"
                connection.execute(
                    text(f"CREATE TABLE split_{number} PARTITION OF split FOR VALUES {bounds}")
                )
            if suffix:
                connection.execute(text("CREATE TABLE split_default PARTITION OF split DEFAULT"))
            for index in indexes:
                connection.execute(text(f"CREATE INDEX ON {name} {index}"))
            connection.execute(text(fill.format(name=name, last=rows - 1)))
            connection.execute(text(f"ANALYZE {name}"))
        pages = [_pages(connection, query.format(name=name)) for name in ("one", "split")]
        found.append([f"{what}: pages that are read", *(f"{each:,}" for each in pages)])
        times = [_best(connection, query.format(name=name)) for name in ("one", "split")]
        found.append([f"{what}: best of {TIMES}", *(f"{each * 1000:.2f}" for each in times)])
        connection.execute(text("DROP TABLE one, split"))
    return found


def _pages(connection: Connection, query: str) -> int:
    """Return how many pages a query reads, which does not depend on the load of the machine."""
    explained: Any = connection.scalar(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}"))
    plan = explained[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _best(connection: Connection, query: str) -> float:
    return min(_seconds(connection, query) for _ in range(TIMES))


def _seconds(connection: Connection, statement: str) -> float:
    begun = time.perf_counter()
    result: Any = connection.execute(text(statement))
    if result.returns_rows:
        result.all()
    return time.perf_counter() - begun
