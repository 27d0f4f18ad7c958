"""The pages of a run of many tests: time, bytes and elements of each, on SQLite and PostgreSQL."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import requests

from bench.server import databases, serving
from bench.table import table

SHARDS = 8
SUBMITTED = 10_000
"""Tests of one submission."""
START = 1_750_000_000.0
ERRORS = (
    ("TimeoutError: payment provider did not answer within {} s", "shop/payments/client.py", "charge"),
    ("AssertionError: assert '{}' == '1.90'", "tests/prices/test_vat.py", "test_on"),
    ("KeyError: 'customer {}'", "shop/accounts.py", "find"),
    ("ConnectionError: 10.0.0.{}:5432 refused", "shop/database.py", "connect"),
)
PAGES = {
    "overview": "",
    "overview by file": "?by=file",
    "tests": "/tests",
    "tests, failed": "/tests?status=failed",
    "tests, new failures": "/tests?new=1",
    "tests, flaky": "/tests?flaky=1",
    "tests of a cause": "/tests?cause={cause}",
    "tests of a file": "/tests?file=tests%2Fpart_7%2Ftest_7.py",
    "tests with a tag": "/tests?tag=%40smoke",
    "tests of a shard": "/tests?shard=3",
    "search for a name": "/tests?q=case_77",
    "search for an error": "/tests?q=provider",
    "search without a match": "/tests?q=nothing-has-this",
    "slowest first": "/tests?sort=duration",
    "by name": "/tests?sort=name",
    "by file": "/tests?view=files",
    "timeline": "/timeline",
    "part of the timeline": "/timeline?from=10000&to=20000",
    "files": "/files",
    "events": "/events",
}


def measure(tests: int, rounds: int) -> str:
    """The table: milliseconds from request to response, the median of the rounds; kilobytes; elements."""
    found: dict[str, list[str]] = {}
    names = []
    sizes: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, url in databases(Path(folder)):
            names.append(name)
            with serving(Path(folder) / name, "--database-url", url) as (api, token):
                session = requests.Session()
                session.headers["Authorization"] = f"Bearer {token}"
                for seed in (1, 2):
                    execution = _seed(session, api, tests, seed)
                run = f"{api.removesuffix('/api')}/runs/{execution}"
                overview = session.get(run, timeout=60).text
                cause = overview.partition("cause=")[2][:16]
                for what, path in PAGES.items():
                    times, text = _read(session, run + path.format(cause=cause), rounds)
                    found.setdefault(what, []).append(f"{statistics.median(times) * 1000:.0f}")
                    sizes[what] = [f"{len(text.encode()) / 1000:.0f}", f"{_elements(text):,}"]
    rows = [[what, *values, *sizes[what]] for what, values in found.items()]
    header = ["page", *names, "kB", "elements"]
    return f"{tests:,} tests; milliseconds, median of {rounds}\n{table(header, rows)}"


def _read(session: requests.Session, url: str, rounds: int) -> tuple[list[float], str]:
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        response = session.get(url, timeout=60)
        times.append(time.perf_counter() - began)
        assert response.status_code == 200, f"{url}: {response.status_code}"
    return times[1:], response.text


def _elements(text: str) -> int:
    class Counter(HTMLParser):
        found = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += 1

    counter = Counter()
    counter.feed(text)
    return counter.found


def _seed(session: requests.Session, api: str, tests: int, seed: int) -> str:
    """Report a run of tests, half a percent of which fail, and return its id."""
    body = {
        "testSuite": "regression",
        "environment": "staging",
        "configuration": {"shards": SHARDS},
        "metadata": {"branch": "main", "project": "shop"},
    }
    execution: str = session.post(f"{api}/executions", json=body, timeout=60).json()["executionId"]
    parts: list[list[dict[str, Any]]] = [[] for _ in range(SHARDS)]
    for number, test in enumerate(_tests(tests, seed)):
        parts[number % SHARDS].append(test)
    for shard, part in enumerate(parts, 1):
        for first in range(0, len(part), SUBMITTED):
            message = {
                "executionId": execution,
                "shardId": str(shard),
                "tests": part[first : first + SUBMITTED],
            }
            session.post(f"{api}/results", json=message, timeout=600).raise_for_status()
    return execution


def _tests(tests: int, seed: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed)
    clocks = [START] * SHARDS
    for number in range(tests):
        file = f"tests/part_{number % 20}/test_{number % 500}.py"
        shard = number % SHARDS
        duration = chance.choice((1, 2, 3, 5, 8, 13, 120 if number % 50 == 0 else 4))
        test: dict[str, Any] = {
            "title": f"test_case_{number}",
            "nodeId": f"{file}::test_case_{number}",
            "file": file,
            "status": "passed",
            "duration": duration,
            "startedAt": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(clocks[shard]))
            + f".{int(clocks[shard] * 1000) % 1000:03}Z",
            "worker": f"gw{shard}",
        }
        clocks[shard] += duration / 1000
        if number % 9 == 0:
            test["tags"] = ["@smoke"]
        luck = chance.random()
        if luck < 0.005:
            error, path, function = chance.choice(ERRORS)
            message = error.format(chance.randint(1, 99))
            name = message.partition(":")[0]
            test |= {
                "status": "failed",
                "error": message,
                "longrepr": f"def {function}():\n>   call()\nE   {message}\n\n{path}:7: {name}",
            }
        elif luck < 0.01:
            test |= {"status": "skipped", "error": chance.choice(("needs a GPU", "not on Windows"))}
        elif luck < 0.012:
            test["retries"] = 1
        yield test
