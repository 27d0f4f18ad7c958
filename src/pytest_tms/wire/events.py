"""Events that a runner sends: POST /webhooks/executions/{id}."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pytest_tms.wire.base import (
    ClientMessage,
    Count,
    EventName,
    ExitStatus,
    Identifier,
    Milliseconds,
    NotRunTests,
    ServerMessage,
    Text,
    Time,
)
from pytest_tms.wire.executions import ReportedCounts
from pytest_tms.wire.results import TestResult


class RunningTest(ClientMessage, frozen=True, kw_only=True):
    """A test in flight: its node id, shard, xdist worker and start (ISO 8601).

    Without ``shard_id`` it is of the shard of the message, else of the first that the message names.
    """

    node_id: Text
    shard_id: Identifier | None = None
    worker: Text | None = None
    started_at: Time | None = None


class EventData(ClientMessage, frozen=True, kw_only=True):
    """The fields of an event's ``data`` that the server uses; it also stores the others.

    ``tests`` (those that finished since the last event of the shard), ``running`` (the tests in flight, as
    node ids or as ``RunningTest``), ``shards`` (those that this runner runs now) and ``interval``
    (milliseconds until its next report, if it does not follow ``progressInterval``) belong to the capability
    ``live-tests``.

    ``collected`` (how many tests the shard will run), ``not_run`` (how many of them did not run),
    ``not_run_reason``, ``not_run_tests`` (node ids, at most ``MAX_NOT_RUN_TESTS``) and ``exit_status`` (of
    the process that ran the tests) belong to the capability ``expected``. So does ``division``, how the shard
    selected its part of the tests: shards with the same text divided the same tests in the same way.

    ``runner`` (an id that one process keeps for its whole run) and ``attempt`` (the number of the CI attempt,
    from 1) belong to the capability ``attempts``: the response to ``shard.started`` names the shard that
    was assigned to the runner.
    """

    shard_id: Identifier | None = None
    status: str | None = None
    results: ReportedCounts | None = None
    duration: Milliseconds | None = None
    reason: str | None = None
    metadata: dict[str, Any] | None = None
    tests: list[TestResult] | None = None
    running: Annotated[list[str | RunningTest], msgspec.Meta(max_length=1000)] | None = None
    shards: Annotated[list[Identifier], msgspec.Meta(max_length=1000)] | None = None
    interval: Milliseconds | None = None
    collected: Count | None = None
    not_run: Count | None = None
    not_run_reason: Text | None = None
    not_run_tests: NotRunTests | None = None
    exit_status: ExitStatus | None = None
    division: Identifier | None = None
    runner: Identifier | None = None
    attempt: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class Event(ClientMessage, frozen=True, kw_only=True):
    """POST /webhooks/executions/{id}: an event that a runner reports about its execution.

    ``timestamp`` is when it was sent. ``happened_at`` is when it happened, if it is sent afterwards; it
    belongs to the capability ``replay``.
    """

    event: EventName
    execution_id: Identifier
    timestamp: Time | None = None
    happened_at: Time | None = None
    data: EventData | None = None


class EventAccepted(ServerMessage, frozen=True, kw_only=True):
    """The response to an event.

    ``execution_status`` notifies the runner of a cancellation (``control``), ``progress_interval`` is the
    milliseconds to wait between two ``execution.progress`` (``live-tests``). ``shard_id`` is the shard that
    was assigned to the runner by its ``shard.started`` (``attempts``): not the requested one if another
    live runner has it.
    """

    event: str = ""
    execution_id: str = ""
    status: str = "accepted"
    execution_status: str = ""
    progress_interval: int | None = None
    shard_id: str | None = None
