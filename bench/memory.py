"""What reporting holds in memory: the largest size of pytest's process over a long run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.runs import Runs
from bench.server import serving
from bench.table import table


def measure(tests: int) -> str:
    """The table: MB of one run each."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as (url, token):
        runs = Runs(Path(folder), tests)
        environ = {**os.environ, "TMS_API_TOKEN": token}
        bare = runs.one("", [], environ).memory
        found = {
            "bare pytest": bare,
            "tms": runs.one("tms", ["--tms-url", url], environ).memory,
            "tms, offline": runs.one("tms", [f"--tms-offline={folder}/offline"], environ).memory,
            "--junitxml": runs.one("", [f"--junitxml={folder}/junit.xml"], environ).memory,
        }
    rows = [
        [name, f"{size:.0f}", f"{size - bare:+.0f}", f"{size / bare:.3f}"] for name, size in found.items()
    ]
    return f"{tests:,} trivial tests, one run each\n{table(['run', 'MB', 'beside bare', 'ratio'], rows)}"
