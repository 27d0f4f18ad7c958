"""Claims: runners take tests from the queue of their execution."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.errors import Problem
from pytest_tms.server.domain import clock, queue, states
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import timings
from pytest_tms.server.services.execution_changes import save_execution
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.queues import LockedQueue
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.store import executions, runners
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.queues import ClaimedBatch, CollectedTests, QueueRunner
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker

LEASE = 15_000
"""Milliseconds without a report after which the tests of a runner are given to others."""
RETRY_AFTER = 1_000
"""Milliseconds after which a waiting runner sends its next request."""


def claim_tests(
    database: Database,
    rate_limits: RateLimits,
    execution_id: str,
    request: wire.ClaimRequest,
    *,
    urls: Urls,
    delivery_worker: DeliveryWorker,
    idempotency: IdempotentRequest,
    caller: Caller,
) -> wire.Claim:
    """Return the next batch of tests of a runner: "The queue of an execution" in docs/protocol.md.

    The first request makes the queue. A request with the number of an earlier one has the same batch.

    Raises:
        NotFound: The execution does not exist.
        Forbidden: The caller has no access to its environment.
        Unprocessable: The first request of a runner has no tests.
    """
    if request.tests is not None:
        timings.make_plan(database, execution_id, caller)
    now = clock.now()
    with database.write() as connection:
        # The number decides what is repeated, so the response of the key need not have the tests.
        if idempotency.recall(connection, wire.Claim) is None:
            idempotency.keep(connection, wire.Claim(number=request.number))
        before = executions.lock(connection, execution_id)
        caller.require_access([before.environment])
        lease = states.silence_timeout(LEASE, rate_limits.progress_interval(before.expected_shards))
        execution, response = _claim(connection, before, request, lease, now)
        execution, deliveries = save_execution(connection, urls, before, execution.timed(now), (), now)
    if deliveries:
        delivery_worker.wake()
    return response


def _claim(
    connection: Connection, execution: Execution, request: wire.ClaimRequest, lease: int, now: int
) -> tuple[Execution, wire.Claim]:
    """Return an execution after a request, and the response."""
    over = wire.Claim(number=request.number, state="finished", lease=lease)
    name = without_nul(request.runner)
    found = LockedQueue.find(connection, execution)
    attempt = request.attempt or (1 if found is None else found.queue.ci_attempt)
    is_newer = found is not None and attempt > found.queue.ci_attempt
    is_older = found is not None and attempt < found.queue.ci_attempt
    if is_older or (execution.status == "cancelled" and not is_newer):
        return execution, over
    if is_newer:
        found = None
    runner = None if found is None else found.runners.get(name)
    if runner is None and request.tests is None and request.is_leaving:
        return execution, over
    if runner is None and request.tests is None:
        refuse([Problem("tests", "Is required in the first request of a runner")])
    if found is None:
        found = LockedQueue.create(connection, execution, attempt, now)
        execution = replace(execution, queue_state="open")
    order: list[int] = []
    if request.tests is not None:
        collected, order = found.register(request.tests, request.rerun)
        [shard_id] = runners.assigned(connection, execution.id, name, [without_nul(request.shard_id)])
        runner = QueueRunner(
            runner=name,
            shard_id=shard_id,
            collection=collected.number,
            workers=request.workers,
            lease=lease,
            lease_until=now + lease,
        )
    else:
        assert runner is not None  # noqa: S101  # for the type checker
        collected = found.collection_of(runner)
        runner = replace(runner, workers=request.workers, lease_until=now + lease, is_standby=False)
    found.save_runner(replace(runner, has_ended=request.is_leaving))
    batch, state = None, over.state
    if request.is_leaving:
        found.release([name])
    else:
        batch, state = _next_batch(found, execution, request, collected, now)
    if found.is_complete():
        execution = replace(execution, queue_state="complete")
    elif batch is not None or (request.is_leaving and request.tests is not None):
        execution = replace(execution, queue_state="open")
        if execution.status in states.ENDED:
            execution = execution.reopened()
    found.save()
    execution = replace(execution, tests_expected=found.queue.tests + found.queue.left_out)
    return execution, wire.Claim(
        number=request.number,
        tests=[] if batch is None else found.names(batch),
        state=state,
        retry_after=RETRY_AFTER if state == "waiting" else 0,
        lease=lease,
        order=order,
        unclaimed=queue.renumbered(queue.subtract(found.queue.free, collected.lacks), collected.lacks),
        shards=sorted({each.shard_id for each in found.runners.values() if each.is_alive(now)}),
    )


def _next_batch(
    found: LockedQueue, execution: Execution, request: wire.ClaimRequest, collected: CollectedTests, now: int
) -> tuple[ClaimedBatch | None, wire.QueueState]:
    """Return the batch of a request, None if it gets no tests, and whether its runner continues."""
    runner = found.runners[without_nul(request.runner)]
    batch = found.batch(runner.runner, request.number)
    if batch is None:
        workers = sum(each.workers for each in found.runners.values() if each.is_alive(now))
        declared = queue.UNKNOWN_SHARDS if execution.awaits_shards else execution.configuration["shards"]
        batch = found.take(runner, request.number, collected, max(workers, declared * runner.workers))
    if batch is not None:
        return batch, "running"
    unfinished = found.unfinished_by_runner()
    is_busy = bool(unfinished.pop(runner.runner, None))
    own = {
        number
        for tests in unfinished.values()
        for number, _ in queue.subtract([(test.number, test.number + 1) for test in tests], collected.lacks)
    }
    if own and (is_busy or not found.has_standby(runner, now)):
        found.save_runner(replace(runner, is_standby=not is_busy))
        return None, "waiting"
    if not is_busy:
        found.save_runner(replace(runner, has_ended=True))
    return None, "finished"
