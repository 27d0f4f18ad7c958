"""What reporting costs a test: CPU of whole pytest runs over trivial tests, reporters in turn, in one run."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.runs import Runs, Used, elsewhere, interpreter
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
        "pytest-reportlog": Reporter("pytest_reportlog", [f"--report-log={folder}/log.jsonl"]),
        "allure-pytest": Reporter("allure_pytest", [f"--alluredir={folder}/allure"]),
        "buildkite-test-collector": Reporter("buildkite-test-collector", [], collector),
        PORTAL: Reporter("pytest_reportportal", ["--reportportal", *settings]),
    }


def measure(tests: int, rounds: int, workers: int, kind: str, *, pinned: bool, revision: str = "") -> str:
    """The table: CPU beside bare pytest's, medians over ``rounds`` rounds.

    ``process`` is what pytest's own process uses (over workers: all of pytest's), ``tree`` also what the
    processes use that outlive it. The µs are per test, the start included, at what bare pytest took in its
    least disturbed run.

    If ``pinned``, each reporter has a bare run at the same time on the same processor, while servers have
    another: a shared machine's speed changes within seconds by more than a reporter costs. Else runs take
    turns on all processors, as users run them. ``revision`` adds the project at an earlier commit.
    """
    over = ["-n", str(workers)] if workers else []
    # Two such runs on one processor take four times as long as one on two, and progress goes by the second.
    pace = 4 if workers and pinned else 1
    with (
        elsewhere() if pinned else contextlib.nullcontext(0) as kept,
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as (url, token),
        swallowing() as stub,
    ):
        runs = Runs(Path(folder), tests, kind)
        compared = reporters(folder, url, token, stub, pace)
        old = {f"tms at {revision[:12]}": compared["tms"]} if revision else {}
        compared |= old
        pythons = {name: interpreter(revision) for name in old}
        if workers:  # its batching client cannot be handed to workers
            del compared[PORTAL]
        environs = {name: {**os.environ, **asked.environ} for name, asked in compared.items()}
        for name, asked in compared.items():  # which compiles what is imported
            runs.one(asked.plugin, [*asked.options, "test_0.py"], environs[name], pythons.get(name, ""))
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in compared}
        bare: list[float] = []
        for turn in range(rounds):
            for name, asked in compared.items():
                python = pythons.get(name, "")
                if pinned:
                    base, mine = runs.beside(
                        asked.plugin,
                        asked.options,
                        environs[name],
                        on=kept,
                        over=over,
                        mine_first=turn % 2 == 1,
                        python=python,
                    )
                else:
                    base = runs.one("", over)
                    mine = runs.one(asked.plugin, [*over, *asked.options], environs[name], python)
                found[name].append((mine.cpu / base.cpu, mine.tree / base.cpu, mine.wall / base.wall))
                bare.append(base.cpu)
    least = min(bare) / tests * 1e6
    rows = []
    for name, each in found.items():
        process, tree, wall = (statistics.median(column) for column in zip(*each, strict=True))
        spread = f"{min(one[0] for one in each):.3f}-{max(one[0] for one in each):.3f}"
        rows.append(
            [
                name,
                f"{process:.3f}",
                spread,
                f"{least * (process - 1):+.1f}",
                f"{least * (tree - 1):+.1f}",
                "" if pinned else f"{wall:.3f}",
            ]
        )
    header = [
        "reporter",
        "process, ratio",
        "least-most",
        "process, µs a test",
        "tree, µs a test",
        "wall, ratio",
    ]
    took = f"{least:.0f} µs a test at least, {statistics.median(bare) / tests * 1e6:.0f} in the median"
    how = "at once on one processor" if pinned else "in turn on all processors"
    title = (
        f"{tests:,} {kind} tests, -n {workers}, {how}, medians of {rounds} rounds; bare pytest took {took}"
    )
    return f"{title}\n{table(header, rows)}"


def measure_start(rounds: int, revision: str = "") -> str:
    """The table: milliseconds of runs of a single test, and what reporting adds, medians in turn."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data") as (url, token),
        swallowing() as stub,
    ):
        runs = Runs(Path(folder), 1)
        compared = reporters(folder, url, token, stub, 1)
        compared["tms, offline"] = Reporter("tms", [f"--tms-offline={folder}/offline"])
        if revision:
            compared[f"tms at {revision[:12]}"] = compared["tms"]
        used: dict[str, list[Used]] = {name: [] for name in compared}
        for turn in range(rounds + 1):
            for name, asked in compared.items():
                python = interpreter(revision) if revision and revision[:12] in name else ""
                one = runs.one(asked.plugin, asked.options, {**os.environ, **asked.environ}, python)
                if turn:  # the first compiles what is imported
                    used[name].append(one)
    middle = {
        name: [1000 * statistics.median(column) for column in list(zip(*each, strict=True))[:3]]
        for name, each in used.items()
    }
    base = middle[BARE]
    rows = [
        [name, *(f"{mine - its:+.0f}" for mine, its in zip(each, base, strict=True))]
        for name, each in middle.items()
    ]
    header = ["reporter", "process, ms of CPU", "tree, ms of CPU", "ms of time"]
    title = f"one test, medians of {rounds} rounds; bare pytest took {base[0]:.0f} ms of CPU"
    return f"{title}\n{table(header, rows)}"
