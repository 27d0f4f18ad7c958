"""What reporting costs a test: CPU of whole pytest runs over trivial tests, reporters in turn, in one run."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.runs import Runs, elsewhere
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


def reporters(folder: str, url: str, token: str, stub: str, pace: int) -> dict[str, Reporter]:
    """All that are compared, those that do nothing first.

    ``stub`` takes whatever it is sent; ``pace`` is the seconds between two of our reports of progress.
    """
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
        "tms": Reporter(
            "tms", ["--tms-url", url, "-o", f"tms_progress_interval={pace}"], {"TMS_API_TOKEN": token}
        ),
        "--junitxml": Reporter("", [f"--junitxml={folder}/junit.xml"]),
        "pytest-reportlog": Reporter("reportlog", [f"--report-log={folder}/log.jsonl"]),
        "buildkite-test-collector": Reporter("buildkite-test-collector", [], collector),
        PORTAL: Reporter("pytest_reportportal", ["--reportportal", *settings]),
    }


def measure(tests: int, rounds: int, workers: int) -> str:
    """The table: CPU beside bare pytest's, as a ratio and in µs a test, medians over ``rounds`` rounds.

    Each reporter has a bare run at the same time on the same processor, while servers have another: a shared
    machine's speed changes within seconds by more than a reporter costs. With ``workers`` the tests run over
    that many, and the CPU is that of all processes. The µs are the ratio's at what bare pytest took in its
    least disturbed run.
    """
    over = ["-n", str(workers)] if workers else []
    # Two such runs on one processor take four times as long as one on two, and progress goes by the second.
    pace = 4 if workers else 1
    with (
        elsewhere() as kept,
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as (url, token),
        swallowing() as stub,
    ):
        runs = Runs(Path(folder), tests)
        compared = reporters(folder, url, token, stub, pace)
        if workers:  # its batching client cannot be handed to workers
            del compared[PORTAL]
        environs = {name: {**os.environ, **asked.environ} for name, asked in compared.items()}
        for name, asked in compared.items():  # which compiles what is imported
            runs.one(asked.plugin, [*asked.options, "test_0.py"], environs[name])
        ratios: dict[str, list[float]] = {name: [] for name in compared}
        bare: list[float] = []
        for turn in range(rounds):
            for name, asked in compared.items():
                base, mine = runs.beside(
                    asked.plugin, asked.options, environs[name], on=kept, over=over, mine_first=turn % 2 == 1
                )
                ratios[name].append(mine / base)
                bare.append(base)
    least = min(bare) / tests * 1e6
    rows = []
    for name, each in ratios.items():
        ratio = statistics.median(each)
        spread = f"{min(each):.3f}-{max(each):.3f}"
        rows.append([name, f"{ratio:.3f}", spread, f"{least * (ratio - 1):+.1f}"])
    header = ["reporter", "CPU, ratio", "least-most", "µs a test"]
    took = f"{least:.0f} µs a test at least, {statistics.median(bare) / tests * 1e6:.0f} in the median"
    title = f"{tests:,} trivial tests, -n {workers}, medians of {rounds} rounds; bare pytest took {took}"
    return f"{title}\n{table(header, rows)}"
