"""Calls about executions: create, read, cancel, list their tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import msgspec
from litestar import Response

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import Problem, Unprocessable
from pytest_tms.server.api.filters import execution_filter
from pytest_tms.server.api.paging import requested_page
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode, unknown_fields
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.metadata_limits import size_problems, unknown_field_problems
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import executions
from pytest_tms.server.services.deletion import mark_deleted
from pytest_tms.server.services.execution_status import execution_status, listed_execution
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.encryption import SecretEncryption


@route(calls.CREATE_EXECUTION)
def create_execution(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    urls: Urls,
    encryption: SecretEncryption,
    idempotency: IdempotentRequest,
    caller: Caller,
) -> Response[wire.ExecutionCreated]:
    """Create an execution (201), or join the one with the same run key (200)."""
    try:
        request, document = decode(body, wire.ExecutionRequest, partial(_problems, settings))
    except Unprocessable as error:
        error.hint = _hint(settings, error)
        raise
    created = executions.create_execution(
        database,
        request,
        configuration=document.get("configuration") or {},
        extra=unknown_fields(document, wire.ExecutionRequest),
        urls=urls,
        encryption=encryption,
        idempotency=idempotency,
        caller=caller,
    )
    return Response(created, status_code=200 if created.joined else calls.CREATE_EXECUTION.status)


@route(calls.GET_EXECUTION)
def get_execution(database: Database, urls: Urls, execution_id: str) -> dict[str, Any]:
    """Return an execution's status, with the unknown fields that it was created with."""
    found = executions.get_snapshot(database, execution_id)
    document: dict[str, Any] = msgspec.to_builtins(execution_status(found, urls))
    return {**found.execution.extra, **document}


@route(calls.LIST_EXECUTIONS)
def list_executions(
    database: Database,
    urls: Urls,
    caller: Caller,
    query: dict[str, Any],
    cursor: str | None = None,
    limit: str = "100",
    status: str | None = None,
) -> wire.ExecutionPage:
    """Return one page of the executions that match the filters, the newest first."""
    page = requested_page(cursor, limit, status, get_args(wire.ExecutionState))
    found, following = executions.list_executions(
        database, caller, execution_filter(query), before=page.cursor, limit=page.limit
    )
    return wire.ExecutionPage(
        executions=[listed_execution(each, documents, urls) for each, documents in found],
        cursor=None if following is None else str(following),
    )


@route(calls.DELETE_EXECUTION)
def delete_execution(
    database: Database, idempotency: IdempotentRequest, caller: Caller, execution_id: str
) -> wire.ExecutionDeleted:
    """Delete an execution: nothing shows it from now on, and a job deletes its rows."""
    return mark_deleted(database, caller, execution_id, idempotency)


@route(calls.CANCEL_EXECUTION)
def cancel_execution(
    database: Database,
    settings: ServerSettings,
    urls: Urls,
    delivery_worker: DeliveryWorker,
    caller: Caller,
    execution_id: str,
) -> wire.ExecutionCancelled:
    """Cancel an execution; a repeated call returns the first response again."""
    execution = executions.cancel_execution(database, settings, urls, delivery_worker, caller, execution_id)
    return wire.ExecutionCancelled(
        execution_id=execution.id,
        cancelled_at=clock.timestamp(execution.ended_at or execution.created_at),
        reason=execution.reason or executions.CANCELLED_BY_CALL,
    )


@route(calls.LIST_TESTS)
def list_tests(
    database: Database,
    execution_id: str,
    cursor: str | None = None,
    limit: str = "100",
    status: str | None = None,
) -> wire.TestPage:
    """Return one page of an execution's tests, as they were sent."""
    page = requested_page(cursor, limit, status, ("passed", "failed", "skipped"))
    tests, following = executions.list_tests(
        database, execution_id, status=status, after=page.cursor or 0, limit=page.limit
    )
    return wire.TestPage(
        execution_id=execution_id, tests=tests, cursor=None if following is None else str(following)
    )


def _problems(settings: ServerSettings, document: dict[str, Any]) -> list[Problem]:
    """Return the problems that a schema cannot find.

    They are suites and environments that the operator does not allow, and free objects that are too large.
    """
    return [
        *(
            Problem(name, f"Must be one of: {', '.join(values)}")  # the documented message
            for name, values in _allowed(settings).items()
            if document.get(name) and isinstance(document[name], str) and document[name] not in values
        ),
        *size_problems(document.get("configuration"), "configuration"),
        *size_problems(document.get("metadata"), "metadata"),
        *unknown_field_problems(unknown_fields(document, wire.ExecutionRequest)),
    ]


def _allowed(settings: ServerSettings) -> dict[str, Sequence[str]]:
    return {"testSuite": settings.suites, "environment": settings.environments}


def _hint(settings: ServerSettings, error: Unprocessable) -> str:
    """Return how the operator allows the suite and the environment that are refused; empty if none is."""
    variables = {"testSuite": "TMS_SERVER_SUITES", "environment": "TMS_SERVER_ENVIRONMENTS"}
    found = [
        variables[problem.field]
        for problem in error.details
        if problem.message == f"Must be one of: {', '.join(_allowed(settings).get(problem.field, ()))}"
    ]
    return f"The operator of the TMS allows others with {' and '.join(found)}." if found else ""
