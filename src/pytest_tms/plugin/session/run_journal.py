"""Writes the journal of a session: every line is masked and appended here.

Functions of other modules are bound before tests run, since tests may replace those of the standard library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from pytest_tms.journal.lines import (
    TESTED,
    Line,
    OnWorker,
    Tested,
    TimeLimit,
    as_json,
    decode,
    encode,
    encode_begun,
    encode_tested,
    text_as_json,
)
from pytest_tms.journal.writer import JournalWriter
from pytest_tms.masking.masker import Masker
from pytest_tms.plugin.results.shard_counts import ShardCounts
from pytest_tms.plugin.xdist.sharding import test_id
from pytest_tms.wire.results import TestResult


class RunJournal:
    """Writes the lines of one session, and keeps the numbers of the tests in flight.

    ``is_grouped`` removes from node ids the group that xdist's loadgroup appends.
    """

    def __init__(self, writer: JournalWriter, masker: Masker, *, is_grouped: bool) -> None:
        self.writer = writer
        self._append = writer.append
        self._mask = masker.line
        self._is_grouped = is_grouped
        self._count = 0
        self._running: dict[str, int] = {}
        self._shard_json: dict[str, bytes] = {}
        self._next_limit = 0.0
        self._time: Callable[[], float] = time.time

    @property
    def path(self) -> Path:
        """The journal's file."""
        return self.writer.path

    @property
    def running(self) -> list[str]:
        """The node ids of the tests in flight, as pytest has them."""
        return list(self._running)

    def write(self, line: Line) -> None:
        """Append a line."""
        self._append(self._mask(encode(line)))

    def write_start(self, nodeid: str) -> None:
        """Record that a test starts: if the process is killed, the report names the test."""
        number = self._running.get(nodeid)
        if number is None:
            self._count += 1
            number = self._running[nodeid] = self._count
        name = test_id(nodeid) if self._is_grouped else nodeid
        self._append(self._mask(encode_begun(number, name, int(self._time() * 1000))))
        if self._next_limit:
            self.write(TimeLimit(n=number, seconds=self._next_limit))
            self._next_limit = 0.0

    def write_time_limit(self, nodeid: str, seconds: float) -> None:
        """Record a test's limit, which pytest-timeout sets before the test starts or when its call does."""
        number = self._running.get(nodeid)
        if number is None:
            self._next_limit = seconds
        else:
            self.write(TimeLimit(n=number, seconds=seconds))

    def write_worker(self, nodeid: str, worker: str, shard: str) -> None:
        """Record which xdist worker runs a test in flight."""
        number = self._running.get(nodeid)
        if number is not None:
            self.write(OnWorker(n=number, worker=worker, shard=shard))

    def mark_quarantined(self, names: Collection[str]) -> None:
        """Append the results of failed tests again, marked as those of tests in quarantine.

        ``names`` are their node ids as they were written.
        """
        last: dict[tuple[str, int], Tested] = {}
        for raw in self.writer.lines():
            if raw.startswith(TESTED) and (b'"status":"failed"' in raw or b'"again":true' in raw):
                line = decode(raw)
                if isinstance(line, Tested):
                    last[line.shard, line.id] = line
        for line in last.values():
            fields = msgspec.json.decode(line.test, type=dict[str, msgspec.Raw])
            status, name = (msgspec.json.decode(fields.get(each, b"null")) for each in ("status", "nodeId"))
            if status != "failed" or name not in names:
                continue
            fields["quarantined"] = msgspec.Raw(b"true")
            test = msgspec.json.encode(fields)
            self._append(encode_tested(text_as_json(line.shard), test, test_number=line.id, again=True))

    def write_result(
        self, shard: ShardCounts, identity: object, result: TestResult, nodeid: str = ""
    ) -> None:
        """Count a complete result in its shard and append it.

        ``identity`` is as in ``ShardCounts.count``. ``nodeid`` is that of the test in flight that ends.
        """
        number = self._running.pop(nodeid, 0)
        test_number, is_repeated = shard.count(identity, result)
        shard_json = self._shard_json.get(shard.id)
        if shard_json is None:
            shard_json = self._shard_json[shard.id] = text_as_json(shard.id)
        line = encode_tested(
            shard_json, as_json(result), n=number, test_number=test_number, again=is_repeated
        )
        self._append(self._mask(line))
