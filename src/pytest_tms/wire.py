"""Every message of the API, one typed struct each: the contract that both halves share.

Names, shapes and defaults are those of the TMS integration document; what the document leaves
open is settled in docs/protocol.md. Fields are snake_case here and camelCase on the wire.
Durations are whole milliseconds, times are ISO 8601 strings (see ``timestamp`` and ``parse_time``).

Requests tolerate unknown fields: msgspec passes over them, and the server keeps them beside the
decoded struct. Answers tolerate missing ones, so that the client can talk to any documented server.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from pytest_tms.errors import Problem

Test = TypeVar("Test")

TriggerSource = Literal["api", "manual", "scheduled"]
ExecutionState = Literal["created", "running", "completed", "failed", "cancelled"]
ShardState = Literal["pending", "running", "completed", "failed", "error", "lost", "cancelled"]
SubmittedStatus = Literal["completed", "failed", "error", "cancelled"]
"""How a shard ended, as its runner says; ``cancelled`` is an addition announced as ``control``."""
TestStatus = Literal["passed", "failed", "skipped"]
EventName = Literal[
    "execution.started",
    "execution.progress",
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "shard.started",
    "shard.completed",
]

WebhookStatus = Literal["active", "paused", "disabled"]
DeliveryStatus = Literal["pending", "delivered", "failed"]

SUITES = ("smoke", "regression", "api", "ui", "all")
"""The documented values of ``testSuite``; an operator may list others."""
ENVIRONMENTS = ("dev", "staging", "production")
"""The documented values of ``environment``; an operator may list others."""

MAX_COUNT = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_COUNT)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2000, extra_json_schema={"format": "uri"})]
Text = Annotated[str, msgspec.Meta(max_length=10_000_000)]
MAX_NOT_RUN_TESTS = 1000
"""Tests that did not run and are named; ``notRun`` counts all of them."""
NotRunTests = Annotated[list[Text], msgspec.Meta(max_length=MAX_NOT_RUN_TESTS)]
ExitStatus = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**32 - 1)]
"""The exit status of a process: a signal's number is negative on POSIX, and Windows has 32 unsigned bits."""


class Answer(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """What a server says: every field is written, also where it holds its default."""


class Request(msgspec.Struct, kw_only=True, frozen=True, rename="camel", omit_defaults=True):
    """What a runner says: fields that hold their default are left out."""


# Executions ---------------------------------------------------------------------------------


class Configuration(Request, frozen=True, kw_only=True):
    """How an execution is to run.

    ``timeout`` is the milliseconds after its first report at which it fails. Without one, it fails once it
    has sent nothing for 1800000 milliseconds.
    """

    browsers: list[str] | None = None
    parallel: bool | None = False
    shards: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = 1
    timeout: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)] | None = None
    retries: Count | None = 0


class ExecutionRequest(Request, frozen=True, kw_only=True):
    """POST /executions. Only ``test_suite`` and ``environment`` are required."""

    test_suite: Identifier
    environment: Identifier
    provider: Identifier | None = "custom"
    trigger_source: TriggerSource | None = "api"
    configuration: Configuration | None = None
    metadata: dict[str, Any] | None = None


class ExecutionCreated(Answer, frozen=True, kw_only=True):
    """The answer to POST /executions.

    ``configuration`` gives back what was asked for, ``testSuite`` and ``environment`` included.
    ``webhook_token`` opens ``webhook_url`` and nothing else, and is shown this once.
    """

    execution_id: str
    status: str = "created"
    created_at: str = ""
    configuration: dict[str, Any] = {}
    webhook_url: str = ""
    webhook_token: str = ""
    report_url: str = ""
    capabilities: list[str] = []


class Counts(Answer, frozen=True, kw_only=True):
    """How many tests ended how: ``total`` is passed + failed + skipped; ``flaky`` is a part of passed."""

    total: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    flaky: int = 0


class GivenCounts(Request, frozen=True, kw_only=True):
    """Counts as a runner gives them; the server derives the missing ones from the tests."""

    total: Count | None = None
    passed: Count | None = None
    failed: Count | None = None
    skipped: Count | None = None
    flaky: Count | None = None


