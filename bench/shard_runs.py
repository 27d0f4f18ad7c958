"""How long real shards take over an ideal division: pytest processes, a server, and pytest-split beside them.

The tests of the suite sleep, so that eight shards do not share the processor. Each shard sleeps as long as
its speed says, and begins its first test when its turn comes after all shards have collected. Everything is
scaled: a second of the simulated suite takes ``SCALE`` seconds.

The ideal is that of ``bench.shards``, with the time that pytest itself needs for a test, as the way that
needed the least of it had.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.runs import interpreter
from bench.server import serving
from bench.shards import (
    FILES,
    NOISE,
    RUNS,
    SESSION,
    SHARDS,
    SPEEDS,
    STARTS,
    Machines,
    Suite,
    file_of,
    ideal,
    make_machines,
    make_suite,
)
from bench.table import table
from pytest_tms import TmsClient, wire

SCALE = 0.2
"""Seconds of a run for a second of the simulated suite, whose tests take one second in the mean."""
CONFTEST = """
import json, os, time
from pathlib import Path
import pytest

FOLDER, SHARD = Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_SHARD"]
SPEED, START = float(os.environ["BENCH_SPEED"]), float(os.environ["BENCH_START"])
TIMES = json.loads((FOLDER / "times.json").read_text())
LOG = {"ready": 0.0, "end": 0.0, "slept": 0.0, "tests": 0}

def spend(seconds):
    begun = time.perf_counter()
    time.sleep(seconds / SPEED)
    LOG["slept"] += time.perf_counter() - begun

@pytest.fixture(scope="session", autouse=True)
def session_setup():
    spend(TIMES["session"])
    LOG["ready"] = time.time()

@pytest.fixture(scope="module", autouse=True)
def module_setup(request):
    spend(TIMES["setups"].get(request.node.nodeid, 0))

@pytest.fixture
def work(request):
    return lambda number: spend(TIMES["tests"][number])

@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    (FOLDER / f"collected-{SHARD}").touch()
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    time.sleep(max(0.0, float((FOLDER / "go").read_text()) + START - time.time()))

def pytest_runtest_logfinish():
    LOG["end"] = time.time()
    LOG["tests"] += 1

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish():
    (FOLDER / f"log-{SHARD}.json").write_text(json.dumps(LOG))
