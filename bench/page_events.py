"""What open pages cost: the time from a result to the event on an open page, on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from bench.server import databases, serving
from bench.table import table

POSTS = 15
"""Results of each shard."""
INTERVAL = 1.0
"""Seconds between two results of one shard."""
LAST_EVENT = 1.0
"""Seconds for which the last event of each page is awaited; it may have preceded the last response."""


def measure(shards: int, pages: int) -> str:
    """The table: milliseconds from the response to a result to the event with its version, on each page.

    ``shards`` shards post, at times that differ, while ``pages`` streams of the same execution are open.
    """
    rows: dict[str, list[str]] = {}
    names = []
    with tempfile.TemporaryDirectory() as folder:
        for name, database in databases(Path(folder)):
            names.append(name)
            used = []
            for number in (0, pages):
                before = _children_cpu()
                data = Path(folder) / name
                with serving(data, "--database-url", database) as (url, token):
                    found = _events(url, token, shards, number)
                used.append(_children_cpu() - before)
            seconds = POSTS * INTERVAL
            found.append(("CPU for the pages, % of one", f"{100 * (used[1] - used[0]) / seconds:.0f}"))
            for what, value in found:
                rows.setdefault(what, []).append(value)
    title = f"{shards} shards that post a result each second, {pages} open pages"
    return (
        f"{title}\n{table(['event to screen', *names], [[what, *values] for what, values in rows.items()])}"
    )


def _children_cpu() -> float:
    """Return the seconds of CPU time of the processes that have ended: servers, with their start."""
    times = os.times()
    return times.children_user + times.children_system


def _events(url: str, token: str, shards: int, pages: int) -> list[tuple[str, str]]:
    headers = {"Authorization": f"Bearer {token}"}
    body = {"testSuite": "all", "environment": "dev", "configuration": {"shards": shards}}
    created = requests.post(f"{url}/executions", json=body, headers=headers, timeout=30).json()
    stream = f"{url.removesuffix('/api')}/runs/{created['executionId']}/stream"
    posted: list[float] = []
    arrived: list[list[float]] = [[] for _ in range(pages)]
    opened = threading.Barrier(pages + 1)

    def follow(times: list[float]) -> None:
        with suppress(requests.RequestException), requests.get(stream, stream=True, timeout=60) as response:
            for line in response.iter_lines(chunk_size=1):
                if line == b"event: opened":
                    opened.wait()
                elif line == b"event: changed":
                    times.append(time.perf_counter())

    def post(shard: int) -> None:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {created['webhookToken']}"
        begun = time.perf_counter() + shard * INTERVAL / shards
        for number in range(POSTS):
            time.sleep(max(0.0, begun + number * INTERVAL - time.perf_counter()))
            tests = [{"title": f"t{number}", "status": "passed", "file": f"s{shard}.py", "duration": 1}]
            data: dict[str, Any] = {"shardId": str(shard), "tests": tests}
            event = {"event": "execution.progress", "executionId": created["executionId"], "data": data}
            response = session.post(created["webhookUrl"], json=event, timeout=30)
            assert response.status_code == 202, response.text
            posted.append(time.perf_counter())

    readers = [threading.Thread(target=follow, args=(times,), daemon=True) for times in arrived]
    for reader in readers:
        reader.start()
    opened.wait()
    begun = time.perf_counter()
    with ThreadPoolExecutor(shards) as pool:
        list(pool.map(post, range(shards)))
    taken = time.perf_counter() - begun
    last = max(posted)
    deadline = last + LAST_EVENT
    while any(not times or times[-1] < last for times in arrived) and time.perf_counter() < deadline:
        time.sleep(0.01)
    if not pages:
        return []
    waits = sorted(_waits(posted, arrived))
    return [
        ("median, ms", f"{1000 * statistics.median(waits):.0f}"),
        ("95 %, ms", f"{1000 * waits[len(waits) * 95 // 100]:.0f}"),
        ("events of a page per second", f"{statistics.mean(map(len, arrived)) / taken:.1f}"),
        ("results per second", f"{len(posted) / taken:.0f}"),
    ]


def _waits(posted: list[float], arrived: list[list[float]]) -> list[float]:
    """Return the seconds from each result to the next event of each page.

    An event can be sent before the response to the result has arrived; the next one may be of another result,
    so that no wait is too short.
    """
    return [
        next(time for time in times if time >= moment) - moment
        for times in arrived
        for moment in posted
        if times and times[-1] >= moment
    ]
