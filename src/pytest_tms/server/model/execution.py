"""An execution and its shards as values, and how a report changes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pytest_tms import wire
from pytest_tms.server.model import counts, states


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One shard. ``derived`` counts the tests that were sent, ``given`` are its runner's own counts.

    ``silent_at`` is when it is lost unless its runner speaks; None where that one does not report live.
    """

    shard_id: str
    status: wire.ShardState = "pending"
    started_at: int | None = None
    ended_at: int | None = None
    duration: int | None = None
    derived: wire.Counts = counts.NONE
    given: wire.Counts | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    silent_at: int | None = None

    @property
    def results(self) -> wire.Counts:
        """The counts to show."""
        return counts.effective(self.derived, self.given)

    @property
    def has_known_end(self) -> bool:
        """Whether its runner said how it ended."""
        return self.status in states.KNOWN_ENDS

    @property
    def is_finished(self) -> bool:
        """Whether it runs no more."""
        return self.status in states.FINISHED

    def reported(self, status: wire.ShardState, now: int) -> Shard:
        """This shard after its runner said where it stands, or has said nothing for too long (``lost``)."""
        after = states.shard_after(self.status, status)
        ended = self.ended_at if self.has_known_end or self.status == after else now
        return replace(
            self,
            status=after,
            started_at=self.started_at or now,
            ended_at=ended if after in states.FINISHED else None,
            silent_at=None if self.status == "lost" else self.silent_at,
        )

    def is_silent(self, now: int) -> bool:
        """Whether its runner should have spoken by now."""
        return self.status == "running" and self.silent_at is not None and self.silent_at <= now

    @property
    def runtime(self) -> int | None:
        """Milliseconds that it ran: what its runner measured, else from its first report to its end."""
        if self.duration is not None or self.started_at is None or self.ended_at is None:
            return self.duration
        return self.ended_at - self.started_at


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One execution. ``summed`` adds up its shards' results, ``given`` came with ``execution.completed``.

    ``root`` is the server's address as its creator reached it, ``deadline_at`` the end of its timeout.
    """

    id: str
    status: wire.ExecutionState = "created"
    test_suite: str
    environment: str
    provider: str
    trigger_source: str
    configuration: dict[str, Any]
    metadata: dict[str, Any]
    extra: dict[str, Any]
    token_hash: str
    root: str = ""
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    deadline_at: int | None = None
    reason: str | None = None
    shards_total: int = 1
    shards_seen: int = 0
    shards_finished: int = 0
    summed: wire.Counts = counts.NONE
    given: wire.Counts | None = None

    @property
    def results(self) -> wire.Counts:
        """The counts to show."""
        return counts.effective(self.summed, self.given)

    @property
    def expected_shards(self) -> int:
        """How many shards it has: those asked for, or more where more reported."""
        return max(self.shards_total, self.shards_seen)

    @property
    def runtime(self) -> int | None:
        """Milliseconds from start to end, or None before the end."""
        return None if self.started_at is None or self.ended_at is None else self.ended_at - self.started_at

    def became(self, status: wire.ExecutionState, now: int) -> Execution:
        """This execution in another state."""
        started = self.started_at if status == "created" else self.started_at or now
        ended = now if status in states.ENDED and self.status not in states.ENDED else self.ended_at
        return replace(self, status=status, started_at=started, ended_at=ended)

    def timed(self, now: int) -> Execution:
        """This execution with a deadline once it runs; ``now`` is when we heard of it, not when it began."""
        if self.status != "running" or self.deadline_at is not None:
            return self
        return replace(self, deadline_at=now + self.timeout)

    @property
    def timeout(self) -> int:
        """Milliseconds that it may run."""
        return int(self.configuration["timeout"])

    def is_late(self, now: int) -> bool:
        """Whether it runs longer than it may."""
        return self.status == "running" and self.deadline_at is not None and self.deadline_at <= now

    def with_shard(self, before: Shard | None, after: Shard) -> Execution:
        """This execution after a change of one shard; ``before`` is None for a new one."""
        old = before.results if before else counts.NONE
        was_finished = before.is_finished if before else False
        return replace(
            self,
            summed=counts.add([self.summed, counts.change(old, after.results)]),
            shards_seen=self.shards_seen + (before is None),
            shards_finished=self.shards_finished + after.is_finished - was_finished,
        )
