"""The shards of one session, and which of them a test belongs to."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_tms.plugin.results.shard_counts import ShardCounts
from pytest_tms.plugin.xdist.sharding import ShardName
from pytest_tms.plugin.xdist.workers import Workers


class SessionShards:
    """The shard that ``--tms-shard`` names, else one for each xdist worker, else the shard "1"."""

    def __init__(self, name: ShardName | None, workers: Workers | None, started: float) -> None:
        """``started`` is when they begin, in seconds since 1970."""
        self._by_worker = workers if name is None else None
        count = workers.count if workers is not None else 1
        ids = [name.id] if name is not None else [str(number) for number in range(1, max(count, 1) + 1)]
        self._shards = {shard_id: ShardCounts(shard_id, started) for shard_id in ids}
        self._name = name
        self._workers = workers
        self.first = self._shards[ids[0]]

    def __iter__(self) -> Iterator[ShardCounts]:
        return iter(self._shards.values())

    def of_worker(self, worker: str) -> ShardCounts:
        """Return the shard of an xdist worker; without workers the only one."""
        if self._by_worker is None:
            return self.first
        return self._shards[self._by_worker.shard_of(worker)]

    @property
    def ids(self) -> list[str]:
        """Their ids in order."""
        return list(self._shards)

    @property
    def declared(self) -> int | None:
        """How many shards the run has in all processes, by ``--tms-shard I/N``; None if that is not known."""
        return self._name.total or None if self._name is not None else None

    @property
    def are_part(self) -> bool:
        """Whether the run has more shards, in other processes."""
        return (self.declared or 1) > 1

    @property
    def is_parallel(self) -> bool:
        """Whether the run's tests run in several processes."""
        workers = self._workers.count if self._workers is not None else 0
        return max(self.declared or len(self._shards), workers) > 1

    @property
    def has_first(self) -> bool:
        """Whether the run's first shard is among these: it reports what all shards have in common."""
        return not self.are_part or self.first.id == "1"

    @property
    def result_count(self) -> int:
        """How many tests have a result."""
        return sum(sum(shard.counts.values()) for shard in self)