"""


class Way(NamedTuple):
    """A way to divide the tests: the options of a shard, and whether durations of earlier runs are known."""

    name: str
    options: Sequence[str]
    has_history: bool
    is_split: bool = False


WAYS = (
    Way("by number (first run)", ("--tms-split", "count"), False),
    Way("queue (first run)", ("--tms-split", "queue"), False),
    Way("by duration", ("--tms-split", "duration"), True),
    Way("queue by duration", ("--tms-split", "queue"), True),
    Way("pytest-split, least_duration", ("--splitting-algorithm", "least_duration"), True, True),
    Way(
        "pytest-split, duration_based_chunks", ("--splitting-algorithm", "duration_based_chunks"), True, True
    ),
)


class Outcome(NamedTuple):
    """What the shards of one way did: seconds since 1970, seconds slept, and the number of tests."""

    ready: Sequence[float]
    ends: Sequence[float]
    slept: Sequence[float]
    tests: Sequence[int]


def measure(tests: int, seed: int) -> str:
    """The table: the end of the last shard over the ideal, from when the first is ready for its tests."""
    chance = random.Random(seed)
    planned = make_suite(chance, tests, min(FILES, tests), 1_000 * SCALE)
    earlier = [_varied(chance, planned) for _ in range(RUNS)]
    now = _varied(chance, planned)
    machines = make_machines(chance)
    python = interpreter()
    found: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        suite = folder / "suite"
        _write(suite, now)
        (suite / ".test_durations").write_text(json.dumps(_durations(earlier)))
        with serving(folder / "data") as (url, token):
            _report(url, token, earlier)
            for number, way in enumerate(WAYS):
                own = folder / str(number)
                own.mkdir()
                _write_times(own, now)
                outcome = _run(way, number, python, suite, own, machines, url, token)
                found[way.name] = outcome
                took = max(outcome.ends) - min(outcome.ready)
                print(f"{way.name}: {sum(outcome.tests):,} tests in {took:.1f} s", file=sys.stderr)
    overhead = min(
        (sum(outcome.ends) - sum(outcome.ready) - sum(outcome.slept)) / tests for outcome in found.values()
    )
    rows = []
    for way in WAYS:
        outcome = found[way.name]
        least = _ideal(outcome, now, machines, overhead)
        first, last = min(outcome.ready), max(outcome.ends)
        idle = sum(last - end for end in outcome.ends)
        row = [f"{(last - first) / least:.3f}", f"{last - first:.1f}", f"{least:.1f}", f"{idle:.1f}"]
        rows.append([way.name, *row, f"{sum(outcome.tests):,}"])
    header = ["way", "last end over the ideal", "seconds", "ideal", "idle, all shards", "tests"]
    return (
        f"{tests:,} tests over {SHARDS} pytest processes; speeds up to {SPEEDS - 1:.0%} apart, "
        f"starts up to {STARTS * SCALE / 1000:.1f} s apart;\n"
        f"durations vary by {NOISE:.0%}; a test needs {overhead * 1000:.1f} ms beside its sleep\n"
        f"{table(header, rows)}"
    )


def _ideal(outcome: Outcome, now: Suite, machines: Machines, overhead: float) -> float:
    """Return the seconds that the run takes ideally, from when its first shard is ready."""
    first = min(outcome.ready)
    ready = [1000 * (each - first) for each in outcome.ready]
    # Overheads do not depend on the speed of a shard, but are small beside the sleeps.
    tests = {name: time + 1000 * overhead for name, time in now.durations.items()}
    return ideal(Suite(tests, now.setups), Machines(machines.speeds, ready), session=0) / 1000


def _varied(chance: random.Random, suite: Suite) -> Suite:
    """Return the durations of one run."""
    return Suite(
        {name: max(1.0, value * chance.gauss(1, NOISE)) for name, value in suite.durations.items()},
        {file: max(1.0, value * chance.gauss(1, NOISE)) for file, value in suite.setups.items()},
    )


def _write(folder: Path, suite: Suite) -> None:
    """Write the files of a suite; each test spends the time of its number."""
    (folder / "tests").mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(CONFTEST)
    numbers = {name: number for number, name in enumerate(suite.durations)}
    by_file: dict[str, dict[str, list[str]]] = {}
    for name in suite.durations:
        file, _, rest = name.partition("::")
        scope = rest.rpartition("::")[0]
        by_file.setdefault(file, {}).setdefault(scope, []).append(name)
    for file, scopes in by_file.items():
        lines = []
        for scope, names in scopes.items():
            if scope:
                lines.append(f"class {scope}:")
            for name in names:
                function = name.rpartition("::")[2]
                if scope:
                    lines.append(f"    def {function}(self, work): work({numbers[name]})")
                else:
                    lines.append(f"def {function}(work): work({numbers[name]})")
        (folder / file).write_text("\n".join(lines) + "\n")


def _write_times(folder: Path, suite: Suite) -> None:
    times = {
        "session": SESSION * SCALE / 1000,
        "setups": {file: value / 1000 for file, value in suite.setups.items()},
        "tests": [value / 1000 for value in suite.durations.values()],
    }
    (folder / "times.json").write_text(json.dumps(times))


def _paying(suite: Suite) -> dict[str, float]:
    """Return the setups in milliseconds by the first test of each module, which pays it."""
    first: dict[str, str] = {}
    for name in suite.durations:
        first.setdefault(file_of(name), name)
    return {first[file]: value for file, value in suite.setups.items() if file in first}


def _durations(earlier: Sequence[Suite]) -> dict[str, float]:
    """Return the medians of earlier runs as pytest-split stores them: in seconds, with the setups."""
    runs = []
    for suite in earlier:
        paid = _paying(suite)
        runs.append({name: value + paid.get(name, 0.0) for name, value in suite.durations.items()})
    return {name: statistics.median(run[name] for run in runs) / 1000 for name in runs[0]}


def _report(url: str, token: str, earlier: Sequence[Suite]) -> None:
    """Report earlier runs to the server, as the plugin does."""
    with TmsClient(url, token) as client:
        for suite in earlier:
            paid = _paying(suite)
            request = wire.ExecutionRequest(
                test_suite="all", environment="dev", metadata={"project": "known"}
            )
            execution = client.create_execution(request).execution_id
            tests = []
            for name, value in suite.durations.items():
                shared = None
                if name in paid:
                    shared = [
                        wire.SharedSetup(
                            scope="module",
                            node=file_of(name),
                            fixture="module_setup",
                            duration=round(paid[name]),
                        )
                    ]
                tests.append(
                    wire.TestResult(
                        title=name.partition("::")[2],
                        file=file_of(name),
                        node_id=name,
                        status="passed",
                        duration=round(value + paid.get(name, 0.0)),
                        shared_setups=shared,
                    )
                )
            client.submit_results(wire.ResultsSubmission(execution_id=execution, shard_id="1", tests=tests))


def _run(
    way: Way,
    number: int,
    python: str,
    suite: Path,
    folder: Path,
    machines: Machines,
    url: str,
    token: str,
) -> Outcome:
    """Run all shards in one way."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "TMS_", "GITHUB_"))
    }
    processes = []
    for index in range(SHARDS):
        environ = {
            **inherited,
            "BENCH_FOLDER": str(folder),
            "BENCH_SHARD": str(index),
            "BENCH_SPEED": str(machines.speeds[index]),
            "BENCH_START": str(machines.starts[index] * SCALE / 1000),
        }
        others = ["reportlog", "buildkite-test-collector", "pytest_reportportal", "allure_pytest"]
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [word for name in others for word in ("-p", f"no:{name}")]
        if way.is_split:
            command += ["-p", "no:tms", "--splits", str(SHARDS), "--group", str(index + 1), *way.options]
        else:
            environ |= {"TMS_URL": url, "TMS_API_TOKEN": token}
            environ["TMS_PROJECT"] = "known" if way.has_history else f"unknown-{number}"
            command += [
                "--tms-shard",
                f"{index + 1}/{SHARDS}",
                "--tms-run-key",
                f"bench-{number}",
                *way.options,
            ]
        with (folder / f"output-{index}.txt").open("wb") as output:
            processes.append(
                subprocess.Popen(command, cwd=suite, env=environ, stdout=output, stderr=subprocess.STDOUT)
            )
    while not all((folder / f"collected-{index}").exists() for index in range(SHARDS)):
        if any(process.poll() is not None for process in processes):
            break
        time.sleep(0.05)
    temporary = folder / "go.new"
    temporary.write_text(str(time.time() + 0.5))
    temporary.rename(folder / "go")
    for index, process in enumerate(processes):
        if process.wait() not in (0, 5):
            text = (folder / f"output-{index}.txt").read_text()[-2000:]
            raise SystemExit(f"{way.name}: shard {index + 1} ended with {process.returncode}:\n{text}")
    logs: list[Mapping[str, float]] = [
        json.loads((folder / f"log-{index}.json").read_text()) for index in range(SHARDS)
    ]
    ready = [log["ready"] for log in logs]
    return Outcome(
        ready,
        [log["end"] for log in logs],
        [log["slept"] - SESSION * SCALE / 1000 / machines.speeds[index] for index, log in enumerate(logs)],
        [int(log["tests"]) for log in logs],
    )
