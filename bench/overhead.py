"""What reporting costs a test: CPU of whole pytest runs over trivial tests, reporters in turn, in one run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.server import serving
from bench.table import table

FILES = 20


def measure(tests: int, rounds: int, workers: int) -> str:
    """The table: per-test CPU in µs beside bare pytest's, medians over ``rounds`` interleaved rounds.

    With ``workers``, the tests run over that many, and the CPU is that of all processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        suite = root / "suite"
        suite.mkdir()
        (suite / "pytest.ini").write_text("[pytest]\n")
        for number in range(FILES):
            body = "".join(f"def test_{case}():\n    pass\n\n" for case in range(tests // FILES))
            (suite / f"test_{number}.py").write_text(body)
        with serving(root / "data") as (url, token):
            environ = {**os.environ, "TMS_API_TOKEN": token, "PYTHONPYCACHEPREFIX": f"{root}/bytecode"}
            environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled
            reporters: dict[str, Sequence[str]] = {
                "bare pytest": ["-p", "no:tms", "-p", "no:reportlog"],
                "tms installed, not asked for": ["-p", "no:reportlog"],
                "tms": ["-p", "no:reportlog", "--tms-url", url],
                "--junitxml": ["-p", "no:tms", "-p", "no:reportlog", f"--junitxml={root}/junit.xml"],
                "pytest-reportlog": ["-p", "no:tms", f"--report-log={root}/log.jsonl"],
            }
            seconds: dict[str, list[float]] = {name: [] for name in reporters}
            for turn in range(rounds + 1):
                for name, options in reporters.items():
                    used = _cpu(suite, ["-n", str(workers), *options], environ)
                    if turn:  # the first round warms the disk's cache
                        seconds[name].append(used)
    bare = statistics.median(seconds["bare pytest"])
    rows = []
    for name, times in seconds.items():
        extra = statistics.median(times) - bare
        ratio = statistics.median(
            mine / base for mine, base in zip(times, seconds["bare pytest"], strict=True)
        )
        rows.append(
            [
                name,
                f"{statistics.median(times) / tests * 1e6:.0f}",
                f"{extra / tests * 1e6:+.1f}",
                f"{ratio:.3f}",
            ]
        )
    header = ["reporter", "µs CPU per test", "beside bare", "ratio"]
    return f"{tests:,} trivial tests, -n {workers}, medians of {rounds} rounds\n{table(header, rows)}"


def _cpu(suite: Path, options: Sequence[str], environ: dict[str, str]) -> float:
    """User and system seconds of one pytest run and what it waited for."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(suite)]
    process = subprocess.Popen(command, cwd=suite, env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"a measured run ended with {process.returncode}: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime
