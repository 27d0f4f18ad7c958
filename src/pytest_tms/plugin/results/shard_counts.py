"""A shard while its tests settle: each counted once, however often it is told. Free of pytest."""

from __future__ import annotations

from typing import Literal

import msgspec

from pytest_tms import wire


class Shard(msgspec.Struct):
    """One shard while it runs; ``prefix`` begins its tests' lines in the journal."""

    id: str
    started: float
    prefix: bytes
    counts: dict[str, int] = msgspec.field(default_factory=lambda: {"passed": 0, "failed": 0, "skipped": 0})
    flaky: int = 0
    files: dict[str, list[str]] = {}
    broken: bool = False
    settled: dict[str | None, wire.TestStatus | Literal["flaky"]] = {}

    def count(self, result: wire.TestResult) -> bool:
        """Count a settled test and note its files; answers whether it replaces a result of the same test."""
        word: wire.TestStatus | Literal["flaky"] = result.status
        if result.retries and word == "passed":
            word = "flaky"
            self.flaky += 1
        before = self.settled.get(result.node_id)
        self.settled[result.node_id] = word
        self.counts[result.status] += 1
        if result.artifacts or result.attempts:
            for attempt in (result, *(result.attempts or ())):
                for file in attempt.artifacts or ():
                    self.files.setdefault(f"{file.kind}s", []).append(file.path)
        if before is None:
            return False
        self.counts["passed" if before == "flaky" else before] -= 1
        self.flaky -= before == "flaky"
        return True

    def totals(self) -> wire.GivenCounts:
        """The documented counts."""
        return wire.GivenCounts(total=sum(self.counts.values()), flaky=self.flaky, **self.counts)
