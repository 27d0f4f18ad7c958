"""How evenly shards divide a suite: the time of the slowest shard over an even share, in simulated runs."""

from __future__ import annotations

import random
import statistics

from bench.table import table
from pytest_tms.division import divide_by_duration, divide_by_number

TESTS = 5_000
FILES = 200
SHARDS = 8
SEEDS = 200
NOISE = 0.2
"""Standard deviation of a test's duration, as a part of its median."""


def measure() -> str:
    """The table: ratios over all seeds, of a first run and of one with the durations of five earlier runs."""
    ratios: dict[str, list[float]] = {"by number (first run)": [], "by duration": []}
    for seed in range(SEEDS):
        chance = random.Random(seed)
        typical = {
            f"tests/test_{number % FILES}.py::test_{number}": chance.lognormvariate(4, 1.5)
            for number in range(TESTS)
        }
        known = {
            name: round(statistics.median(_run(chance, value) for _ in range(5)))
            for name, value in typical.items()
        }
        now = {name: _run(chance, value) for name, value in typical.items()}
        tests = [(name, name.partition("::")[0]) for name in typical]
        ideal = max(sum(now.values()) / SHARDS, max(now.values()))
        for way, parts in (
            ("by number (first run)", divide_by_number(tests, SHARDS)),
            ("by duration", divide_by_duration(tests, SHARDS, known).parts),
        ):
            ratios[way].append(max(sum(now[name] for name in part) for part in parts) / ideal)
    rows = [
        [way, f"{statistics.median(found):.3f}", f"{sorted(found)[int(0.95 * SEEDS)]:.3f}"]
        for way, found in ratios.items()
    ]
    return (
        f"{TESTS:,} tests of {FILES} files over {SHARDS} shards of equal speed, {SEEDS} seeds; "
        f"durations vary by {NOISE:.0%}\n{table(['slowest shard over ideal', 'median', '95 %'], rows)}"
    )


def _run(chance: random.Random, typical: float) -> float:
    """Return the milliseconds of a test in one run."""
    return max(1.0, typical * chance.gauss(1, NOISE))
