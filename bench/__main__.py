"""``python -m bench [overhead] [ingest] [deliveries]``: measure, print tables."""

from __future__ import annotations

import argparse

from bench import deliveries, ingest, overhead


def main() -> None:
    """Run the chosen measurements, all where none is named."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what", nargs="*", choices=["overhead", "ingest", "deliveries", []], help="which (default: all)"
    )
    parser.add_argument("--tests", type=int, default=10_000, help="trivial tests a run (default 10,000)")
    parser.add_argument("--submitted", type=int, default=100_000, help="tests a submission (default 100,000)")
    parser.add_argument("--events", type=int, default=4_000, help="webhook deliveries (default 4,000)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    chosen = parser.parse_args()
    what = chosen.what or ["overhead", "ingest", "deliveries"]
    if "overhead" in what:
        for workers in (0, 2):
            print(overhead.measure(chosen.tests, chosen.rounds, workers), end="\n\n", flush=True)
    if "ingest" in what:
        print(ingest.measure(chosen.submitted, chosen.rounds), end="\n\n", flush=True)
    if "deliveries" in what:
        print(deliveries.measure(chosen.events))


main()