class Progress(Answer, frozen=True, kw_only=True):
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


class TestInFlight(Answer, frozen=True, kw_only=True):
    """A test that has begun and has no result yet: on which shard and xdist worker, and since when."""

    __test__ = False

    node_id: str
    shard_id: str = ""
    worker: str | None = None
    started_at: str | None = None


class ShardResult(Answer, frozen=True, kw_only=True):
    """One shard of an execution: the documented fields, then additions.

    ``attempt`` counts the runs of the shard in this execution, from 1. ``in_flight`` lists the tests that run
    now, or ran when the shard ended as ``error``, ``lost`` or ``cancelled``. ``reason`` says why it ended so.
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
    reason: str | None = None
    in_flight: list[TestInFlight] = []


class Links(Answer, frozen=True, kw_only=True):
    """Pages about an execution."""

    report_url: str = ""
    logs_url: str = ""
    artifacts_url: str = ""


class ExecutionStatus(Answer, frozen=True, kw_only=True):
    """The answer to GET /executions/{id}: the documented fields, then what the execution was created with.

    ``reason`` says why it failed or was cancelled. ``running`` lists the tests in flight of shards that run.
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


class ExecutionCancelled(Answer, frozen=True, kw_only=True):
    """The answer to DELETE /executions/{id}."""

    execution_id: str
    status: str = "cancelled"
    cancelled_at: str = ""
    reason: str = ""


# Results ------------------------------------------------------------------------------------


class Artifact(Request, frozen=True, kw_only=True):
    """A file that a test left."""

    name: Text
    kind: Text
    path: Text


class Section(Request, frozen=True, kw_only=True):
    """A text that a plugin added to a test's report, as the log of a browser; ``name`` is its heading."""

    name: Text
    text: Text


class Attempt(Request, frozen=True, kw_only=True):
    """One try of a test that was tried more than once; the last one is the test's own.

    Each has its own output and files.
    """

    outcome: Text
    duration: int | None = None
    error: Text | None = None
    longrepr: Text | None = None
    started_at: Text | None = None
    artifacts: list[Artifact] | None = None
    stdout: Text | None = None
    stderr: Text | None = None
    log: Text | None = None
    sections: list[Section] | None = None


class Subtest(Request, frozen=True, kw_only=True):
    """One part of a test that has parts: ``title`` is its message and parameters."""

    title: Text
    status: TestStatus
    duration: int | None = None
    error: Text | None = None
    longrepr: Text | None = None


class TestResult(Request, frozen=True, kw_only=True):
    """One test of POST /results: the documented fields, then what we add.

    ``duration`` is in milliseconds over setup, call and teardown. ``error`` is the message of the exception
    (the reason if a test was skipped), of at most 1000 characters; ``longrepr`` is the traceback.
    ``outcome`` is pytest's own word (passed, failed, error, skipped, xfailed, xpassed, crashed), ``timeout``,
    or the word that a plugin of the user's gave to the report. ``node_id`` identifies the test over runs.
    ``sections`` are the texts that plugins added to the report.
    """

    __test__ = False

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=10_000_000)]
    status: TestStatus
    file: Text | None = None
    duration: Milliseconds | None = None
    error: Text | None = None
    retries: Count | None = None
    tags: list[Text] | None = None
    node_id: Text | None = None
    outcome: Text | None = None
    started_at: Text | None = None
    worker: Text | None = None
    owner: Text | None = None
    longrepr: Text | None = None
    stdout: Text | None = None
    stderr: Text | None = None
    log: Text | None = None
    sections: list[Section] | None = None
    parameters: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    artifacts: list[Artifact] | None = None
    attempts: list[Attempt] | None = None
    subtests: list[Subtest] | None = None


class ArtifactNames(Request, frozen=True, kw_only=True):
    """The files of a shard, by kind."""

    screenshots: list[str] | None = None
    videos: list[str] | None = None
    traces: list[str] | None = None
    logs: list[str] | None = None


