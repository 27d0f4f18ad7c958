"""The state of a run, from the lines of its journal: shards, collected, running and completed tests."""

from __future__ import annotations

from typing import NamedTuple, cast

import msgspec

from pytest_tms.journal.lines import (
    AnyLine,
    Begun,
    Closed,
    Collected,
    OnWorker,
    ShardEnded,
    ShardStarted,
    Tested,
    TimeLimit,
)
from pytest_tms.wire.base import moment, timestamp
from pytest_tms.wire.events import RunningTest

MAX_MILLISECONDS = 1 << 45
"""Times after the year 3000 are those of a patched clock, and are not sent."""
LIMIT_TOLERANCE = 0.95
"""The part of its time limit after which a test that was running has exceeded it."""


class OverdueTest(NamedTuple):
    """A test in flight that ran for longer than its limit of ``seconds``."""

    begun: Begun
    seconds: float


class RunProgress:
    """The state of a run. ``begun`` has the ISO 8601 start time of each shard, ``failed`` counts tests."""

    def __init__(self) -> None:
        self.begun: dict[str, str] = {}
        self.collected: dict[str, int] = {}
        self.is_closed = False
        self.failed = 0
        self._ended: set[str] = set()
        self._completed: dict[str, set[object]] = {}
        self._running: dict[int, Begun] = {}
        self._workers: dict[int, OnWorker] = {}
        self._limits: dict[int, float] = {}
        self._numbers: dict[tuple[str, object, str], dict[object, int]] = {}

    @property
    def open_shards(self) -> list[str]:
        """The shards that have started and not ended."""
        return [shard for shard in self.begun if shard not in self._ended]

    def note(self, line: AnyLine) -> None:
        """Update the state by one line."""
        if isinstance(line, Tested):
            self._completed.setdefault(line.shard, set()).add(test_identity(line))
            for by_number in (self._running, self._workers, self._limits):
                cast("dict[int, object]", by_number).pop(line.n, None)
        elif isinstance(line, Begun):
            self._running[line.n] = line
        elif isinstance(line, OnWorker):
            self._workers[line.n] = line
        elif isinstance(line, TimeLimit):
            self._limits[line.n] = line.seconds
        elif isinstance(line, Collected):
            self.collected[line.shard] = line.tests
        elif isinstance(line, ShardStarted):
            self.begun[line.shard] = line.at
        elif isinstance(line, ShardEnded):
            self._ended.add(line.shard)
            self.failed += line.results.failed or 0
        elif isinstance(line, Closed):
            self.is_closed = True

    def completed(self, shard: str) -> int:
        """Return how many tests of a shard have a result."""
        return len(self._completed.get(shard, ()))

    def running_tests(self, shard: str | None = None) -> list[RunningTest]:
        """Return the tests in flight, of one shard or of all; one without a shard belongs to the first."""
        first = next(iter(self.begun), "")
        found = []
        for n, begun in self._running.items():
            on = self._workers.get(n)
            its_shard = on.shard if on else begun.shard or first
            if shard in (None, its_shard):
                since = timestamp(moment(begun.t)) if 0 < begun.t < MAX_MILLISECONDS else None
                found.append(
                    RunningTest(
                        node_id=begun.name,
                        shard_id=its_shard or None,
                        worker=on.worker if on else None,
                        started_at=since,
                    )
                )
        return found

    def overdue_tests(self, shard: str, milliseconds: float) -> list[OverdueTest]:
        """Return a shard's tests in flight that had exceeded their limits at a time since 1970."""
        found = []
        for n, seconds in self._limits.items():
            begun = self._running.get(n)
            if begun is None or (begun.shard or shard) != shard:
                continue
            if milliseconds - begun.t >= seconds * 1000 * LIMIT_TOLERANCE:
                found.append(OverdueTest(begun, seconds))
        return found

    def number_of(self, line: Tested, file: object, title: str) -> int:
        """Return which of the shard's tests of the same file and title a test is, from 1."""
        same = self._numbers.setdefault((line.shard, file, title), {})
        return same.setdefault(test_identity(line), len(same) + 1)


def test_identity(line: Tested) -> object:
    """Return what identifies a test within its shard; journals of version 1 have only its node id."""
    if line.id:
        return line.id
    fields = msgspec.json.decode(line.test)
    return fields.get("nodeId") or (fields.get("file"), fields.get("title"))
