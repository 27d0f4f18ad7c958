"""Executions and shards as immutable values, and how reports change them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pytest_tms import wire
from pytest_tms.server.domain import counts, states

MAX_NAMED = 50
"""Shards that a reason names."""
DEFAULT_TIMEOUT = 1_800_000
"""Milliseconds, documented."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One shard. ``derived`` counts the tests that were sent.

    ``reported_counts`` are its runner's own counts.
    ``silence_deadline_at`` is when it is lost unless its runner reports; None without live reports.
    ``last_reported_at`` is when its runner last reported. ``runner`` is the process that runs the shard now,
    the ``attempt`` is how many have; ``ci_attempt`` is the number of its CI attempt. ``tests_received``
    counts the tests of this attempt that were sent. ``tests_duration`` is the sum of their durations, if
    no other time is known.
    """

    shard_id: str
    status: wire.ShardState = "pending"
    started_at: int | None = None
    ended_at: int | None = None
    duration: int | None = None
    tests_duration: int | None = None
    derived: wire.Counts = counts.NONE
    reported_counts: wire.Counts | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    silence_deadline_at: int | None = None
    last_reported_at: int | None = None
    runner: str | None = None
    attempt: int = 1
    ci_attempt: int | None = None
    tests_received: int = 0
    collected: int | None = None
    not_run: int | None = None
    not_run_reason: str | None = None
    not_run_tests: tuple[str, ...] = ()
    exit_status: int | None = None
    division: str | None = None
    reason: str | None = None
    in_flight: tuple[wire.RunningTest, ...] = ()

    @property
    def results(self) -> wire.Counts:
        """The counts to show. From the second attempt on the runner's own cover only a part of the tests."""
        if self.attempt > 1 and self.derived.total:
            return counts.with_failures(
                self.derived, self.reported_counts.failed if self.reported_counts else 0
            )
        return counts.effective(self.derived, self.reported_counts)

    @property
    def has_known_end(self) -> bool:
        """Whether its runner reported how it ended."""
        return self.status in states.REPORTED_ENDS

    @property
    def is_finished(self) -> bool:
        """Whether it has ended."""
        return self.status in states.FINISHED

    @property
    def has_no_reports(self) -> bool:
        """Whether it has no runner and no result."""
        return self.runner is None and not (self.is_finished or self.derived.total or self.reported_counts)

    def reported(self, status: wire.ShardState, now: int) -> Shard:
        """Return this shard after a report of its runner, or after its silence (``lost``)."""
        after = states.settled(states.shard_after(self.status, status), self.derived)
        ended = self.ended_at if self.has_known_end or self.status == after else now
        return replace(
            self,
            status=after,
            started_at=self.started_at or now,
            ended_at=ended if after in states.FINISHED else None,
            silence_deadline_at=None if self.status == "lost" else self.silence_deadline_at,
            in_flight=() if after in ("completed", "failed") else self.in_flight,
            reason=None if after == "running" else self.reason,
        )

    def next_attempt(self, runner: str | None, ci_attempt: int | None) -> Shard:
        """Return the next attempt of this shard by another runner: its tests are kept, its state is reset."""
        return Shard(
            shard_id=self.shard_id,
            derived=self.derived,
            reported_counts=None if self.derived.total else self.reported_counts,
            metadata=self.metadata,
            runner=runner,
            ci_attempt=ci_attempt,
            attempt=self.attempt + 1,
        )

    def is_silent(self, now: int) -> bool:
        """Return whether its runner has not reported in time."""
        return (
            self.status == "running"
            and self.silence_deadline_at is not None
            and self.silence_deadline_at <= now
        )

    def is_reporting(self, now: int, silence: int) -> bool:
        """Return whether its runner still reports.

        The latest report must be within the time that the runner announced, else within ``silence`` ms.
        """
        if self.has_known_end:
            return False
        if self.silence_deadline_at is not None:
            return self.silence_deadline_at > now
        return self.last_reported_at is not None and self.last_reported_at + silence > now

    @property
    def runtime(self) -> int | None:
        """Its duration in milliseconds: measured by its runner, else from its first report to its end.

        If the first report was the end, it is the sum of the durations of its tests.
        """
        if self.duration is not None or self.started_at is None or self.ended_at is None:
            return self.duration
        return self.ended_at - self.started_at or self.tests_duration or 0


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One execution. ``summed`` adds up its shards' results.

    ``reported_counts`` came with ``execution.completed``.

    ``number`` is the one by which its results name it, ``project_id`` its project's; both are 0 until it is
    stored. ``version`` increases with every change that pages show.
    ``root`` is the server's address as its creator reached it, ``deadline_at`` the end of its timeout, which
    its creator set if ``timeout_given``. ``max_shard_duration`` is that of its
    longest shard in milliseconds.
    ``cancelled_by_user`` says that a person cancelled it, not its runner. ``tests_expected`` and ``not_run``
    are set at its end, see ``forecast``.
    ``run_key`` is the key that its jobs share, and ``declared_shards`` are the numbers of shards that they
    declared. ``joined_at`` is when the latest job joined it, ``idle_since`` since when it waits for shards
    that may still begin. ``queue_state`` is ``complete`` if all tests of its queue have results, and None if
    its shards do not take their tests from a queue.
    """

    id: str
    number: int = 0
    project_id: int = 0
    version: int = 0
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
    reported_counts: wire.Counts | None = None
    timeout_given: bool = False
    max_shard_duration: int = 0
    cancelled_by_user: bool = False
    tests_expected: int | None = None
    not_run: int = 0
    run_key: str | None = None
    declared_shards: tuple[int, ...] = ()
    joined_at: int | None = None
    idle_since: int | None = None
    queue_state: Literal["open", "complete"] | None = None

    @property
    def results(self) -> wire.Counts:
        """The counts to show."""
        return counts.effective(self.summed, self.reported_counts)

    @property
    def awaits_shards(self) -> bool:
        """Whether more shards may begin after all known ones have ended: nobody declared their number."""
        return self.run_key is not None and not self.declared_shards

    @property
    def has_all_shards(self) -> bool:
        """Whether all shards have ended and no others are waited for: none are once a queue is complete."""
        if self.queue_state == "complete":
            return self.shards_finished >= self.shards_seen
        return not self.awaits_shards and self.shards_finished >= self.expected_shards

    @property
    def expected_shards(self) -> int:
        """The number of its shards: the requested one, or that of the reporting ones if it is larger."""
        return max(self.shards_total, self.shards_seen)

    @property
    def runtime(self) -> int | None:
        """Milliseconds from start to end, at least those of its longest shard; None before the end."""
        return runtime(self.started_at, self.ended_at, self.max_shard_duration)

    def with_status(self, status: wire.ExecutionState, now: int) -> Execution:
        """Return this execution in another state."""
        if status == self.status:
            return self
        started = self.started_at if status == "created" else self.started_at or now
        ended = now if status in states.ENDED and self.status not in states.ENDED else self.ended_at
        return replace(self, status=status, started_at=started, ended_at=ended, deadline_at=None)

    def with_job(self, declared: tuple[int, ...], now: int) -> Execution:
        """Return this execution after another job joined it; of different declared numbers the larger counts.

        The state stays the same: a shard that begins re-opens an execution that has ended.
        """
        known = tuple(sorted({*self.declared_shards, *declared}))
        before, most = max(self.declared_shards, default=1), max(known, default=1)
        added = max(0, most - before)
        return replace(
            self,
            joined_at=now,
            idle_since=None if self.idle_since is None or known else now,
            declared_shards=known,
            configuration={**self.configuration, "shards": most},
            shards_total=max(most, self.shards_total + added) if added else self.shards_total,
        )

    def idled(self, now: int, *, has_changed: bool) -> Execution:
        """Return this execution as waiting for more shards since ``now`` if all known ones have ended.

        ``has_changed`` is whether a shard reported, so that a wait begins anew.
        """
        is_idle = (
            self.awaits_shards
            and self.queue_state != "complete"
            and self.status == "running"
            and self.shards_seen > 0
            and self.shards_finished >= self.expected_shards
        )
        since = now if has_changed or self.idle_since is None else self.idle_since
        return replace(self, idle_since=since if is_idle else None)

    def expired(self, reason: str, now: int) -> Execution:
        """Return this execution failed by its deadline; one that had not started stays without a start."""
        return replace(self.with_status("failed", now), started_at=self.started_at, reason=reason)

    def without_start_timeout(self) -> Execution:
        """Return this execution before it failed because nothing had started; any other unchanged."""
        if self.status != "failed" or self.started_at is not None:
            return self
        return replace(self, status="created", ended_at=None, reason=None)

    def cancelled(self, reason: str, now: int) -> Execution:
        """Return this execution as cancelled by a person, also if it had ended already."""
        after = replace(self.with_status("cancelled", now), ended_at=now)
        return replace(after, reason=reason, cancelled_by_user=True)

    def reopened(self) -> Execution:
        """Return this execution, which had ended, as running again; what its end set is cleared.

        If it was completed before all of its shards had reported, it now expects only those that had.
        """
        is_closed = self.status == "completed" and self.shards_seen > 0
        return replace(
            self,
            status="running",
            ended_at=None,
            deadline_at=None,
            reason=None,
            reported_counts=None,
            cancelled_by_user=False,
            tests_expected=None if self.queue_state is None else self.tests_expected,
            not_run=0,
            shards_total=min(self.shards_total, self.shards_seen) if is_closed else self.shards_total,
        )

    def may_reopen(self, ci_attempt: int | None, before: int | None) -> bool:
        """Return whether an attempt of a shard may reopen this ended execution.

        ``ci_attempt`` and ``before`` are the CI attempts of the shard's new and previous runner. If a person
        cancelled the execution, only a newer CI attempt may reopen it.
        """
        return not self.cancelled_by_user or (ci_attempt or 1) > (before or 1)

    def timed(self, now: int, until: int = 0) -> Execution:
        """Return this execution with its deadline after a report at ``now``.

        A requested timeout counts from the first report; without one, each report moves the deadline.
        ``until`` is when the next report is due at the latest, 0 if a runner announced none.
        """
        if self.status == "created":
            return replace(self, deadline_at=self.created_at + self.timeout)
        if self.status != "running" or (self.timeout_given and self.deadline_at is not None):
            return self
        deadline = now + self.timeout
        return replace(self, deadline_at=deadline if self.timeout_given else max(deadline, until))

    @property
    def full_configuration(self) -> dict[str, Any]:
        """The configuration as the API returns it, with suite and environment."""
        return {
            **self.configuration,
            "testSuite": self.test_suite,
            "environment": self.environment,
        }

    @property
    def timeout(self) -> int:
        """Milliseconds that it may run, or without a requested timeout those that it may be silent."""
        return int(self.configuration["timeout"])

    def is_late(self, now: int) -> bool:
        """Return whether it waits or runs past its deadline."""
        waits = self.status in ("created", "running")
        return waits and self.deadline_at is not None and self.deadline_at <= now

    def why_late(self, shard_ids: Iterable[str]) -> str:
        """Return the reason for which it fails at its deadline; ``shard_ids`` are those that reported."""
        missing = self._missing_shards({*shard_ids})
        return f"{missing}. {self._why_late}" if missing else self._why_late

    def _missing_shards(self, shard_ids: Collection[str]) -> str:
        """Return which of the declared shards never reported, empty if all did or none did."""
        declared = self.shards_total
        number = declared - len(shard_ids)
        if not shard_ids or number <= 0:
            return ""
        missing = [name for each in range(1, declared + 1) if (name := str(each)) not in shard_ids]
        if len(missing) != number:  # shards have other names
            return f"{number:,} of {declared:,} shards never reported"
        named = f"{', '.join(missing[:MAX_NAMED])}{' …' if number > MAX_NAMED else ''}"
        return f"Shard{'s' * (number > 1)} {named} of {declared:,} never reported"

    @property
    def _why_late(self) -> str:
        seconds = f"{self.timeout / 1000:g} s"
        if self.status == "created":
            return f"It did not start within {seconds}"
        if self.timeout_given:
            return f"It ran longer than its timeout of {seconds}"
        return f"It sent nothing for {seconds}"

    def with_shard(self, before: Shard | None, after: Shard) -> Execution:
        """Return this execution after a change of one shard; ``before`` is None for a new shard."""
        old = before.results if before else counts.NONE
        was_finished = before.is_finished if before else False
        return replace(
            self,
            summed=counts.add([self.summed, counts.change(old, after.results)]),
            shards_seen=self.shards_seen + (before is None),
            shards_finished=self.shards_finished + after.is_finished - was_finished,
            max_shard_duration=max(self.max_shard_duration, after.runtime or 0),
        )

    def with_finished_shards(self, statuses: Collection[str], now: int) -> Execution:
        """Return this execution after its last shard finished; ``statuses`` are the states of its shards."""
        state = states.execution_from_shards(
            self.status, self.expected_shards, self.shards_finished, statuses
        )
        after = self.with_status(state, now)
        if state == "failed" and self.status != "failed":
            after = replace(after, reason=self.reason or states.why_failed(statuses))
        return after

    def with_ended_queue(self, state: wire.ExecutionState, reason: str | None, now: int) -> Execution:
        """Return this execution after the last of the shards that took tests from its queue finished.

        If it had failed, results that arrive later may complete its queue, or change the reason.
        """
        if self.status == "failed":
            if state == "failed":
                return replace(self, reason=reason or self.reason, not_run=0)
            return replace(self, status=state, ended_at=now, reason=reason, not_run=0)
        if self.status in states.ENDED:
            return self
        return replace(self.with_status(state, now), reason=self.reason or reason)


def runtime(started_at: int | None, ended_at: int | None, max_shard_duration: int) -> int | None:
    """Return the milliseconds that an execution ran, at least those of its longest shard."""
    return None if started_at is None or ended_at is None else max(ended_at - started_at, max_shard_duration)
