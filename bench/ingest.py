"""What ingest costs: a /results of many tests beside json.loads and a raw executemany of its rows, what
a message of a live shard costs when the shard has many tests beside when it has few, and what the same
submission costs a second time, on SQLite and on PostgreSQL without statistics.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from bench.server import databases, serving
from bench.table import table

LIVE = 200
"""Tests of a message of a live shard."""
COLUMNS = ("test_key", "title", "file", "status", "duration", "retries", "error", "document")


def measure(tests: int, rounds: int) -> str:
    """The table: seconds, medians over ``rounds`` interleaved rounds, and the ratio of each round."""
    whole, parse, insert, ratio = [], [], [], []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as (url, token):
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token}"
        for turn in range(rounds + 1):
            created = session.post(
                f"{url}/executions", json={"testSuite": "all", "environment": "dev"}
            ).json()
            body = json.dumps(_submission(created["executionId"], tests)).encode()
            begun = time.perf_counter()
            response = session.post(f"{url}/results", data=body, headers={"Content-Type": "application/json"})
            taken = time.perf_counter() - begun
            assert response.status_code == 201, response.text
            begun = time.perf_counter()
            document = json.loads(body)
            parsed = time.perf_counter() - begun
            inserted = _insert(Path(folder) / f"raw{turn}.sqlite3", document["tests"])
            if turn:
                whole.append(taken)
                parse.append(parsed)
                insert.append(inserted)
                ratio.append(taken / (parsed + inserted))
        first, last = _live(session, url, tests)
    rows = [
        ["POST /results, whole request", f"{statistics.median(whole):.2f}"],
        ["json.loads of its body", f"{statistics.median(parse):.2f}"],
        ["sqlite3 executemany of its rows", f"{statistics.median(insert):.2f}"],
        ["ratio of the first to the sum", f"{statistics.median(ratio):.2f}"],
        [f"live, the first {LIVE} tests of a shard", f"{first:.3f}"],
        [f"live, its last {LIVE}", f"{last:.3f}"],
    ]
    megabytes = len(body) / 1e6
    return (
        f"{tests:,} tests in one submission of {megabytes:.0f} MB into SQLite, medians of {rounds} rounds\n"
        f"{table(['step', 'seconds'], rows)}"
    )


def again(tests: int, rounds: int) -> str:
    """The table: seconds of a submission, of the same again, and of the same with other results."""
    found: dict[str, list[str]] = {}
    names = []
    with tempfile.TemporaryDirectory() as folder:
        for name, database in databases(Path(folder)):
            names.append(name)
            taken: dict[str, list[float]] = {}
            with serving(Path(folder) / name, "--database-url", database) as (url, token):
                session = requests.Session()
                session.headers["Authorization"] = f"Bearer {token}"
                for _ in range(rounds):
                    for what, seconds in _submitted(session, url, tests):
                        taken.setdefault(what, []).append(seconds)
            for what, values in taken.items():
                found.setdefault(what, []).append(f"{statistics.median(values):.2f}")
    rows = [[what, *values] for what, values in found.items()]
    return f"{tests:,} tests, seconds, medians of {rounds} rounds\n{table(['submission', *names], rows)}"


def _submitted(session: requests.Session, url: str, tests: int) -> Iterator[tuple[str, float]]:
    created = session.post(f"{url}/executions", json={"testSuite": "all", "environment": "dev"}).json()
    document = _submission(created["executionId"], tests)
    changed = json.loads(json.dumps(document).replace('"passed"', '"skipped"'))
    for what, sent in (("fresh", document), ("the same again", document), ("with other results", changed)):
        body = json.dumps(sent).encode()
        begun = time.perf_counter()
        response = session.post(f"{url}/results", data=body, headers={"Content-Type": "application/json"})
        yield what, time.perf_counter() - begun
        assert response.status_code == 201, response.text


def _live(session: requests.Session, url: str, tests: int) -> tuple[float, float]:
    """Seconds that a message of a live shard takes, medians of the first and of the last twenty."""
    created = session.post(f"{url}/executions", json={"testSuite": "all", "environment": "dev"}).json()
    given = _submission(created["executionId"], tests)["tests"]
    assert isinstance(given, list)
    taken = []
    for start in range(0, tests, LIVE):
        data = {"shardId": "1", "tests": given[start : start + LIVE]}
        event = {"event": "execution.progress", "executionId": created["executionId"], "data": data}
        begun = time.perf_counter()
        response = session.post(created["webhookUrl"], json=event)
        taken.append(time.perf_counter() - begun)
        assert response.status_code == 202, response.text
    return statistics.median(taken[:20]), statistics.median(taken[-20:])


def _submission(execution_id: str, tests: int) -> dict[str, object]:
    return {
        "executionId": execution_id,
        "shardId": "1",
        "status": "completed",
        "tests": [
            {
                "title": f"TestCart::test_total[{number}]",
                "file": f"tests/unit/test_module_{number % 200}.py",
                "status": "failed" if number % 50 == 0 else "passed",
                "duration": number % 977,
                "retries": 0,
                "tags": ["@smoke", "@cart"],
                "nodeId": f"tests/unit/test_module_{number % 200}.py::TestCart::test_total[{number}]",
                "outcome": "failed" if number % 50 == 0 else "passed",
                "startedAt": "2026-01-01T00:00:00.000Z",
                **({"error": "assert 41 == 42"} if number % 50 == 0 else {}),
            }
            for number in range(tests)
        ],
    }


def _insert(path: Path, tests: list[dict[str, object]]) -> float:
    """Seconds to write the same rows, unique by key, without anything else."""
    rows = [
        (
            test["nodeId"],
            test["title"],
            test["file"],
            test["status"],
            test["duration"],
            test["retries"],
            test.get("error"),
            json.dumps(test),
        )
        for test in tests
    ]
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"CREATE TABLE tests ({', '.join(COLUMNS)}, UNIQUE (test_key))")
    begun = time.perf_counter()
    with connection:
        connection.executemany(f"INSERT INTO tests VALUES ({', '.join('?' * len(COLUMNS))})", rows)
    taken = time.perf_counter() - begun
    connection.close()
    return taken
