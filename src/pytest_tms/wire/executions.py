"""Messages about executions: POST, GET and DELETE /executions."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pytest_tms.wire.base import MAX_COUNT, ClientMessage, Count, Identifier, ServerMessage, TriggerSource


class Configuration(ClientMessage, frozen=True, kw_only=True):
    """How an execution is to run.

    ``shards`` is 1 if it is missing; with a run key, the number is then not known.
    ``timeout`` is the milliseconds after its first report at which it fails. Without one, it fails once it
    has sent nothing for 1800000 milliseconds.
    """

    browsers: list[str] | None = None
    parallel: bool | None = False
    shards: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    timeout: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)] | None = None
    retries: Count | None = 0


class ExecutionRequest(ClientMessage, frozen=True, kw_only=True):
    """POST /executions. Only ``test_suite`` and ``environment`` are required.

    Requests with the same ``run_key``, suite and environment get the same execution (capability ``run-key``).
    """

    test_suite: Identifier
    environment: Identifier
    provider: Identifier | None = "custom"
    trigger_source: TriggerSource | None = "api"
    configuration: Configuration | None = None
    metadata: dict[str, Any] | None = None
    run_key: Identifier | None = None


class ExecutionCreated(ServerMessage, frozen=True, kw_only=True):
    """The answer to POST /executions.

    ``configuration`` repeats what was requested, ``testSuite`` and ``environment`` included.
    ``webhook_token`` is valid for ``webhook_url`` only, and is shown only once. ``joined`` is whether an
    earlier request with the same run key created the execution.
    """

    execution_id: str
    status: str = "created"
    created_at: str = ""
    configuration: dict[str, Any] = {}
    webhook_url: str = ""
    webhook_token: str = ""
    report_url: str = ""
    capabilities: list[str] = []
    joined: bool = False


class Counts(ServerMessage, frozen=True, kw_only=True):
    """Numbers of tests by status: ``total`` is passed + failed + skipped; ``flaky`` is a part of passed."""

    total: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    flaky: int = 0


class ReportedCounts(ClientMessage, frozen=True, kw_only=True):
    """Counts that a runner sends; the server derives missing ones from the tests."""

    total: Count | None = None
    passed: Count | None = None
    failed: Count | None = None
    skipped: Count | None = None
    flaky: Count | None = None


class Progress(ServerMessage, frozen=True, kw_only=True):
    """When an execution ran and how far it is; ``duration`` is in milliseconds.

    ``tests_expected``, ``tests_not_run`` and ``estimated_end`` belong to the capability ``expected`` and are
    null if the runners did not send what they are derived from.
    """

    started_at: str | None = None
    completed_at: str | None = None
    duration: int | None = None
    shards_completed: int = 0
    total_shards: int = 0
    tests_expected: int | None = None
    tests_not_run: int | None = None
    estimated_end: str | None = None


class TestInFlight(ServerMessage, frozen=True, kw_only=True):
    """A test that has begun and has no result yet: on which shard and xdist worker, and since when."""

    __test__ = False

    node_id: str
    shard_id: str = ""
    worker: str | None = None
    started_at: str | None = None


class ShardResult(ServerMessage, frozen=True, kw_only=True):
    """One shard of an execution: the documented fields, then additions.

    ``attempt`` counts the runs of the shard in this execution, from 1. ``in_flight`` lists the tests that run
    now, or ran when the shard ended as ``error``, ``lost`` or ``cancelled``. ``reason`` is why it ended so.
    For the others see ``EventData``.
    """

    shard_id: str
    status: str = "pending"
    results: Counts = Counts()
    duration: int | None = None
    metadata: dict[str, Any] = {}
    attempt: int = 1
    collected: int | None = None
    not_run: int | None = None
    not_run_reason: str | None = None
    not_run_tests: list[str] = []
    exit_status: int | None = None
    division: str | None = None
    reason: str | None = None
    in_flight: list[TestInFlight] = []


class Links(ServerMessage, frozen=True, kw_only=True):
    """Pages about an execution."""

    report_url: str = ""
    logs_url: str = ""
    artifacts_url: str = ""


class CollectedTests(ServerMessage, frozen=True, kw_only=True):
    """Shards that collected the same ``tests``, which are not all of the queue: ``missing`` tests are not.

    ``missing_tests`` are the node ids of the first of these.
    """

    shards: list[str] = []
    tests: int = 0
    missing: int = 0
    missing_tests: list[str] = []


class QueueStatus(ServerMessage, frozen=True, kw_only=True):
    """The queue from which the shards of an execution take their tests.

    ``state`` is ``complete`` if all ``tests`` have a result. ``unclaimed`` tests have not been given to any
    shard. ``left_out`` were collected, and not queued because they passed in an earlier CI attempt.
    ``differences`` are not empty if shards collected different tests.
    """

    state: str = "open"
    tests: int = 0
    unclaimed: int = 0
    left_out: int = 0
    differences: list[CollectedTests] = []


class ExecutionStatus(ServerMessage, frozen=True, kw_only=True):
    """The answer to GET /executions/{id}: the documented fields, then what the execution was created with.

    ``reason`` is why it failed or was cancelled. ``running`` lists the tests in flight of shards that run.
    ``declared_shards`` are the numbers of shards that requests with its ``run_key`` declared, in ascending
    order: the largest counts. ``queue`` is None if its shards do not take their tests from a queue.
    """

    execution_id: str
    status: str = "created"
    progress: Progress = Progress()
    results: Counts = Counts()
    shard_results: list[ShardResult] = []
    running: list[TestInFlight] = []
    artifacts: Links = Links()
    reason: str | None = None
    created_at: str = ""
    test_suite: str = ""
    environment: str = ""
    provider: str = ""
    trigger_source: str = ""
    configuration: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    run_key: str | None = None
    declared_shards: list[int] = []
    queue: QueueStatus | None = None


class ListedExecution(ServerMessage, frozen=True, kw_only=True):
    """One of GET /executions: an ``ExecutionStatus`` without its shards, with the name of its project."""

    execution_id: str
    status: str = "created"
    progress: Progress = Progress()
    results: Counts = Counts()
    artifacts: Links = Links()
    reason: str | None = None
    created_at: str = ""
    project: str = ""
    test_suite: str = ""
    environment: str = ""
    provider: str = ""
    trigger_source: str = ""
    configuration: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


class ExecutionPage(ServerMessage, frozen=True, kw_only=True):
    """The answer to GET /executions. ``cursor`` fetches the next page; it is null on the last one."""

    executions: list[ListedExecution] = []
    cursor: str | None = None


class ExecutionDeleted(ServerMessage, frozen=True, kw_only=True):
    """The answer to POST /executions/{id}/delete."""

    execution_id: str
    deleted_at: str = ""


class ExecutionCancelled(ServerMessage, frozen=True, kw_only=True):
    """The answer to DELETE /executions/{id}."""

    execution_id: str
    status: str = "cancelled"
    cancelled_at: str = ""
    reason: str = ""


class SettledTests(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /executions/{id}/settled: tests of a shard that need not run again.

    They passed or were skipped, as their newest results say. ``node_ids`` are those that were sent.
    """

    execution_id: str
    shard_id: str
    node_ids: list[str] = []
