"""Counts of a shard while its tests run: each test counts once. No pytest imports."""

from __future__ import annotations

from typing import Literal

import msgspec

from pytest_tms.wire.base import TestStatus
from pytest_tms.wire.executions import ReportedCounts
from pytest_tms.wire.results import TestResult

ARTIFACT_KINDS = {"screenshot": "screenshots", "video": "videos", "trace": "traces"}
"""The document's names for a shard's files; it has "logs" for all others."""


class ShardCounts(msgspec.Struct):
    """One shard while it runs.

    ``started`` is in seconds since 1970. ``results`` has each test's number and status by its identity.
    ``files`` are the paths of artifacts by kind. ``has_broken_files``: a test file could not be collected.
    """

    id: str
    started: float
    counts: dict[str, int] = msgspec.field(default_factory=lambda: {"passed": 0, "failed": 0, "skipped": 0})
    flaky: int = 0
    files: dict[str, list[str]] = {}
    has_broken_files: bool = False
    results: dict[object, tuple[int, TestStatus | Literal["flaky"]]] = {}

    def count(self, identity: object, result: TestResult) -> tuple[int, bool]:
        """Count a complete result and note its files.

        ``identity`` identifies the test, independently of changes that a user's hook or marker makes to the
        result. Return the test's number, and whether it replaces an earlier result.
        """
        status: TestStatus | Literal["flaky"] = result.status
        if result.retries and status == "passed":
            status = "flaky"
            self.flaky += 1
        earlier = self.results.get(identity)
        number = len(self.results) + 1 if earlier is None else earlier[0]
        self.results[identity] = number, status
        self.counts[result.status] += 1
        if result.artifacts or result.attempts:
            for attempt in (result, *(result.attempts or ())):
                for file in attempt.artifacts or ():
                    self.files.setdefault(ARTIFACT_KINDS.get(file.kind, "logs"), []).append(file.path)
        if earlier is None:
            return number, False
        before = earlier[1]
        self.counts["passed" if before == "flaky" else before] -= 1
        self.flaky -= before == "flaky"
        return number, True

    def totals(self) -> ReportedCounts:
        """The documented counts."""
        return ReportedCounts(total=sum(self.counts.values()), flaky=self.flaky, **self.counts)
