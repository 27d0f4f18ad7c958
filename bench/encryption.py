"""What encryption at rest costs: the same requests to a server with it and to one without, in turn."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import requests

from bench.ingest import _submission
from bench.server import cpu_seconds, databases, serving
from bench.table import table

FILE = 50_000_000
"""Bytes of a file."""


def measure(tests: int, rounds: int) -> str:
    """The table: seconds of CPU time of the server, medians over ``rounds`` interleaved rounds."""
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("plain", "encrypted"):  # two sets of databases
            (Path(folder) / kind).mkdir()
        sets = [databases(Path(folder) / kind) for kind in ("plain", "encrypted")]
        for (name, plain), (_, encrypted) in zip(*sets, strict=True):
            pids: list[int] = []
            with (
                serving(Path(folder) / name, "--database-url", plain, pids=pids) as one,
                serving(
                    Path(folder) / f"{name} encrypted",
                    "--database-url",
                    encrypted,
                    environ={"TMS_SERVER_ENCRYPT": "1"},
                    pids=pids,
                ) as two,
            ):
                rows += _compare(name, (*one, pids[0]), (*two, pids[1]), tests, rounds)
    return (
        f"{tests:,} tests in one submission, 2 % failed; a file of {FILE // 10**6} MB; "
        f"seconds of CPU time of the server, medians of {rounds} rounds\n"
        f"{table(['database', 'request', 'plain', 'encrypted'], rows)}"
    )


_Server = tuple[str, str, int]
"""Base URL, token and process id of a server."""


def _compare(name: str, one: _Server, two: _Server, tests: int, rounds: int) -> Iterator[list[str]]:
    taken: dict[str, list[tuple[float, float]]] = {}
    for turn in range(rounds + 1):
        order = (one, two) if turn % 2 else (two, one)
        found = {server: dict(_requests(*server, tests)) for server in order}
        if turn:
            for what in found[one]:
                taken.setdefault(what, []).append((found[one][what], found[two][what]))
    for what, pairs in taken.items():
        yield [
            name,
            what,
            f"{statistics.median(pair[0] for pair in pairs):.3f}",
            f"{statistics.median(pair[1] for pair in pairs):.3f}",
        ]


def _requests(url: str, token: str, pid: int, tests: int) -> Iterator[tuple[str, float]]:
    """Yield the seconds of CPU time that the server takes for requests."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        created = session.post(f"{url}/executions", json={"testSuite": "all", "environment": "dev"}).json()
        name = created["executionId"]
        content = os.urandom(FILE)
        path = f"{url}/executions/{name}/artifacts/{hashlib.sha256(content).hexdigest()}"
        body = json.dumps(_submission(name, tests)).encode()
        for what, method, address, sent, status in (
            ("submission", "POST", f"{url}/results", body, 201),
            ("upload", "PUT", path, content, 201),
            ("download", "GET", f"{path}/content", None, 200),
            ("5 pages of 200 tests", "GET", f"{url}/executions/{name}/tests?limit=200", None, 200),
        ):
            begun = cpu_seconds(pid)
            for _ in range(5 if what.startswith("5 ") else 1):
                response = session.request(
                    method, address, data=sent, headers={"Content-Type": "application/json"}
                )
                assert response.status_code == status, response.text
            yield what, cpu_seconds(pid) - begun
