"""``python -m bench [NAME …]``: measure, print tables; the names are in ``--help``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from bench import (
    deliveries,
    distance,
    encryption,
    executions,
    faults,
    history,
    ingest,
    instructions,
    killed,
    live,
    memory,
    overhead,
    page_events,
    pages,
    partitions,
    prune,
    queries,
    replicas,
    requests_cost,
    shard_runs,
    shards,
    soak,
    uploads,
    year,
)
from bench.runs import KINDS


def main() -> None:
    """Run the chosen measurements, all where none is named."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--tests", type=int, default=10_000, help="trivial tests a run (default 10,000)")
    parser.add_argument("--long", type=int, default=100_000, help="tests of a long run (default 100,000)")
    parser.add_argument("--submitted", type=int, default=100_000, help="tests a submission (default 100,000)")
    parser.add_argument("--events", type=int, default=4_000, help="webhook deliveries (default 4,000)")
    parser.add_argument(
        "--kept", type=int, default=100_000, help="events of a paused webhook, executions (default 100,000)"
    )
    parser.add_argument(
        "--pruned", type=int, default=1_000_000, help="results that are pruned (default 1,000,000)"
    )
    parser.add_argument(
        "--history", type=int, default=1_000_000, help="stored results of a history (default 1,000,000)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of a simulated year (default 1)")
    parser.add_argument("--run", type=int, default=100_000, help="tests of a run on pages (default 100,000)")
    parser.add_argument("--shards", type=int, default=50, help="shards that post results (default 50)")
    parser.add_argument(
        "--divided", type=int, default=5_000, help="tests that real shards divide (default 5,000)"
    )
    parser.add_argument("--seeds", type=int, default=2_000, help="simulated runs over shards (default 2,000)")
    parser.add_argument("--live", type=int, default=500, help="shards that report live (default 500)")
    parser.add_argument("--pages", type=int, default=20, help="open pages (default 20)")
    parser.add_argument("--minutes", type=float, default=30, help="length of a soak (default 30)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=["passing"], help="kinds of tests")
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2], help="numbers of xdist's workers")
    parser.add_argument("--in-turn", action="store_true", help="run as users do: in turn, on all processors")
    parser.add_argument("--against", metavar="COMMIT", default="", help="also measure the project at COMMIT")
    measures: dict[str, Callable[[argparse.Namespace], list[Callable[[], str]]]] = {
        "overhead": lambda given: [
            lambda kind=kind, workers=workers: overhead.measure(  # type: ignore[misc]  # defaults of a lambda
                given.tests,
                given.rounds,
                workers,
                kind,
                pinned=not given.in_turn,
                revision=given.against,
            )
            for kind in given.kinds
            for workers in given.workers
        ],
        "start": lambda given: [lambda: overhead.measure_start(given.rounds, given.against)],
        "instructions": lambda given: [
            lambda kind=kind: instructions.measure(given.tests, kind)  # type: ignore[misc]  # the same
            for kind in given.kinds
        ],
        "distance": lambda given: [lambda: distance.measure(given.tests, given.rounds)],
        "killed": lambda _: [killed.measure],
        "memory": lambda given: [lambda: memory.measure(given.long)],
        "encryption": lambda given: [lambda: encryption.measure(given.submitted, given.rounds)],
        "ingest": lambda given: [
            lambda: ingest.measure(given.submitted, given.rounds),
            lambda: ingest.again(given.submitted, given.rounds),
        ],
        "live": lambda given: [lambda: live.measure(given.live, 10)],
        "queries": lambda given: [lambda: queries.measure(given.kept)],
        "executions": lambda given: [lambda: executions.measure(given.kept)],
        "history": lambda given: [lambda: history.measure(given.history, given.rounds)],
        "uploads": lambda given: [lambda: uploads.measure(given.rounds)],
        "pages": lambda given: (
            [lambda tests=tests: pages.measure(tests, given.rounds) for tests in sorted({1_000, given.run})]
            + [lambda: page_events.measure(given.shards, given.pages)]
        ),
        "shards": lambda given: [lambda: shards.measure(given.seeds)],
        "shard-runs": lambda given: [lambda: shard_runs.measure(given.divided, given.seed)],
        "year": lambda given: [lambda: year.measure(seed=given.seed)],
        "partitions": lambda given: [lambda: partitions.measure(given.pruned // 5)],
        "prune": lambda given: [lambda: prune.measure(given.pruned)],
        "deliveries": lambda given: [
            lambda: deliveries.backlog(5 * given.events),
            lambda: deliveries.measure(given.events),
        ],
        "requests": lambda given: [lambda: requests_cost.measure(2_000, given.rounds)],
        "replicas": lambda given: [lambda: replicas.measure(given.rounds)],
        "soak": lambda given: [lambda: soak.measure(given.minutes)],
        "faults": lambda _: [faults.measure],
    }
    parser.add_argument("what", nargs="*", choices=[*measures, []], help="which (default: all)")
    chosen = parser.parse_args()
    for name in chosen.what or measures:
        for table in measures[name](chosen):
            print(table(), end="\n\n", flush=True)


main()
