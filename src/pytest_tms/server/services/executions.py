"""Executions: create, read, cancel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import attempts, clock, states
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.api_tokens import derived_webhook_token, hash_token
from pytest_tms.server.domain.capabilities import CAPABILITIES
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.executions import DEFAULT_TIMEOUT, Execution, Shard
from pytest_tms.server.domain.forecast import Forecast, forecast
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services.execution_changes import save_execution
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.queue_status import queue_status
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, execution_lists, executions, results
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.execution_lists import ExecutionFilter, ListedExecution
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.encryption import SecretEncryption

CANCELLED_BY_CALL = "User requested cancellation"


@dataclass(frozen=True)
class ExecutionSnapshot:
    """An execution, its shards, what is expected of them, and its queue if it has one."""

    execution: Execution
    shards: list[Shard]
    forecast: Forecast
    queue: wire.QueueStatus | None = None


def create_execution(
    database: Database,
    request: wire.ExecutionRequest,
    *,
    configuration: dict[str, Any],
    extra: dict[str, Any],
    urls: Urls,
    encryption: SecretEncryption,
    idempotency: IdempotentRequest,
    caller: Caller,
) -> wire.ExecutionCreated:
    """Create an execution, with a token of its own for its events, or join the one with the same run key.

    ``configuration`` is the requested one as it was sent, ``extra`` are the unknown fields of the request.

    Raises:
        Forbidden: The caller has no access to the environment.
    """
    caller.require_access([request.environment])
    now = clock.now()
    with database.write() as connection:
        response = idempotency.recall(connection, wire.ExecutionCreated)
        if response is not None:
            execution = executions.lock(connection, response.execution_id)
            token = (
                idempotency.webhook_token(execution.id)
                if request.run_key is None
                else _shared_token(connection, encryption, execution)
            )
        else:
            execution = _new_execution(request, configuration, extra, urls, now)
            if request.run_key is None:
                token = idempotency.webhook_token(execution.id)
            else:
                token = derived_webhook_token(encryption.derive(_purpose(execution.id))[0])
            execution = replace(execution, token_hash=hash_token(token))
            found = _find_or_create(connection, execution, caller)
            if found is not None:
                execution = found.with_job(execution.declared_shards, now)
                executions.save(connection, execution)
                token = _shared_token(connection, encryption, execution)
                idempotency.refund()
            response = wire.ExecutionCreated(
                execution_id=execution.id,
                status=execution.status,
                created_at=clock.timestamp(execution.created_at),
                configuration=execution.full_configuration,
                webhook_url=f"{urls.api}/webhooks/executions/{execution.id}",
                report_url=urls.report(execution.id),
                capabilities=list(CAPABILITIES),
                joined=found is not None,
            )
            idempotency.keep(connection, response)
    return msgspec.structs.replace(response, webhook_token=token)  # the token is not stored


def _new_execution(
    request: wire.ExecutionRequest, configuration: dict[str, Any], extra: dict[str, Any], urls: Urls, now: int
) -> Execution:
    """Return a new execution, without the hash of its token."""
    requested = request.configuration or wire.Configuration()
    return Execution(
        id=new_id("exec"),
        test_suite=request.test_suite,
        environment=request.environment,
        provider=without_nul(request.provider or "custom"),
        trigger_source=request.trigger_source or "api",
        configuration={
            **configuration,
            "shards": requested.shards or 1,
            "timeout": requested.timeout or DEFAULT_TIMEOUT,
        },
        metadata=request.metadata or {},
        extra=extra,
        token_hash="",
        root=urls.root,
        created_at=now,
        shards_total=requested.shards or 1,
        timeout_given=requested.timeout is not None,
        run_key=None if request.run_key is None else without_nul(request.run_key),
        declared_shards=() if request.run_key is None or not requested.shards else (requested.shards,),
    ).timed(now)


def _find_or_create(connection: Connection, new: Execution, caller: Caller) -> Execution | None:
    """Insert a new execution; if its run key has one already, return that one, locked."""
    while (found := _find(connection, new)) is None:
        if executions.create(connection, new):
            audit.add(connection, caller, "execution.created", new.id, new.created_at)
            return None
    return found


def _find(connection: Connection, new: Execution) -> Execution | None:
    if new.run_key is None:
        return None
    return executions.lock_by_run_key(connection, new.run_key, new.test_suite, new.environment)


def _shared_token(connection: Connection, encryption: SecretEncryption, execution: Execution) -> str:
    """Return the token of a locked execution, which all jobs of its run key get.

    If no key of this server derives it, because the keys were replaced meanwhile, it gets a new one.
    """
    tokens = [derived_webhook_token(secret) for secret in encryption.derive(_purpose(execution.id))]
    for token in tokens:
        if hash_token(token) == execution.token_hash:
            return token
    executions.save(connection, replace(execution, token_hash=hash_token(tokens[0])))
    return tokens[0]


def _purpose(execution_id: str) -> str:
    return f"webhook token of {execution_id}"


def get_snapshot(database: Database, execution_id: str) -> ExecutionSnapshot:
    """Return an execution with its shards and their forecast.

    Raises:
        NotFound: The execution does not exist.
    """
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        shards = executions.shards(connection, execution_id)
        queue = queue_status(connection, execution)
    return ExecutionSnapshot(execution, shards, forecast(shards, execution, clock.now()), queue)


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
        NotFound: The execution does not exist.
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
        NotFound: The execution does not exist.
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
    return any(shard.status == "running" or shard.is_reporting(now, silence) for shard in shards)