class ResultsSubmission(Request, Generic[Test], frozen=True, kw_only=True):
    """POST /results. Only ``execution_id`` and ``shard_id`` are required.

    Generic over its tests, because the server decodes them one by one (``msgspec.Raw``) to keep
    fields that it does not know; everyone else writes ``TestResult``. ``happened_at`` is when the shard
    ended, if it is sent afterwards; it belongs to the capability ``replay``. ``runner`` belongs to the
    capability ``attempts``; ``collected``, ``not_run…`` and ``exit_status`` belong to ``expected``: see
    ``EventData``.
    """

    execution_id: Identifier
    shard_id: Identifier
    provider: str | None = "custom"
    status: SubmittedStatus | None = None
    results: GivenCounts | None = None
    tests: list[Test] | None = None
    artifacts: ArtifactNames | None = None
    metadata: dict[str, Any] | None = None
    happened_at: Time | None = None
    runner: Identifier | None = None
    collected: Count | None = None
    not_run: Count | None = None
    not_run_reason: Text | None = None
    not_run_tests: NotRunTests | None = None
    exit_status: ExitStatus | None = None


class SubmissionSummary(Answer, frozen=True, kw_only=True):
    """What became of a submission."""

    tests_processed: int = 0
    artifacts_uploaded: int = 0
    webhooks_triggered: int = 0


class SubmissionAccepted(Answer, frozen=True, kw_only=True):
    """The answer to POST /results."""

    submission_id: str
    execution_id: str = ""
    shard_id: str = ""
    status: str = "accepted"
    processed_at: str = ""
    summary: SubmissionSummary = SubmissionSummary()


class TestPage(Answer, frozen=True, kw_only=True):
    """The answer to GET /executions/{id}/tests: tests as they were sent, in the order of arrival.

    ``cursor`` fetches the next page, and is null on the last one.
    """

    __test__ = False

    execution_id: str
    tests: list[dict[str, Any]] = []
    cursor: str | None = None


# Inbound events -----------------------------------------------------------------------------


class RunningTest(Request, frozen=True, kw_only=True):
    """A test in flight: which one, of which shard, on which xdist worker, since when (ISO 8601).

    Without ``shard_id`` it is of the shard of the message, else of the first that the message names.
    """

    node_id: Text
    shard_id: Identifier | None = None
    worker: Text | None = None
    started_at: Time | None = None


class EventData(Request, frozen=True, kw_only=True):
    """The fields of an event's ``data`` that the server acts on; it keeps the others too.

    ``tests`` (those that finished since the last event of the shard), ``running`` (the tests in flight, as
    node ids or as ``RunningTest``), ``shards`` (those that this runner runs now) and ``interval``
    (milliseconds until its next report, if it does not follow ``progressInterval``) belong to the capability
    ``live-tests``.

    ``collected`` (how many tests the shard will run), ``not_run`` (how many of them did not run),
    ``not_run_reason``, ``not_run_tests`` (node ids, at most ``MAX_NOT_RUN_TESTS``) and ``exit_status`` (of
    the process that ran the tests) belong to the capability ``expected``.

    ``runner`` (an id that one process keeps for its whole run) and ``attempt`` (the number of the CI attempt,
    from 1) belong to the capability ``attempts``: the answer to ``shard.started`` names the shard that the
    runner was given.
    """

    shard_id: Identifier | None = None
    status: str | None = None
    results: GivenCounts | None = None
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
    runner: Identifier | None = None
    attempt: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class Event(Request, frozen=True, kw_only=True):
    """POST /webhooks/executions/{id}: what a runner reports about its execution.

    ``timestamp`` is when it was said. ``happened_at`` is when it happened, where it is said afterwards; it
    belongs to the capability ``replay``.
    """

    event: EventName
    execution_id: Identifier
    timestamp: Time | None = None
    happened_at: Time | None = None
    data: EventData | None = None


class EventAccepted(Answer, frozen=True, kw_only=True):
    """The answer to an event.

    ``execution_status`` lets a cancel reach the runner (``control``), ``progress_interval`` says how many
    milliseconds to wait between two ``execution.progress`` (``live-tests``). ``shard_id`` is the shard that a
    runner was given by its ``shard.started`` (``attempts``): another one than it named, if a live runner has
    that one.
    """

    event: str = ""
    execution_id: str = ""
    status: str = "accepted"
    execution_status: str = ""
    progress_interval: int | None = None
    shard_id: str | None = None


