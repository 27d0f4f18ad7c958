"""What reporting costs a test: CPU of whole pytest runs over trivial tests, reporters in turn, in one run."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.runs import Runs
from bench.server import serving
from bench.stubs import swallowing
from bench.table import table

BARE = "bare pytest"
PORTAL = "pytest-reportportal, batched"


class Reporter(NamedTuple):
    """How a reporter is asked for."""

    plugin: str
    options: Sequence[str] = ()
    environ: Mapping[str, str] = {}


def reporters(folder: str, url: str, token: str, stub: str) -> dict[str, Reporter]:
    """All that are compared, those that do nothing first; ``stub`` takes whatever it is sent."""
    portal = {
        "endpoint": stub,
        "project": "bench",
        "api_key": "bench",
        "launch": "bench",
        "client_type": "ASYNC_BATCHED",
    }
    settings = [word for name, value in portal.items() for word in ("-o", f"rp_{name}={value}")]
    collector = {"BUILDKITE_ANALYTICS_TOKEN": "bench", "BUILDKITE_ANALYTICS_API_URL": stub}
    return {
        BARE: Reporter(""),
        "tms installed, not asked for": Reporter("tms"),
        "tms": Reporter("tms", ["--tms-url", url], {"TMS_API_TOKEN": token}),
        "--junitxml": Reporter("", [f"--junitxml={folder}/junit.xml"]),
        "pytest-reportlog": Reporter("reportlog", [f"--report-log={folder}/log.jsonl"]),
        "buildkite-test-collector": Reporter("buildkite-test-collector", [], collector),
        PORTAL: Reporter("pytest_reportportal", ["--reportportal", *settings]),
    }


def measure(tests: int, rounds: int, workers: int) -> str:
    """The table: per-test CPU in µs beside bare pytest's, medians over ``rounds`` interleaved rounds.

    With ``workers``, the tests run over that many, and the CPU is that of all processes.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as (url, token),
        swallowing() as stub,
    ):
        runs = Runs(Path(folder), tests)
        compared = reporters(folder, url, token, stub)
        if workers:  # its batching client cannot be handed to workers
            del compared[PORTAL]
        seconds: dict[str, list[float]] = {name: [] for name in compared}
        for turn in range(rounds + 1):
            # There and back: whatever the machine does meanwhile falls on each in turn.
            for name in list(compared)[:: -1 if turn % 2 else 1]:
                asked = compared[name]
                over = ["-n", str(workers), *asked.options]
                used = runs.one(asked.plugin, over, {**os.environ, **asked.environ})
                if turn:  # the first round warms the disk's cache
                    seconds[name].append(used.cpu)
    bare = seconds[BARE]
    rows = []
    for name, times in seconds.items():
        middle = statistics.median(times)
        ratio = statistics.median(mine / base for mine, base in zip(times, bare, strict=True))
        extra = (middle - statistics.median(bare)) / tests * 1e6
        rows.append([name, f"{middle / tests * 1e6:.0f}", f"{extra:+.1f}", f"{ratio:.3f}"])
    header = ["reporter", "µs CPU per test", "beside bare", "ratio"]
    return f"{tests:,} trivial tests, -n {workers}, medians of {rounds} rounds\n{table(header, rows)}"
