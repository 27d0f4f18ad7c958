"""Jobs that join one execution at once, and lists of many executions: on SQLite and PostgreSQL."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from urllib.parse import urlencode

import requests
from sqlalchemy import text

from bench.server import databases, serving
from bench.table import table
from pytest_tms.server.store.database import Database
from tests.helpers.filled_databases import fill

JOBS = 50
TIMES = 5
LISTS = {
    "the newest": {},
    "by branch": {"branch": "none"},
    "by state": {"status": "failed"},
    "by text, which none has": {"q": "nowhere"},
    "by all": {"testSuite": "all", "environment": "dev", "provider": "custom", "q": "exec"},
}
"""Lists by their parameters."""


def measure(executions: int) -> str:
    """Return the table: milliseconds of a join, and of a page of a list."""
    found: dict[str, list[str]] = {}
    names = []
    with tempfile.TemporaryDirectory() as folder:
        for name, url in databases(Path(folder)):
            names.append(name)
            database = Database(url)
            database.upgrade(Path(folder))
            fill(database, executions)
            with database.write() as connection:  # their secrets are none that a server could decrypt
                connection.execute(text("DELETE FROM deliveries"))
                connection.execute(text("DELETE FROM webhooks"))
            database.close()
            with serving(Path(folder) / name, "--database-url", url) as (api, token):
                for what, milliseconds in _measured(api, {"Authorization": f"Bearer {token}"}):
                    found.setdefault(what, []).append(f"{milliseconds:.0f}")
    rows = [[what, *values] for what, values in found.items()]
    return (
        f"{executions:,} executions; milliseconds, lists best of {TIMES}\n{table(['request', *names], rows)}"
    )


def _measured(api: str, headers: dict[str, str]) -> list[tuple[str, float]]:
    joins = sorted(each for turn in range(TIMES) for each in _join(api, headers, f"run {turn}"))
    measured = [
        (f"{JOBS} joins at once, median", joins[len(joins) // 2]),
        (f"{JOBS} joins at once, p99", joins[int(len(joins) * 0.99)]),
    ]
    with requests.Session() as session:
        session.headers.update(headers)
        for what, query in LISTS.items():
            taken = []
            for _ in range(TIMES):
                begun = time.perf_counter()
                session.get(f"{api}/executions?{urlencode(query)}", timeout=60).raise_for_status()
                taken.append(time.perf_counter() - begun)
            measured.append((f"list {what}", min(taken) * 1000))
    return measured


def _join(api: str, headers: dict[str, str], key: str) -> list[float]:
    """Return the milliseconds of each of ``JOBS`` requests with one run key."""
    barrier = Barrier(JOBS)
    body = {"testSuite": "all", "environment": "dev", "runKey": key, "configuration": {"shards": JOBS}}

    def join(_: int) -> tuple[str, float]:
        with requests.Session() as session:
            barrier.wait()
            begun = time.perf_counter()
            response = session.post(f"{api}/executions", json=body, headers=headers, timeout=60)
            taken = time.perf_counter() - begun
        response.raise_for_status()
        return response.json()["executionId"], taken * 1000

    with ThreadPoolExecutor(JOBS) as pool:
        joined = list(pool.map(join, range(JOBS)))
    assert len({execution for execution, _ in joined}) == 1
    return [taken for _, taken in joined]
