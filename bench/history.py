"""What a long history costs: results of a few runs beside the same with millions of stored results.

Two runs are reported through the API, the others are copies of the first in the database. Every run has its
tests in another order than they are numbered, so that rows of the index of history are scattered.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests
from sqlalchemy import text

from bench.server import databases, serving
from bench.table import table
from pytest_tms.server.store import tables, test_history
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.test_history import HistoryFilter

TESTS = 100_000
"""Tests of each run."""
SAMPLES = 20
"""Tests whose history is read."""
LIMIT = 50
"""Results of a test that are read."""


def measure(results: int, rounds: int) -> str:
    """The table: ingest, calls and pages with few and with ``results`` stored results."""
    found: dict[str, list[str]] = {}
    names = []
    few = (1 + rounds) * TESTS
    with tempfile.TemporaryDirectory() as folder:
        for name, database_url in databases(Path(folder)):
            names += [f"{name}, {few:,}", f"{name}, {results:,}"]
            with serving(Path(folder) / name, "--database-url", database_url) as (api, token):
                session = requests.Session()
                session.headers["Authorization"] = f"Bearer {token}"
                database = Database(database_url)
                first, _ = _report(session, api, seed=0)
                for copies in (0, results // TESTS - 1 - 2 * rounds):
                    _copy(session, api, database, first, copies)
                    for what, value in _measured(session, api, database, rounds):
                        found.setdefault(what, []).append(value)
                database.close()
    rows = [[what, *values] for what, values in found.items()]
    return f"runs of {TESTS:,} tests; medians of {rounds} rounds\n{table(['stored results', *names], rows)}"


def _measured(session: requests.Session, api: str, database: Database, rounds: int) -> list[tuple[str, str]]:
    """Report some runs, and read the last one and the history of its tests."""
    runs = [_report(session, api, seed=1 + turn) for turn in range(rounds)]
    last, before = runs[-1][0], runs[-2][0]
    with database.write() as connection:
        connection.execute(text("ANALYZE"))  # autovacuum may be switched off
    test_ids = _sample(database)
    queries: list[Callable[[], object]] = [_reading(database, test_id) for test_id in test_ids]
    found = [
        ("results a second", f"{TESTS / statistics.median(seconds for _, seconds in runs):,.0f}"),
        (f"last {LIMIT} results of a test: the query, ms", f"{1000 * _median(queries, rounds):.1f}"),
    ]
    page = f"{api.removesuffix('/api')}/runs/{last}"
    urls = {
        f"GET /tests/{{key}}/history?limit={LIMIT}": [
            f"{api}/tests/{test_id}/history?limit={LIMIT}" for test_id in test_ids
        ],
        "page of a test": [f"{api.removesuffix('/api')}/tests/{test_id}" for test_id in test_ids],
        "GET /executions/{id}": [f"{api}/executions/{last}"],
        "GET /executions": [f"{api}/executions"],
        "GET /executions/{id}/compare": [f"{api}/executions/{last}/compare?with={before}"],
        "GET /tests?flaky=true": [f"{api}/tests?flaky=true&testSuite=all"],
        "page of a run": [page],
        "tests of a run": [f"{page}/tests"],
        "failed tests of a run": [f"{page}/tests?status=failed"],
        "search in a run": [f"{page}/tests?q=case_77"],
    }
    for what, some in urls.items():
        calls = [_getting(session, url) for url in some]
        found.append((f"{what}, ms", f"{1000 * _median(calls, rounds):.0f}"))
    return found


def _report(session: requests.Session, api: str, seed: int) -> tuple[str, float]:
    """Report a run; return its id, and the seconds that POST /results took."""
    created = session.post(f"{api}/executions", json={"testSuite": "all", "environment": "dev"}).json()
    tests = [_test(number, seed) for number in range(TESTS)]
    random.Random(seed).shuffle(tests)
    message = {"executionId": created["executionId"], "shardId": "1", "status": "completed", "tests": tests}
    body = json.dumps(message).encode()
    begun = time.perf_counter()
    response = session.post(f"{api}/results", data=body, headers={"Content-Type": "application/json"})
    seconds = time.perf_counter() - begun
    response.raise_for_status()
    return created["executionId"], seconds


def _test(number: int, seed: int) -> dict[str, object]:
    """Return a result: one of 100 tests fails in every run, one of 500 is flaky in one run of three."""
    file = f"tests/part_{number % 20}/test_{number % 500}.py"
    test: dict[str, object] = {
        "title": f"test_case_{number}",
        "nodeId": f"{file}::test_case_{number}",
        "file": file,
        "status": "passed",
        "duration": number % 977,
    }
    if number % 100 == 0:
        test |= {"status": "failed", "error": f"KeyError: 'customer {number % 7}'"}
    elif number % 500 == 1 and (number // 500 + seed) % 3 == 0:
        test["retries"] = 1
    return test


def _copy(session: requests.Session, api: str, database: Database, first: str, runs: int) -> None:
    """Give further executions the results of the first one."""
    with database.read() as connection:
        columns = {
            name: [each.name for each in tables.metadata.tables[name].columns if each.name != "execution"]
            for name in ("results", "result_details", "failure_causes")
        }
        source = connection.scalar(text("SELECT number FROM executions WHERE id = :id"), {"id": first})
    for _ in range(runs):
        created = session.post(f"{api}/executions", json={"testSuite": "all", "environment": "dev"}).json()
        with database.write() as connection:
            given = {"id": created["executionId"], "source": source}
            number = connection.scalar(text("SELECT number FROM executions WHERE id = :id"), given)
            for name, some in columns.items():
                names = ", ".join(f'"{each}"' for each in some)
                connection.execute(
                    text(
                        f"INSERT INTO {name} (execution, {names}) SELECT {number}, {names} FROM {name} "
                        "WHERE execution = :source"
                    ),
                    given,
                )
            counts = "total, passed, failed, skipped, flaky, results_stored, previous"
            values = ", ".join(
                f"(SELECT {each} FROM executions WHERE number = :source)" for each in counts.split(", ")
            )
            connection.execute(
                text(f"UPDATE executions SET status = 'completed', ({counts}) = ({values}) WHERE id = :id"),
                given,
            )


def _sample(database: Database) -> list[int]:
    with database.read() as connection:
        test_ids = list(connection.scalars(text("SELECT id FROM tests ORDER BY id")))
    return random.Random(0).sample(test_ids, SAMPLES)


def _reading(database: Database, test_id: int) -> Callable[[], object]:
    def read() -> object:
        with database.read() as connection:
            return test_history.history(connection, test_id, HistoryFilter(), limit=LIMIT)

    return read


def _getting(session: requests.Session, url: str) -> Callable[[], object]:
    def get() -> object:
        response = session.get(url)
        response.raise_for_status()
        return response

    return get


def _median(calls: list[Callable[[], object]], rounds: int) -> float:
    """Return the seconds of a call, the median of all."""
    taken = []
    for call in calls * (rounds + 1):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[len(calls) :])
