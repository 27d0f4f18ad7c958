"""What files cost a run: the time of whole runs whose tests attach files, with and without their upload."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.server import serving
from bench.table import table

FILES = 1_000
SIZE = 100_000
"""Bytes of each file."""
PAUSE = 0.02
"""Seconds that each test takes, during which files are uploaded."""
TESTS = f"""
import os, time, pytest

@pytest.mark.parametrize("n", range({FILES}))
def test_it(tms, n):
    tms.attach(os.urandom({SIZE}), name=f"{{n}}.bin")
    time.sleep({PAUSE})
"""


def measure(rounds: int) -> str:
    """Return the table: seconds of a run by its setting ``tms_upload``."""
    taken: dict[str, list[float]] = {"none": [], "all": []}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as (url, token):
        suite = Path(folder) / "suite"
        suite.mkdir()
        (suite / "test_files.py").write_text(TESTS)
        environ = {**os.environ, "TMS_API_TOKEN": token, "TMS_URL": url}
        for _ in range(rounds):
            for setting, seconds in taken.items():
                options = ["-q", "-p", "no:cacheprovider", "-o", f"tms_upload={setting}"]
                begun = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "pytest", *options],
                    cwd=suite,
                    env=environ,
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                seconds.append(time.perf_counter() - begun)
    without = statistics.median(taken["none"])
    rows = [
        [setting, f"{statistics.median(seconds):.2f}", f"{statistics.median(seconds) / without - 1:+.1%}"]
        for setting, seconds in taken.items()
    ]
    return (
        f"{FILES:,} files of {SIZE // 1000} kB, medians of {rounds} rounds\n"
        f"{table(['tms_upload', 'seconds', 'beside none'], rows)}"
    )
