"""What a second server of one PostgreSQL adds: executions with results a second, behind the same proxy."""

from __future__ import annotations

import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import accepted_rate
from bench.server import serving
from bench.table import table
from tests.helpers.api import KEY
from tests.helpers.faults import RESULTS, THREADS, postgres
from tests.helpers.replicas import balanced

SECONDS = 10.0
"""Seconds of one measurement."""


def measure(rounds: int) -> str:
    """The table: executions a second with one server and with two, medians of interleaved rounds."""
    found: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        database = stack.enter_context(postgres())
        ports, token = [], ""
        for number in found:
            environ = {"TMS_SERVER_KEYS": KEY, "TMS_SERVER_ACCESS_LOG": "0"}
            server = serving(folder / str(number), "--database-url", database.url, environ=environ)
            url, token = stack.enter_context(server)
            ports.append(urlsplit(url).port or 0)
        roots = {
            number: stack.enter_context(balanced(folder / f"proxy{number}", ports[:number]))
            for number in found
        }
        for _ in range(rounds):
            for number, root in roots.items():
                found[number].append(accepted_rate(f"{root}/api", token, warm_up=2, seconds=SECONDS))
    one, two = (statistics.median(found[number]) for number in (1, 2))
    rows = [["one", f"{one:.1f}", "1.00"], ["two", f"{two:.1f}", f"{two / one:.2f}"]]
    shown = table(["servers", "a second", "ratio"], rows)
    cores, busy = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return (
        f"executions of {RESULTS} results by {THREADS} runners, PostgreSQL, nginx and the runners on the "
        f"same {cores} cores, load average {busy:.1f}\n{shown}"
    )
