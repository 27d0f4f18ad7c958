"""What observing a server costs: CPU time of the server for a request, with logs, metrics and traces."""

from __future__ import annotations

import os
import statistics
import tempfile
from importlib.util import find_spec
from pathlib import Path

import requests

from bench.server import serving
from bench.table import table
from tests.helpers.trace_collector import collecting

TICK = os.sysconf("SC_CLK_TCK")


def measure(number: int, rounds: int) -> str:
    """The table: microseconds of CPU time, medians of interleaved rounds of ``number`` requests each."""
    with tempfile.TemporaryDirectory() as folder, collecting() as endpoint:
        kinds: dict[str, dict[str, str]] = {
            "no access log": {"TMS_SERVER_ACCESS_LOG": "0"},
            "access log as JSON": {"TMS_SERVER_ACCESS_LOG": "1", "TMS_SERVER_LOG_FORMAT": "json"},
        }
        if find_spec("opentelemetry.instrumentation.asgi"):
            kinds["and traces"] = {
                **kinds["access log as JSON"],
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            }
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(rounds):
            for kind, environ in kinds.items():
                data_dir = Path(folder) / f"{kind}{turn}"
                pids: list[int] = []
                with serving(data_dir, environ=environ, pids=pids) as (url, token):
                    found[kind].append(_cost(url, token, pids[0], number))
    base = statistics.median(found["no access log"])
    rows = [
        [kind, f"{statistics.median(values):.0f}", f"{statistics.median(values) - base:+.0f}"]
        for kind, values in found.items()
    ]
    return f"GET /api/executions/{{id}}, CPU time of the server\n{table(['with', 'µs', 'more'], rows)}"


def _cost(url: str, token: str, pid: int, number: int) -> float:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        created = session.post(f"{url}/executions", json={"testSuite": "all", "environment": "dev"}).json()
        path = f"{url}/executions/{created['executionId']}"
        for _ in range(number // 10):
            session.get(path)
        begun = _cpu(pid)
        for _ in range(number):
            assert session.get(path).status_code == 200
        return (_cpu(pid) - begun) / number * 1e6


def _cpu(pid: int) -> float:
    """Seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK
