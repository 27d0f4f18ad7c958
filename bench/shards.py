"""How long shards take over an ideal division: simulated runs on shards of different speeds and starts.

The *ideal* of a run is the earliest time at which all shards could end together if the work were perfectly
divisible: the setup of the session in every shard, the setup of each module once, and all tests, given the
speed and the start of each shard. It is never less than the time at which the longest test could end.
"""

from __future__ import annotations

import heapq
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from bench.table import table
from pytest_tms.division import (
    Setup,
    divide_by_duration,
    divide_by_number,
    estimate,
    find_setups,
    order_by_duration,
)
from pytest_tms.server.domain.queue import QueuedTest, batch_weight, count_of_batch
from pytest_tms.shard_advice import ReadyShard, ideal_end

TESTS = 5_000
FILES = 200
SHARDS = 8
NOISE = 0.2
"""Standard deviation of a test's duration, as a part of its median."""
RUNS = 5
"""Earlier runs whose durations are known."""
SPEEDS = 1.2
"""Speed of the fastest shard over that of the slowest."""
STARTS = 45_000
"""Milliseconds from the start of the first shard to that of the last."""
SESSION = 5_000
"""Milliseconds of the setup of a session."""
LATENCY = 100
"""Milliseconds from a request for tests to the response."""


class Suite(NamedTuple):
    """Tests by node id with their typical durations, and the setups of modules by file, in milliseconds."""

    durations: Mapping[str, float]
    setups: Mapping[str, float]


class Machines(NamedTuple):
    """The speeds of shards, and when they start, in milliseconds."""

    speeds: Sequence[float]
    starts: Sequence[float]


def make_suite(chance: random.Random, tests: int = TESTS, files: int = FILES, mean: float = 1_000) -> Suite:
    """Return a suite: lognormal durations, files of different sizes, of which 3 in 10 have a setup."""
    sizes = [chance.lognormvariate(0, 1) for _ in range(files)]
    chosen = chance.choices(range(files), sizes, k=tests)
    with_classes = {file for file in range(files) if chance.random() < 0.4}
    numbers: defaultdict[int, int] = defaultdict(int)
    durations = {}
    for file in chosen:
        number = numbers[file]
        numbers[file] += 1
        scope = f"Test{number // 10}::" if file in with_classes else ""
        # The mean of a lognormal distribution is exp(mu + sigma² / 2).
        name = f"tests/test_{file}.py::{scope}test_{number}"
        durations[name] = mean / 3.08 * chance.lognormvariate(0, 1.5)
    setups = {
        f"tests/test_{file}.py": mean * chance.lognormvariate(0.7, 0.7)
        for file in range(files)
        if chance.random() < 0.3
    }
    return Suite(durations, setups)


def make_machines(chance: random.Random, shards: int = SHARDS) -> Machines:
    """Return shards of which the fastest is ``SPEEDS`` times as fast as the slowest, in any order."""
    speeds = [1.0, SPEEDS, *(chance.uniform(1, SPEEDS) for _ in range(shards - 2))]
    starts = [0.0, float(STARTS), *(chance.uniform(0, STARTS) for _ in range(shards - 2))]
    chance.shuffle(speeds)
    chance.shuffle(starts)
    return Machines(speeds, starts)


def file_of(nodeid: str) -> str:
    """Return the file of a test."""
    return nodeid.partition("::")[0]


def ideal(suite: Suite, machines: Machines, session: float = SESSION) -> float:
    """Return the ideal of a run, in milliseconds: see the text of this module."""
    work = sum(suite.durations.values()) + sum(suite.setups.values())
    shards = [
        ReadyShard(start + session / speed, speed)
        for start, speed in zip(machines.starts, machines.speeds, strict=True)
    ]
    longest = max(time + suite.setups.get(file_of(name), 0.0) for name, time in suite.durations.items())
    return ideal_end(shards, work, longest)


def static_end(
    parts: Iterable[Iterable[str]], suite: Suite, machines: Machines, session: float = SESSION
) -> float:
    """Return when the last shard ends, of shards with fixed parts of the tests."""
    ends = []
    for part, speed, start in zip(parts, machines.speeds, machines.starts, strict=True):
        files = {file_of(name) for name in part}
        time = session + sum(suite.durations[name] for name in part)
        time += sum(suite.setups.get(file, 0.0) for file in files)
        ends.append(start + time / speed if files else start)
    return max(ends)


def even_end(suite: Suite, machines: Machines, session: float = SESSION) -> float:
    """Return when the last shard would end if each had exactly the same work: the best without foresight."""
    share = (sum(suite.durations.values()) + sum(suite.setups.values())) / len(machines.speeds)
    shards = zip(machines.speeds, machines.starts, strict=True)
    return max(start + (session + share) / speed for speed, start in shards)


def queue_end(suite: Suite, known: Mapping[str, int], machines: Machines, session: float = SESSION) -> float:
    """Return when the last shard ends, of shards that take batches from the queue.

    Each requests its next batch when it begins the last test of the present one.
    """
    groups = [(name, file_of(name)) for name in sorted(suite.durations)]
    weights = estimate(groups, known)
    waiting = [
        QueuedTest(number, name, group, round(weights[name, group]))
        for number, (name, group) in enumerate(order_by_duration(groups, known))
    ]
    total = remaining = sum(test.weight for test in waiting)
    position = 0
    shards = len(machines.speeds)
    files = [""] * shards
    last = 0.0
    # When a shard requests a batch, which it is, and when it can run it.
    events = [
        (start, each, start + session / machines.speeds[each]) for each, start in enumerate(machines.starts)
    ]
    heapq.heapify(events)
    while events:
        now, each, free = heapq.heappop(events)
        last = max(last, free)
        if position == len(waiting):
            continue
        weight = left = batch_weight(remaining, total, shards, 1)
        end = position
        while end < len(waiting) and left >= 0:  # as many as the server reads for a batch
            left -= waiting[end].weight
            end += 1
        some = waiting[position:end]
        batch = some[: count_of_batch(some, weight, 1)]
        position += len(batch)
        remaining -= sum(test.weight for test in batch)
        time = begun = max(free, now + LATENCY)
        for test in batch:
            begun = time
            if test.group != files[each]:
                files[each] = test.group
                time += suite.setups.get(test.group, 0.0) / machines.speeds[each]
            time += suite.durations[test.node_id] / machines.speeds[each]
        heapq.heappush(events, (begun, each, time))
    return last


WAYS = (
    "by number (first run)",
    "by duration",
    "queue (first run)",
    "queue by duration",
    "exactly even shares",
)
"""What is compared; the last one is no division, but the best that knows nothing of speeds and starts."""


def ratios(seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the end of each way over the ideal: on different shards, and on equal ones."""
    chance = random.Random(seed)  # a simulation
    suite = make_suite(chance)
    known = {
        name: round(statistics.median(_run(chance, value) for _ in range(RUNS)))
        for name, value in suite.durations.items()
    }
    now = Suite(
        {name: _run(chance, value) for name, value in suite.durations.items()},
        {file: _run(chance, value) for file, value in suite.setups.items()},
    )
    tests = [(name, file_of(name)) for name in suite.durations]
    measured = [Setup(file, "setup", round(value)) for file, value in suite.setups.items()]
    setups = find_setups(dict.fromkeys(suite.durations), measured)
    by_number = divide_by_number(tests, SHARDS)
    by_duration = divide_by_duration(tests, SHARDS, known, setups).parts
    found = []
    equal = Machines([1.0] * SHARDS, [0.0] * SHARDS)
    for machines in (make_machines(chance), equal):
        ends = (
            static_end(by_number, now, machines),
            static_end(by_duration, now, machines),
            queue_end(now, {}, machines),
            queue_end(now, known, machines),
            even_end(now, machines),
        )
        least = ideal(now, machines)
        found.append({way: end / least for way, end in zip(WAYS, ends, strict=True)})
    return found[0], found[1]


def measure(seeds: int) -> str:
    """The table: the end of the last shard over the ideal, the median and 95th percentile of all seeds."""
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(ratios, range(seeds), chunksize=10))
    rows = []
    for way in WAYS:
        row = [way]
        for machines in (0, 1):
            some = sorted(each[machines][way] for each in found)
            row += [f"{statistics.median(some):.3f}", f"{some[int(0.95 * seeds)]:.3f}"]
        rows.append(row)
    header = ["last end over the ideal", "different: median", "95 %", "equal: median", "95 %"]
    return (
        f"{TESTS:,} tests of {FILES} files, some with setups, over {SHARDS} shards, {seeds:,} seeds; "
        f"durations vary by {NOISE:.0%}.\nDifferent shards: speeds up to {SPEEDS - 1:.0%} apart, starts "
        f"up to {STARTS // 1000} s apart; the ideal of a run is about 10 minutes.\n{table(header, rows)}"
    )


def _run(chance: random.Random, typical: float) -> float:
    """Return the milliseconds of a test in one run."""
    return max(1.0, typical * chance.gauss(1, NOISE))