# Webhooks -----------------------------------------------------------------------------------


class RetryPolicy(Request, frozen=True, kw_only=True):
    """What follows a failed delivery: after ``retry_delay`` milliseconds, doubled where exponential."""

    max_retries: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = 3
    retry_delay: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] | None = 5000
    exponential_backoff: bool | None = True


class WebhookFilters(Request, frozen=True, kw_only=True):
    """Which executions a webhook hears of; a list that is missing or empty lets all through."""

    test_suites: list[Identifier] | None = None
    environments: list[Identifier] | None = None


Secret = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Headers = dict[str, str]


class WebhookRequest(Request, frozen=True, kw_only=True):
    """POST /webhooks. Without a ``secret`` the server makes one. ``headers`` are sent with each delivery."""

    url: Url
    events: Annotated[list[EventName], msgspec.Meta(min_length=1)]
    secret: Secret | None = None
    headers: Headers | None = None
    retry_policy: RetryPolicy | None = None
    filters: WebhookFilters | None = None


class WebhookChange(Request, frozen=True, kw_only=True):
    """PATCH /webhooks/{id}: what is given replaces what was; ``status`` pauses, or makes active again.

    Of ``headers``, a value ``***`` keeps the value that the header of this name has.
    """

    url: Url | None = None
    events: Annotated[list[EventName], msgspec.Meta(min_length=1)] | None = None
    headers: Headers | None = None
    retry_policy: RetryPolicy | None = None
    filters: WebhookFilters | None = None
    status: Literal["active", "paused"] | None = None


class SecretRotation(Request, frozen=True, kw_only=True):
    """POST /webhooks/{id}/rotate. Without a ``secret`` the server makes one."""

    secret: Secret | None = None


class Webhook(Answer, frozen=True, kw_only=True):
    """A webhook: the documented fields, then what it was registered with and how it fares.

    ``secret`` is there once, and only where the server made it. ``reason`` says why it is disabled.
    ``created_by`` is the id of the token that registered it.
    Until ``previous_secret_until`` deliveries are signed with the secret before the last one, too. Values of
    ``headers`` are ``***``, and so are secrets in ``url``, except in the answer to POST /webhooks.
    """

    webhook_id: str
    url: str = ""
    events: list[str] = []
    status: str = "active"
    created_at: str = ""
    headers: dict[str, str] = {}
    retry_policy: dict[str, Any] = {}
    filters: dict[str, Any] = {}
    created_by: str | None = None
    reason: str | None = None
    failing_since: str | None = None
    last_validated_at: str | None = None
    previous_secret_until: str | None = None
    secret: str | None = None


class WebhookList(Answer, frozen=True, kw_only=True):
    """The answer to GET /webhooks: the oldest first."""

    webhooks: list[Webhook] = []


class WebhookDeleted(Answer, frozen=True, kw_only=True):
    """The answer to DELETE /webhooks/{id}."""

    webhook_id: str
    status: str = "deleted"


class WebhookValidation(Answer, frozen=True, kw_only=True):
    """The answer to POST /webhooks/{id}/validate; ``response_time`` is in milliseconds.

    ``response_code`` is 0 where no answer came, and ``reason`` says what made it invalid.
    """

    webhook_id: str
    status: str = "valid"
    response_code: int = 0
    response_time: int = 0
    last_validated_at: str = ""
    reason: str | None = None


class Delivery(Answer, frozen=True, kw_only=True):
    """One event on its way to one webhook; ``delivery_id`` is its ``webhook-id`` header."""

    delivery_id: str
    event: str = ""
    execution_id: str = ""
    status: str = "pending"
    attempts: int = 0
    created_at: str = ""
    due_at: str = ""
    response_code: int | None = None
    reason: str | None = None


