"""Executions: create, read, cancel."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from pytest_tms import calls, wire
from pytest_tms.errors import Problem, Unprocessable
from pytest_tms.server.api import authentication
from pytest_tms.server.api.about import CAPABILITIES
from pytest_tms.server.api.authentication import Caller
from pytest_tms.server.api.idempotency import IdempotencyGuard
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode, unknown_fields
from pytest_tms.server.domain import attempts, states
from pytest_tms.server.domain.column_values import plain
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.forecast import forecast
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.metadata_limits import size_problems
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import shard_reports
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, executions, results
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.outbox import announce

CANCELLED_BY_CALL = "User requested cancellation"
DEFAULT_TIMEOUT = 1_800_000
"""Milliseconds, documented."""


@route(calls.CREATE_EXECUTION)
def create_execution(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    addresses: Urls,
    once: IdempotencyGuard,
    caller: Caller,
) -> wire.ExecutionCreated:
    """Create an execution, with a token of its own for its events."""
    request, document = decode(body, wire.ExecutionRequest, partial(_problems, settings))
    caller.check_reach([request.environment])
    asked = request.configuration or wire.Configuration()
    execution_id = new_id("exec")
    token = once.webhook_token(execution_id)
    execution = Execution(
        id=execution_id,
        test_suite=request.test_suite,
        environment=request.environment,
        provider=plain(request.provider or "custom"),
        trigger_source=request.trigger_source or "api",
        configuration={
            **(document.get("configuration") or {}),
            "shards": asked.shards or 1,
            "timeout": asked.timeout or DEFAULT_TIMEOUT,
        },
        metadata=request.metadata or {},
        extra=unknown_fields(document, wire.ExecutionRequest),
        token_hash=authentication.hashed(token),
        root=addresses.root,
        created_at=authentication.now(),
        shards_total=asked.shards or 1,
        timeout_given=asked.timeout is not None,
    )
    execution = execution.timed(execution.created_at)
    with database.write() as connection:
        answer = once.recall(connection, body, wire.ExecutionCreated)
        if answer is None:
            executions.create(connection, execution)
            audit.add(connection, caller, "execution.created", execution.id, execution.created_at)
            answer = wire.ExecutionCreated(
                execution_id=execution.id,
                status=execution.status,
                created_at=_time(execution.created_at),
                configuration=_configuration(execution),
                webhook_url=f"{addresses.api}/webhooks/executions/{execution.id}",
                report_url=addresses.report(execution.id),
                capabilities=list(CAPABILITIES),
            )
            once.keep(connection, answer)
        else:
            token = once.webhook_token(answer.execution_id)
    return msgspec.structs.replace(answer, webhook_token=token)


@route(calls.GET_EXECUTION)
def get_execution(database: Database, addresses: Urls, execution_id: str) -> dict[str, Any]:
    """An execution's status, with the unknown fields that it was created with."""
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        shards = executions.shards(connection, execution_id)
    now = authentication.now()
    expected = forecast(shards, execution.results, now)
    status = wire.ExecutionStatus(
        execution_id=execution.id,
        status=execution.status,
        progress=wire.Progress(
            started_at=_maybe_time(execution.started_at),
            completed_at=_maybe_time(execution.ended_at),
            duration=execution.runtime,
            shards_completed=execution.shards_finished,
            total_shards=execution.expected_shards,
            tests_expected=expected.expected,
            tests_not_run=expected.not_run,
            estimated_end=_maybe_time(expected.ends_at),
        ),
        results=execution.results,
        shard_results=[_shard(shard, expected.missing.get(shard.shard_id)) for shard in shards],
        running=[test for shard in shards if shard.status == "running" for test in _in_flight(shard)],
        artifacts=addresses.links(execution.id),
        reason=execution.reason,
        created_at=_time(execution.created_at),
        test_suite=execution.test_suite,
        environment=execution.environment,
        provider=execution.provider,
        trigger_source=execution.trigger_source,
        configuration=_configuration(execution),
        metadata=execution.metadata,
    )
    document: dict[str, Any] = msgspec.to_builtins(status)
    return {**execution.extra, **document}


