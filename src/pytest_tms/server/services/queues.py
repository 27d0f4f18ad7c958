"""The queue of a locked execution: creates it, assigns tests to runners, and frees unfinished ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain, islice

from sqlalchemy import Connection

from pytest_tms import division, wire
from pytest_tms.server.domain import queue
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.queue import QueuedTest
from pytest_tms.server.store import executions, plans, queues
from pytest_tms.server.store.queues import ClaimedBatch, CollectedTests, Queue, QueueRunner

MAX_CRASHES = 2
"""Shards that may end while they run a test; it is not run again after that."""
STANDBY_SILENCE = 5_000
"""Milliseconds without a request after which a runner that waits does not count as waiting."""
MAX_WEIGHT = 2**40
"""Milliseconds of a test that are counted at most."""


class LockedQueue:
    """The queue of an execution that is locked. ``save`` stores its changes."""

    def __init__(self, connection: Connection, execution: Execution, stored: Queue) -> None:
        self._connection = connection
        self._execution = execution
        self._stored = stored
        self.queue = stored
        self.runners = {each.runner: each for each in queues.runners(connection, execution.number)}

    @classmethod
    def find(cls, connection: Connection, execution: Execution) -> LockedQueue | None:
        """Return the queue of an execution, None if it has none."""
        stored = queues.get(connection, execution.number)
        return None if stored is None else cls(connection, execution, stored)

    @classmethod
    def create(cls, connection: Connection, execution: Execution, ci_attempt: int, now: int) -> LockedQueue:
        """Make an empty queue for a CI attempt, in the place of the one of an earlier attempt."""
        queues.remove(connection, execution.number)
        since = 0 if ci_attempt == 1 else executions.results_stored(connection, execution.id)
        made = Queue(created_at=now, ci_attempt=ci_attempt, since=since)
        queues.save(connection, execution.number, None, made)
        return cls(connection, execution, made)

    def save(self) -> None:
        """Store the queue; runners and batches are stored when they change."""
        queues.save(self._connection, self._execution.number, self._stored, self.queue)
        self._stored = self.queue

    def save_runner(self, runner: QueueRunner) -> None:
        """Store a runner."""
        before = self.runners.get(runner.runner)
        queues.save_runner(self._connection, self._execution.number, before, runner)
        self.runners[runner.runner] = runner

    def register(
        self, tests: Sequence[wire.QueuedTest], rerun: wire.RerunTests
    ) -> tuple[CollectedTests, list[int]]:
        """Add the tests that a shard collected; with ``rerun`` ``failed`` not those that passed before.

        Return the list that they are, and the order in which the queue has them, as positions in ``tests``.
        """
        positions: dict[str, int] = {}
        for position, test in enumerate(tests):
            positions.setdefault(without_nul(test.node_id), position)
        number = self._execution.number
        digest = blake2b("\0".join(sorted(positions)).encode(), digest_size=16).hexdigest()
        known = queues.collections(self._connection, number)
        names = queues.node_ids(self._connection, number)
        collected = next((each for each in known if each.digest == digest), None)
        if collected is None:
            added = self._extend(set(names), tests, positions, known, rerun)
            names += [each.node_id for each in added]
            lacks = queue.from_numbers(n for n, name in enumerate(names) if name not in positions)
            collected = CollectedTests(len(known), digest, len(positions), tuple(lacks))
            queues.save_collection(self._connection, number, collected)
        return collected, [positions[name] for name in names if name in positions]

    def _extend(
        self,
        known_names: Collection[str],
        tests: Sequence[wire.QueuedTest],
        positions: Mapping[str, int],
        known: Sequence[CollectedTests],
        rerun: wire.RerunTests,
    ) -> list[QueuedTest]:
        """Add those of some tests to the queue that it does not have; return them."""
        new = [(name, tests[position]) for name, position in positions.items() if name not in known_names]
        if self.queue.since and rerun == "failed":
            passed = queues.settled(self._connection, self._execution, [name for name, _ in new])
            new = [each for each in new if each[0] not in passed]
            self.queue = replace(self.queue, left_out=max(self.queue.left_out, len(passed)))
        plan = plans.get(self._connection, self._execution.number)
        durations = {} if plan is None else plan.durations.by_test
        groups = [(name, without_nul(test.group) or name.partition("::")[0]) for name, test in new]
        weights = division.estimate(groups, durations)
        first = len(known_names)
        added = [
            QueuedTest(number, name, group, min(round(weights[name, group]), MAX_WEIGHT))
            for number, (name, group) in enumerate(division.order_by_duration(groups, durations), first)
        ]
        if not added:
            return []
        queues.add_tests(self._connection, self._execution.number, added)
        weight = sum(each.weight for each in added)
        span = (first, first + len(added))
        for each in known:
            extended = each._replace(lacks=tuple(queue.joined([*each.lacks, span])))
            queues.save_collection(self._connection, self._execution.number, extended)
        self.queue = replace(
            self.queue,
            tests=self.queue.tests + len(added),
            weight=self.queue.weight + weight,
            free=(span, *self.queue.free),
            free_weight=self.queue.free_weight + weight,
        )
        return added

    def take(
        self, runner: QueueRunner, number: int, collected: CollectedTests, workers: float
    ) -> ClaimedBatch | None:
        """Give a runner its next tests; None if it can run none of those that are free.

        ``workers`` is the number of all workers that take tests.
        """
        free = queue.subtract(self.queue.free, collected.lacks)
        while free:
            weight = queue.batch_weight(self.queue.free_weight, self.queue.weight, workers, runner.workers)
            tests = self._first(free, weight, runner.workers)
            chosen = tests[: queue.count_of_batch(tests, weight, runner.workers)]
            unfinished = self._unfinished(chosen)
            free = queue.subtract(free, queue.from_numbers(test.number for test in chosen))
            self._remove(chosen)
            if unfinished:
                ranges = tuple(queue.from_numbers(test.number for test in unfinished))
                batch = ClaimedBatch(runner.runner, number, ranges)
                queues.add_batch(self._connection, self._execution.number, batch)
                return batch
        return None

    def names(self, batch: ClaimedBatch) -> list[str]:
        """Return the node ids of a batch, in its order."""
        return [test.node_id for test in self._tests(batch.ranges)]

    def batch(self, runner: str, number: int) -> ClaimedBatch | None:
        """Return the batch that a runner got by a request."""
        return queues.batch(self._connection, self._execution.number, runner, number)

    def collection_of(self, runner: QueueRunner) -> CollectedTests:
        """Return the list of tests that a runner collected."""
        return queues.collection(self._connection, self._execution.number, runner.collection)

    def release(self, runners: Collection[str]) -> list[QueuedTest]:
        """Make the unfinished tests of some runners free again, and return them."""
        batches = [each for each in self._open_batches() if each.runner in runners]
        returned = []
        for batch in batches:
            returned += self._unfinished(list(self._tests(batch.ranges)))
        self.queue = replace(
            self.queue,
            free=(*queue.from_numbers(test.number for test in returned), *self.queue.free),
            free_weight=self.queue.free_weight + sum(test.weight for test in returned),
        )
        queues.close_batches(self._connection, self._execution.number, batches)
        return returned

    def end(
        self, runner: str, shard_id: str, running: Collection[str]
    ) -> tuple[int, list[tuple[QueuedTest, list[str]]]]:
        """Take the unfinished tests of a runner back that has ended.

        ``running`` are the node ids of those that ended it: each runs once more, by another runner. Return
        how many tests are free again, and those that are not, because they have ended shards before, with
        the ids of these.
        """
        self.save_runner(replace(self.runners[runner], has_ended=True, is_standby=False))
        returned = self.release([runner])
        crashes = dict(self.queue.crashes)
        crashed = []
        for test in self._unfinished_named(running, returned):
            known = crashes.get(test.number, ())
            if runner in (name for name, _ in known):  # its end is reported again
                continue
            crashes[test.number] = [*known, (runner, shard_id)]
            is_free = queue.size(queue.subtract([(test.number, test.number + 1)], self.queue.free)) == 0
            if is_free and len(crashes[test.number]) >= MAX_CRASHES:
                crashed.append((test, [shard for _, shard in crashes[test.number]]))
        self.queue = replace(self.queue, crashes=crashes)
        self._remove([test for test, _ in crashed])
        return len(returned) - len(crashed), crashed

    def _unfinished_named(self, names: Collection[str], returned: Sequence[QueuedTest]) -> list[QueuedTest]:
        """Return the unfinished tests with these node ids, which are likely among the ``returned`` ones.

        A runner may report late which test it ran, when its tests have been given to others.
        """
        found = [test for test in returned if test.node_id in names]
        if late := {*names} - {test.node_id for test in found}:
            every = queues.node_ids(self._connection, self._execution.number)
            numbers = [number for number, name in enumerate(every) if name in late]
            found += self._unfinished(list(self._tests(queue.from_numbers(numbers))))
        return found

    def forget_finished(self) -> None:
        """Remove free tests that have a result: shards ran them without the server."""
        tests = list(self._tests(self.queue.free))
        unfinished = {test.number for test in self._unfinished(tests)}
        self._remove([test for test in tests if test.number not in unfinished])

    def unfinished(self, limit: int) -> tuple[int, list[str]]:
        """Return the number of tests without a result, and the node ids of the first."""
        taken = [test for tests in self.unfinished_by_runner().values() for test in tests]
        free = islice(self._tests(self.queue.free), limit)
        names = [test.node_id for test in chain(free, taken[:limit])]
        return queue.size(self.queue.free) + len(taken), names[:limit]

    def is_complete(self) -> bool:
        """Return whether all tests have a result."""
        return not self.queue.free and not self.unfinished_by_runner()

    def has_standby(self, runner: QueueRunner, now: int) -> bool:
        """Return whether another runner that collected the same tests waits to take those of others."""
        return any(
            each.is_standby
            and each.is_alive(now)
            and each.lease_until - each.lease + STANDBY_SILENCE > now
            and each.collection == runner.collection
            for each in self.runners.values()
            if each.runner != runner.runner
        )

    def unfinished_by_runner(self) -> dict[str, list[QueuedTest]]:
        """Return the tests that runners have taken and not finished; finished batches are closed."""
        found: dict[str, list[QueuedTest]] = {}
        closed = []
        for batch in self._open_batches():
            if unfinished := self._unfinished(list(self._tests(batch.ranges))):
                found.setdefault(batch.runner, []).extend(unfinished)
            else:
                closed.append(batch)
        queues.close_batches(self._connection, self._execution.number, closed)
        return found

    def _open_batches(self) -> list[ClaimedBatch]:
        return queues.open_batches(self._connection, self._execution.number)

    def _first(self, free: Sequence[queue.Range], weight: float, minimum: int) -> list[QueuedTest]:
        """Return the first tests of ranges that take longer than ``weight`` together, or all of them."""
        found = []
        for test in self._tests(free):
            found.append(test)
            weight -= test.weight
            if weight < 0 and len(found) >= minimum:
                break
        return found

    def _tests(self, ranges: Sequence[queue.Range]) -> Iterator[QueuedTest]:
        return queues.tests_of(self._connection, self._execution.number, ranges)

    def _remove(self, tests: Sequence[QueuedTest]) -> None:
        """Remove tests from those that are free."""
        removed = queue.from_numbers(test.number for test in tests)
        self.queue = replace(
            self.queue,
            free=tuple(queue.subtract(self.queue.free, removed)),
            free_weight=max(0, self.queue.free_weight - sum(test.weight for test in tests)),
        )

    def _unfinished(self, tests: Sequence[QueuedTest]) -> list[QueuedTest]:
        names = [test.node_id for test in tests]
        done = queues.finished(self._connection, self._execution, self.queue.since, names)
        return [test for test in tests if test.node_id not in done]
