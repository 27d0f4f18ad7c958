"""Payloads of the events that webhooks deliver."""

from __future__ import annotations

from typing import Any

from pytest_tms.wire.base import ServerMessage
from pytest_tms.wire.executions import Counts, Links, Progress


class FailedTest(ServerMessage, frozen=True, kw_only=True):
    """A failed test in the event that ends an execution; long texts are cut."""

    title: str
    file: str = ""
    error: str | None = None
    shard: str = ""


class StartedData(ServerMessage, frozen=True, kw_only=True):
    """``data`` of an outbound ``execution.started``."""

    test_suite: str
    environment: str
    provider: str
    configuration: dict[str, Any]
    metadata: dict[str, Any]


class ShardStartedData(ServerMessage, frozen=True, kw_only=True):
    """``data`` of an outbound ``shard.started``."""

    shard_id: str
    status: str = "running"


class ShardLink(ServerMessage, frozen=True, kw_only=True):
    """The link to the page about a shard."""

    report_url: str


class ShardCompletedData(ServerMessage, frozen=True, kw_only=True):
    """``data`` of an outbound ``shard.completed``; ``duration`` is in milliseconds."""

    shard_id: str
    status: str
    results: Counts
    duration: int | None
    artifacts: ShardLink


class ProgressData(ServerMessage, frozen=True, kw_only=True):
    """``data`` of an outbound ``execution.progress``."""

    status: str
    progress: Progress
    results: Counts


class ShardSummary(ServerMessage, frozen=True, kw_only=True):
    """A shard in the event that ends its execution."""

    shard_id: str
    status: str
    results: Counts


class ChangedNames(ServerMessage, frozen=True, kw_only=True):
    """The number of tests that changed in one way, and the node ids or titles of the first of them."""

    count: int = 0
    tests: list[str] = []


class EndedChanges(ServerMessage, frozen=True, kw_only=True):
    """What changed since the previous execution, in the event that ends one: see ``RunChanges``."""

    compared_with: str | None = None
    new_failures: ChangedNames = ChangedNames()
    known_failures: ChangedNames = ChangedNames()
    fixed: ChangedNames = ChangedNames()
    flaky: ChangedNames = ChangedNames()
    quarantined: ChangedNames = ChangedNames()


class EndedData(ServerMessage, frozen=True, kw_only=True):
    """``data`` of an outbound ``execution.completed``, ``execution.failed`` or ``execution.cancelled``.

    ``failed_tests`` has at most 100 and ``shard_results`` as many as fit; the totals count them all, and
    ``artifacts.report_url`` shows them. Each list of ``changes`` has at most 10 tests.
    """

    status: str
    reason: str | None
    results: Counts
    duration: int | None
    shard_results: list[ShardSummary]
    shard_results_total: int
    artifacts: Links
    failed_tests: list[FailedTest]
    failed_tests_total: int
    not_run: int = 0
    not_run_reason: str | None = None
    changes: EndedChanges = EndedChanges()


class OutboundEvent(ServerMessage, frozen=True, kw_only=True):
    """The payload of a webhook delivery.

    ``sequence`` grows by one with each event of the execution, and is the same in every attempt to deliver
    it: a receiver orders events by it. It has gaps for events that the webhook does not subscribe to.
    """

    event: str
    timestamp: str
    execution_id: str
    sequence: int
    data: StartedData | ShardStartedData | ShardCompletedData | ProgressData | EndedData | dict[str, Any]
