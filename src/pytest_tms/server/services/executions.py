"""Executions: create, read, cancel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import attempts, clock, states
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.api_tokens import hash_token
from pytest_tms.server.domain.capabilities import CAPABILITIES
from pytest_tms.server.domain.column_values import plain
from pytest_tms.server.domain.executions import DEFAULT_TIMEOUT, Execution, Shard
from pytest_tms.server.domain.forecast import Forecast, forecast
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services.execution_changes import save_execution
from pytest_tms.server.services.idempotency import IdempotencyGuard
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, execution_lists, executions, results
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.execution_lists import ExecutionFilter, ListedExecution
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker

CANCELLED_BY_CALL = "User requested cancellation"


@dataclass(frozen=True)
class ExecutionSnapshot:
    """An execution, its shards, and what is expected of them."""

    execution: Execution
    shards: list[Shard]
    forecast: Forecast


def create_execution(
    database: Database,
    request: wire.ExecutionRequest,
    *,
    configuration: dict[str, Any],
    extra: dict[str, Any],
    urls: Urls,
    idempotency: IdempotencyGuard,
    caller: Caller,
) -> wire.ExecutionCreated:
    """Create an execution, with a token of its own for its events.

    ``configuration`` is the requested one as it was sent, ``extra`` are the unknown fields of the request.

    Raises:
        Forbidden: The caller has no access to the environment.
    """
    caller.check_reach([request.environment])
    requested = request.configuration or wire.Configuration()
    now = clock.now()
    execution_id = new_id("exec")
    token = idempotency.webhook_token(execution_id)
    execution = Execution(
        id=execution_id,
        test_suite=request.test_suite,
        environment=request.environment,
        provider=plain(request.provider or "custom"),
        trigger_source=request.trigger_source or "api",
        configuration={
            **configuration,
            "shards": requested.shards or 1,
            "timeout": requested.timeout or DEFAULT_TIMEOUT,
        },
        metadata=request.metadata or {},
        extra=extra,
        token_hash=hash_token(token),
        root=urls.root,
        created_at=now,
        shards_total=requested.shards or 1,
        timeout_given=requested.timeout is not None,
    ).timed(now)
    with database.write() as connection:
        response = idempotency.recall(connection, wire.ExecutionCreated)
        if response is None:
            executions.create(connection, execution)
            audit.add(connection, caller, "execution.created", execution.id, now)
            response = wire.ExecutionCreated(
                execution_id=execution.id,
                status=execution.status,
                created_at=clock.timestamp(now),
                configuration=execution.full_configuration,
                webhook_url=f"{urls.api}/webhooks/executions/{execution.id}",
                report_url=urls.report(execution.id),
                capabilities=list(CAPABILITIES),
            )
            idempotency.keep(connection, response)
        else:
            token = idempotency.webhook_token(response.execution_id)
    return msgspec.structs.replace(response, webhook_token=token)  # the token is not stored


def get_snapshot(database: Database, execution_id: str) -> ExecutionSnapshot:
    """Return an execution with its shards and their forecast.

    Raises:
        NotFound: There is no such execution.
    """
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        shards = executions.shards(connection, execution_id)
    return ExecutionSnapshot(execution, shards, forecast(shards, execution.results, clock.now()))


def list_executions(
    database: Database, caller: Caller, wanted: ExecutionFilter, *, before: int | None, limit: int
) -> tuple[list[tuple[ListedExecution, tuple[str, str, str]]], int | None]:
    """Return one page of the executions that the caller may see, and the cursor of the next page, if any.

    Each has its configuration, metadata and unknown fields as JSON text. ``before`` is the cursor.
    """
    if caller.token is not None:
        wanted = replace(wanted, environments=caller.token.environments)
    with database.read() as connection:
        found, following = execution_lists.find(connection, wanted, before=before, limit=limit)
        documents = execution_lists.documents(connection, [each.number for each in found])
    return [(each, documents[each.number]) for each in found if each.number in documents], following


def list_tests(
    database: Database, execution_id: str, *, status: str | None, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Return one page of an execution's tests as they were sent, and the cursor of the next page, if any.

    Raises:
        NotFound: There is no such execution.
    """
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        return results.page(connection, execution, status=status, after=after, limit=limit)


def cancel_execution(
    database: Database,
    settings: ServerSettings,
    urls: Urls,
    delivery_worker: DeliveryWorker,
    caller: Caller,
    execution_id: str,
) -> Execution:
    """Cancel an execution, so that its runs stop. A cancelled execution stays as it is.

    Raises:
        NotFound: There is no such execution.
        Conflict: It has ended otherwise, and none of its shards still reports.
    """
    now = clock.now()
    deliveries = 0
    with database.write() as connection:
        before = execution = executions.lock(connection, execution_id)
        states.check_cancel(execution.status, reports=is_reporting(connection, settings, execution, now))
        if execution.status != "cancelled":
            after = execution.cancelled(CANCELLED_BY_CALL, now)
            execution, deliveries = save_execution(connection, urls, before, after, (), now)
            audit.add(connection, caller, "execution.cancelled", execution.id, now)
    if deliveries:
        delivery_worker.wake()
    return execution


def is_reporting(connection: Connection, settings: ServerSettings, execution: Execution, now: int) -> bool:
    """Return whether a shard of an execution that has ended still reports."""
    if execution.status not in states.ENDED:
        return False
    silence = settings.shard_silence * 1000 or attempts.DEFAULT_SILENCE
    shards = executions.running_or_lost_shards(connection, execution.id)
    return any(shard.status == "running" or shard.is_heard(now, silence) for shard in shards)