class DeliveryPage(Answer, frozen=True, kw_only=True):
    """The answer to GET /webhooks/{id}/deliveries: the newest first; ``cursor`` fetches the next page."""

    webhook_id: str
    deliveries: list[Delivery] = []
    cursor: str | None = None


class ReplayRequest(Request, frozen=True, kw_only=True):
    """POST /webhooks/{id}/replay: send one delivery again, or all that failed where none is named."""

    delivery_id: Identifier | None = None


class Replayed(Answer, frozen=True, kw_only=True):
    """How many deliveries are sent again."""

    webhook_id: str
    deliveries: int = 0


class FailedTest(Answer, frozen=True, kw_only=True):
    """A failed test in ``execution.completed``; long texts are cut."""

    title: str
    file: str = ""
    error: str | None = None
    shard: str = ""


class StartedData(Answer, frozen=True, kw_only=True):
    """``data`` of an outbound ``execution.started``."""

    test_suite: str
    environment: str
    provider: str
    configuration: dict[str, Any]
    metadata: dict[str, Any]


class ShardStartedData(Answer, frozen=True, kw_only=True):
    """``data`` of an outbound ``shard.started``."""

    shard_id: str
    status: str = "running"


class ShardLink(Answer, frozen=True, kw_only=True):
    """The page about a shard."""

    report_url: str


class ShardCompletedData(Answer, frozen=True, kw_only=True):
    """``data`` of an outbound ``shard.completed``; ``duration`` is in milliseconds."""

    shard_id: str
    status: str
    results: Counts
    duration: int | None
    artifacts: ShardLink


class ProgressData(Answer, frozen=True, kw_only=True):
    """``data`` of an outbound ``execution.progress``."""

    status: str
    progress: Progress
    results: Counts


class ShardSummary(Answer, frozen=True, kw_only=True):
    """A shard in the event that ends its execution."""

    shard_id: str
    status: str
    results: Counts


class EndedData(Answer, frozen=True, kw_only=True):
    """``data`` of an outbound ``execution.completed``, ``execution.failed`` or ``execution.cancelled``.

    ``failed_tests`` has at most 100 and ``shard_results`` as many as fit; the totals count them all, and
    ``artifacts.report_url`` shows them.
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


class OutboundEvent(Answer, frozen=True, kw_only=True):
    """The payload of a webhook delivery.

    ``sequence`` grows by one with each event of the execution, and is the same in every attempt to deliver
    it: a receiver orders events by it. It has gaps for events that the webhook does not subscribe to.
    """

    event: str
    timestamp: str
    execution_id: str
    sequence: int
    data: StartedData | ShardStartedData | ShardCompletedData | ProgressData | EndedData | dict[str, Any]


# The service itself -------------------------------------------------------------------------


class TokenInfo(Answer, frozen=True, kw_only=True):
    """An API token without its text. No ``environments`` means all; null ``expires_at`` is never."""

    id: str = ""
    scopes: list[str] = []
    environments: list[str] = []
    expires_at: str | None = None


class ServiceInfo(Answer, frozen=True, kw_only=True):
    """The answer to GET on the base URL; ``token`` is the valid API token of the request, if it has one.

    ``suites`` and ``environments`` are those that the server allows, for requests with a valid token.
    """

    service: str = ""
    version: str = ""
    capabilities: list[str] = []
    token: TokenInfo | None = None
    suites: list[str] = []
    environments: list[str] = []


class ErrorBody(Answer, frozen=True, kw_only=True):
    """What went wrong, with every bad field."""

    code: str = ""
    message: str = ""
    details: list[Problem] = []
    request_id: str = ""
    timestamp: str = ""


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """The documented error answer, whatever the status."""

    error: ErrorBody


# Times --------------------------------------------------------------------------------------


def timestamp(moment: datetime | None = None) -> str:
    """Write ``moment`` (now where None) as ISO 8601 UTC with milliseconds and ``Z``."""
    moment = moment or datetime.now(timezone.utc)
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(milliseconds: int) -> datetime:
    """The time that is ``milliseconds`` after the start of 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def parse_time(text: str) -> datetime:
    """Read any ISO 8601 time; one without a zone is UTC. Raises ValueError where it is none."""
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment
