"""The forecast of an execution: the number of tests it will run, of those that did not run, and its end.

Runners with the capability ``expected`` send how many tests they collected. A runner may have several shards
and send the number for all of them with the first, so expected and finished tests are compared by runner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytest_tms import wire
from pytest_tms.server.domain import states
from pytest_tms.server.domain.executions import Execution, Shard

MAX_WAIT = 366 * 86_400_000
"""Milliseconds until the latest end that is estimated."""


@dataclass(frozen=True)
class Forecast:
    """``expected`` and ``not_run`` are numbers of tests, or None if nothing is known of them.

    ``reason`` is why tests did not run; ``ends_at`` is estimated, in milliseconds since 1970. ``missing`` has
    the numbers of tests that did not run by shard, as far as they are known.
    """

    expected: int | None = None
    not_run: int | None = None
    reason: str | None = None
    ends_at: int | None = None
    missing: Mapping[str, int] = field(default_factory=dict)


def forecast(shards: Iterable[Shard], execution: Execution, now: int) -> Forecast:
    """Return the forecast of an execution with these shards; that of a queue is known without them."""
    results = execution.results
    if execution.queue_state is not None:
        return _of_queue(shards, execution, now)
    runs: dict[str, list[Shard]] = {}
    for shard in shards:
        key = f"shard {shard.shard_id}" if shard.runner is None else f"runner {shard.runner}"
        runs.setdefault(key, []).append(shard)
    collected = [each for run in runs.values() if (each := _collected(run)) is not None]
    missing = [each for run in runs.values() if (each := _not_run(run)) is not None]
    not_run = min(sum(missing), wire.MAX_COUNT) if missing else None
    reasons = [why for run in runs.values() if _not_run(run) and (why := _reason(run))]
    ends = [end for run in runs.values() if (end := _end(run, now)) is not None]
    expected = None
    if collected or missing:
        expected = min(max(sum(collected), results.total + (not_run or 0)), wire.MAX_COUNT)
    by_shard = {
        shard.shard_id: number
        for run in runs.values()
        for shard in run
        if (number := _missing(run, shard)) is not None
    }
    return Forecast(expected, not_run, reasons[0] if reasons else None, max(ends, default=None), by_shard)


def _of_queue(shards: Iterable[Shard], execution: Execution, now: int) -> Forecast:
    done = execution.results.total
    expected = max(execution.tests_expected or 0, done)
    has_ended = execution.status in states.ENDED
    reason = next((shard.reason for shard in shards if shard.reason and shard.status in states.ABRUPT), None)
    ends_at = None
    if done and execution.started_at is not None and not has_ended:
        left = max(0, now - execution.started_at) * (expected - done) // done
        ends_at = now + left if left < MAX_WAIT else None
    return Forecast(expected, execution.not_run if has_ended else None, reason, ends_at)


def _collected(run: list[Shard]) -> int | None:
    known = [shard.collected for shard in run if shard.collected is not None]
    return sum(known) if known else None


def _not_run(run: list[Shard]) -> int | None:
    """Return the number that the runner reported; else, after its end, collected minus finished ones."""
    reported = [shard.not_run for shard in run if shard.not_run is not None]
    if reported:
        return sum(reported)
    collected = _collected(run)
    if collected is None or not all(shard.is_finished for shard in run):
        return None
    return max(0, collected - _done(run))


def _missing(run: list[Shard], shard: Shard) -> int | None:
    """Return the number for one shard; for a runner with several, only the reported one."""
    return _not_run(run) if len(run) == 1 else shard.not_run


def _done(run: list[Shard]) -> int:
    """Return the number of tests of this attempt with a result; a runner may report only their counts."""
    return sum(
        max(shard.tests_received, shard.reported_counts.total if shard.reported_counts else 0)
        for shard in run
    )


def _reason(run: list[Shard]) -> str | None:
    reasons = [shard.not_run_reason for shard in run if shard.not_run_reason]
    reasons += [shard.reason for shard in run if shard.reason and shard.status in states.ABRUPT]
    return reasons[0] if reasons else None


def _end(run: list[Shard], now: int) -> int | None:
    starts = [shard.started_at for shard in run if shard.started_at is not None]
    done, collected = _done(run), _collected(run)
    if not starts or not done or collected is None or all(shard.is_finished for shard in run):
        return None
    left = max(0, now - min(starts)) * max(0, collected - done) // done
    return now + left if left < MAX_WAIT else None
