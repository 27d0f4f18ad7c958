"""A shard while its tests settle: each counted once, however often it is told. Free of pytest."""

from __future__ import annotations

from typing import Literal

import msgspec

from pytest_tms import wire

NAMES = {"screenshot": "screenshots", "video": "videos", "trace": "traces"}
"""The document's names for a shard's files; it has "logs" for all others."""


class Shard(msgspec.Struct):
    """One shard while it runs; ``settled`` holds each test's number and status by its identity."""

    id: str
    started: float
    counts: dict[str, int] = msgspec.field(default_factory=lambda: {"passed": 0, "failed": 0, "skipped": 0})
    flaky: int = 0
    files: dict[str, list[str]] = {}
    broken: bool = False
    settled: dict[object, tuple[int, wire.TestStatus | Literal["flaky"]]] = {}

    def count(self, identity: object, result: wire.TestResult) -> tuple[int, bool]:
        """Count a settled test and note its files.

        ``identity`` is what pytest knows the test by: nothing that a user's hook or marker changes in the
        result. Return the test's number, and whether it replaces an earlier result.
        """
        word: wire.TestStatus | Literal["flaky"] = result.status
        if result.retries and word == "passed":
            word = "flaky"
            self.flaky += 1
        earlier = self.settled.get(identity)
        number = len(self.settled) + 1 if earlier is None else earlier[0]
        self.settled[identity] = number, word
        self.counts[result.status] += 1
        if result.artifacts or result.attempts:
            for attempt in (result, *(result.attempts or ())):
                for file in attempt.artifacts or ():
                    self.files.setdefault(NAMES.get(file.kind, "logs"), []).append(file.path)
        if earlier is None:
            return number, False
        before = earlier[1]
        self.counts["passed" if before == "flaky" else before] -= 1
        self.flaky -= before == "flaky"
        return number, True

    def totals(self) -> wire.GivenCounts:
        """The documented counts."""
        return wire.GivenCounts(total=sum(self.counts.values()), flaky=self.flaky, **self.counts)
