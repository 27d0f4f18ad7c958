"""Executions as messages of the API."""

from __future__ import annotations

import msgspec

from pytest_tms import wire
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services.executions import ExecutionSnapshot
from pytest_tms.server.store.execution_lists import ListedExecution


def execution_status(found: ExecutionSnapshot, urls: Urls) -> wire.ExecutionStatus:
    """Return an execution as GET /executions/{id} and the exports show it."""
    execution, shards, expected = found.execution, found.shards, found.forecast
    return wire.ExecutionStatus(
        execution_id=execution.id,
        status=execution.status,
        progress=_progress(
            execution, expected.expected, expected.not_run, clock.optional_timestamp(expected.ends_at)
        ),
        results=execution.results,
        shard_results=[_shard(shard, expected.missing.get(shard.shard_id)) for shard in shards],
        running=[test for shard in shards if shard.status == "running" for test in _in_flight(shard)],
        artifacts=urls.links(execution.id),
        reason=execution.reason,
        created_at=clock.timestamp(execution.created_at),
        test_suite=execution.test_suite,
        environment=execution.environment,
        provider=execution.provider,
        trigger_source=execution.trigger_source,
        configuration=execution.full_configuration,
        metadata=execution.metadata,
        run_key=execution.run_key,
        declared_shards=list(execution.declared_shards),
        queue=found.queue,
    )


def listed_execution(
    execution: ListedExecution, documents: tuple[str, str, str], urls: Urls
) -> wire.ListedExecution:
    """Return an execution as GET /executions lists it; ``documents`` are its configuration and metadata."""
    configuration, metadata, _ = (msgspec.json.decode(text) for text in documents)
    return wire.ListedExecution(
        execution_id=execution.id,
        status=execution.status,
        progress=_progress(execution, execution.tests_expected, execution.not_run or None),
        results=execution.results,
        artifacts=urls.links(execution.id),
        reason=execution.reason,
        created_at=clock.timestamp(execution.created_at),
        project=execution.project,
        test_suite=execution.test_suite,
        environment=execution.environment,
        provider=execution.provider,
        trigger_source=execution.trigger_source,
        configuration={
            **configuration,
            "testSuite": execution.test_suite,
            "environment": execution.environment,
        },
        metadata=metadata,
    )


def _progress(
    execution: Execution | ListedExecution,
    tests_expected: int | None,
    tests_not_run: int | None,
    estimated_end: str | None = None,
) -> wire.Progress:
    return wire.Progress(
        started_at=clock.optional_timestamp(execution.started_at),
        completed_at=clock.optional_timestamp(execution.ended_at),
        duration=execution.runtime,
        shards_completed=execution.shards_finished,
        total_shards=execution.expected_shards,
        tests_expected=tests_expected,
        tests_not_run=tests_not_run,
        estimated_end=estimated_end,
    )


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
        division=shard.division,
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
