"""What reporting costs a test, whatever else the machine does: instructions, counted by valgrind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.overhead import BARE, Reporter, reporters
from bench.runs import FILES, Runs
from bench.server import serving
from bench.stubs import swallowing
from bench.table import table

MANY = 1_000
"""Tests that the longer of two runs has more."""


def measure(tests: int, kind: str) -> str:
    """The table: thousands of instructions a test, millions a run, and both beside bare pytest's.

    Two runs of each reporter tell what a test adds from what a run costs however long it is. Counting makes a
    run some fifty times as slow, so progress, which is told once a second, is told at the end.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as (url, token),
        swallowing() as stub,
    ):
        few, many = Runs(Path(folder) / "few", FILES, kind), Runs(Path(folder) / "many", FILES + MANY, kind)
        compared = reporters(folder, url, token, stub, pace=86_400)
        compared["tms, offline"] = Reporter("tms", [f"--tms-offline={folder}/offline"])
        costs: dict[str, tuple[float, float]] = {}
        for name, asked in compared.items():
            environ = {**os.environ, **asked.environ}
            short, long = (runs.instructions(asked.plugin, asked.options, environ) for runs in (few, many))
            each = (long - short) / MANY
            costs[name] = (each, short - FILES * each)
    bare_each, bare_start = costs[BARE]
    rows = [
        [
            name,
            f"{each / 1e3:,.0f}",
            f"{(each - bare_each) / 1e3:+,.0f}",
            f"{start / 1e6:,.0f}",
            f"{(start + tests * each) / (bare_start + tests * bare_each):.3f}",
        ]
        for name, (each, start) in costs.items()
    ]
    header = ["reporter", "thousand a test", "beside bare", "million a start", f"ratio at {tests:,}"]
    return f"instructions, {kind} tests that do nothing\n{table(header, rows)}"