@route(calls.CANCEL_EXECUTION)
def cancel_execution(
    database: Database,
    settings: ServerSettings,
    addresses: Urls,
    worker: DeliveryWorker,
    caller: Caller,
    execution_id: str,
) -> wire.ExecutionCancelled:
    """Cancel an execution; a repeated call gives the first answer again."""
    execution = cancel(database, settings, addresses, worker, caller, execution_id)
    return wire.ExecutionCancelled(
        execution_id=execution.id,
        cancelled_at=_time(execution.ended_at or execution.created_at),
        reason=execution.reason or CANCELLED_BY_CALL,
    )


def cancel(
    database: Database,
    settings: ServerSettings,
    addresses: Urls,
    worker: DeliveryWorker,
    caller: Caller,
    execution_id: str,
) -> Execution:
    """Cancel an execution, so that its runs stop; one that is cancelled stays as it is.

    Raises NotFound, and Conflict if it has ended otherwise and no shard of it reports any more.
    """
    now = authentication.now()
    with database.write() as connection:
        before = execution = executions.lock(connection, execution_id)
        states.check_cancel(execution.status, reports=reports(connection, settings, execution, now))
        if execution.status != "cancelled":
            execution = execution.cancelled(CANCELLED_BY_CALL, now)
            execution = shard_reports.close(connection, execution, now)
            executions.save(connection, execution)
            audit.add(connection, caller, "execution.cancelled", execution.id, now)
        told = announce(connection, addresses, before, execution)
    if told:
        worker.wake()
    return execution


def reports(connection: Connection, settings: ServerSettings, execution: Execution, now: int) -> bool:
    """Return whether a shard of an execution that has ended still reports."""
    silence = settings.shard_silence * 1000 or attempts.DEFAULT_SILENCE
    return execution.status in states.ENDED and executions.is_heard(connection, execution.id, now, silence)


@route(calls.LIST_TESTS)
def list_tests(
    database: Database,
    execution_id: str,
    cursor: str | None = None,
    limit: str = "100",
    status: str | None = None,
) -> wire.TestPage:
    """One page of an execution's tests, as they were sent."""
    problems = []
    if cursor is not None and not (cursor.isdecimal() and len(cursor) < 19):
        problems.append(Problem("cursor", "Must be the cursor of an earlier page"))
    if not (limit.isdecimal() and len(limit) < 4 and 1 <= int(limit) <= 200):
        problems.append(Problem("limit", "Must be a whole number from 1 to 200"))
    if status not in (None, "passed", "failed", "skipped"):
        problems.append(Problem("status", "Must be one of: passed, failed, skipped"))
    if problems:
        raise Unprocessable(details=problems)
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        tests, following = results.page(
            connection, execution, status=status, after=int(cursor or 0), limit=int(limit)
        )
    return wire.TestPage(
        execution_id=execution_id, tests=tests, cursor=None if following is None else str(following)
    )


def _problems(settings: ServerSettings, document: dict[str, Any]) -> list[Problem]:
    """Return what no schema says: the operator's suites and environments, and the size of free objects."""
    allowed = {"testSuite": settings.suites, "environment": settings.environments}
    return [
        *(
            Problem(name, f"Must be one of: {', '.join(values)}")  # the documented message
            for name, values in allowed.items()
            if document.get(name) and isinstance(document[name], str) and document[name] not in values
        ),
        *size_problems(document.get("configuration"), "configuration"),
        *size_problems(document.get("metadata"), "metadata"),
    ]


def _configuration(execution: Execution) -> dict[str, Any]:
    return {
        **execution.configuration,
        "testSuite": execution.test_suite,
        "environment": execution.environment,
    }


def _shard(shard: Shard, not_run: int | None) -> wire.ShardResult:
    return wire.ShardResult(
        shard_id=shard.shard_id,
        status=shard.status,
        results=shard.results,
        duration=shard.runtime,
        metadata=shard.metadata,
        attempt=shard.attempt,
        collected=shard.collected,
        not_run=not_run,
        not_run_reason=shard.not_run_reason,
        not_run_tests=list(shard.not_run_tests),
        exit_status=shard.exit_status,
        reason=shard.reason,
        in_flight=_in_flight(shard),
    )


def _in_flight(shard: Shard) -> list[wire.TestInFlight]:
    return [
        wire.TestInFlight(
            node_id=test.node_id, shard_id=shard.shard_id, worker=test.worker, started_at=test.started_at
        )
        for test in shard.in_flight
    ]


def _time(milliseconds: int) -> str:
    return wire.timestamp(wire.moment(milliseconds))


def _maybe_time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else _time(milliseconds)
