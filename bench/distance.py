"""What a TMS far away costs: seconds of whole runs whose every request takes its time."""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

from bench.runs import Runs
from bench.server import serving
from bench.stubs import delayed
from bench.table import table

LATENCY = 0.05
"""Seconds that each request takes longer."""


def measure(tests: int, rounds: int) -> str:
    """The table: seconds of a run without the plugin, and with a TMS at hand and far away."""
    far = f"tms, {LATENCY * 1000:.0f} ms away"
    taken: dict[str, list[float]] = {"bare pytest": [], "tms": [], far: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as (url, token),
        delayed(url, LATENCY) as away,
    ):
        runs = Runs(Path(folder), tests)
        environ = {**os.environ, "TMS_API_TOKEN": token}
        for turn in range(rounds + 1):
            for name, options in zip(taken, ([], ["--tms-url", url], ["--tms-url", away]), strict=True):
                used = runs.one("tms" if options else "", options, environ)
                if turn:
                    taken[name].append(used.wall)
    middle = {name: statistics.median(times) for name, times in taken.items()}
    rows = [
        [name, f"{seconds:.2f}", f"{seconds - middle['bare pytest']:+.2f}", f"{seconds - middle['tms']:+.2f}"]
        for name, seconds in middle.items()
    ]
    header = ["run", "seconds", "beside bare", "beside at hand"]
    return f"{tests:,} trivial tests, medians of {rounds} rounds\n{table(header, rows)}"
