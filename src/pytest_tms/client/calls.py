"""The calls of the API, each declared once, for the client, the server's routes and the OpenAPI document."""

from __future__ import annotations

import threading
from typing import Generic, Literal, TypeVar, get_args

import msgspec

from pytest_tms import wire
from pytest_tms.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    InternalError,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ServiceUnavailable,
    TooLarge,
    Unauthorized,
    Unprocessable,
)

Takes = TypeVar("Takes")
Gives = TypeVar("Gives")
T = TypeVar("T")
Limit = Literal["executions", "results", "webhooks", "events"]
Scope = Literal["executions:read", "executions:write", "webhooks:write", "quarantine:write", "admin"]

_ALWAYS: tuple[type[ApiError], ...] = (Unprocessable, InternalError, ServiceUnavailable)
_READS: tuple[type[ApiError], ...] = (Unauthorized, Forbidden, *_ALWAYS)
_TOKEN: tuple[type[ApiError], ...] = (RateLimited, *_READS)
_BODY: tuple[type[ApiError], ...] = (BadRequest, TooLarge)


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A query parameter, with its description and JSON schema as OpenAPI has them."""

    name: str
    description: str
    schema: dict[str, object]
    is_required: bool = False


class Call(msgspec.Struct, Generic[Takes, Gives], frozen=True, kw_only=True):
    """A call: the message that it takes, the one that it gives, its success status.

    ``takes`` is ``type(None)`` for no body, and ``bytes`` for a file, as ``gives`` is. ``found`` describes
    when the status is 200 instead, because what the call creates is there already.

    ``path`` is relative to the base URL and has its parameters in braces. ``scope`` is the scope that an API
    token needs, None if the call needs no token. ``limit`` names the rate limit that counts the call; a GET
    request reports the limit without being counted. ``errors`` are the documented errors. ``query`` are the
    query parameters; the server rejects any other.
    """

    name: str
    summary: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    takes: type[Takes]
    gives: type[Gives]
    status: int
    scope: Scope | None
    errors: tuple[type[ApiError], ...]
    limit: Limit | None = None
    found: str = ""
    query: tuple[Parameter, ...] = ()


CURSOR = Parameter(
    name="cursor",
    description="The `cursor` of the page before this one; leave it out for the first page.",
    schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
)
LIMIT = Parameter(
    name="limit",
    description="How many entries a page has, 100 unless given.",
    schema={"type": "integer", "minimum": 1, "maximum": 200},
)


def _filter(name: str, description: str, *, is_required: bool = False, **schema: object) -> Parameter:
    return Parameter(
        name=name,
        description=description,
        schema={"type": "string", "minLength": 1, "maxLength": 200, **schema},
        is_required=is_required,
    )


DESCRIBE_SERVICE = Call(
    name="describe_service",
    summary="Get the version and the capabilities of the server",
    method="GET",
    path="/",
    takes=type(None),
    gives=wire.ServiceInfo,
    status=200,
    scope=None,
    errors=_ALWAYS,
)
EXCHANGE_ID_TOKEN = Call(
    name="exchange_id_token",
    summary="Exchange the ID token of a CI job for an API token",
    method="POST",
    path="/auth/token",
    takes=wire.TokenRequest,
    gives=wire.IssuedToken,
    status=201,
    scope=None,
    errors=(*_BODY, *_READS),
)
CREATE_EXECUTION = Call(
    name="create_execution",
    summary="Create a test execution",
    method="POST",
    path="/executions",
    takes=wire.ExecutionRequest,
    gives=wire.ExecutionCreated,
    status=201,
    scope="executions:write",
    errors=(*_BODY, Conflict, *_TOKEN),
    limit="executions",
    found="An earlier request with the same run key created the execution.",
)
GET_EXECUTION = Call(
    name="get_execution",
    summary="Get an execution's status and results",
    method="GET",
    path="/executions/{execution_id}",
    takes=type(None),
    gives=wire.ExecutionStatus,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
)
LIST_EXECUTIONS = Call(
    name="list_executions",
    summary="List the executions, the newest first",
    method="GET",
    path="/executions",
    takes=type(None),
    gives=wire.ExecutionPage,
    status=200,
    scope="executions:read",
    errors=_READS,
    limit="executions",
    query=(
        CURSOR,
        LIMIT,
        _filter("testSuite", "Only executions of this suite."),
        _filter("environment", "Only executions in this environment."),
        _filter("branch", "Only executions of this branch."),
        Parameter(
            name="status",
            description="Only executions in this state.",
            schema={"type": "string", "enum": [*get_args(wire.ExecutionState)]},
        ),
        _filter("provider", "Only executions of this provider."),
        _filter("commit", "Only executions of commits that begin like this."),
        _filter("project", "Only executions of this project."),
        _filter("author", "Only executions of commits by this author."),
        _filter("since", "Only executions created at this time or later.", format="date-time"),
        _filter("until", "Only executions created before this time.", format="date-time"),
        _filter("q", "Only executions with this text in the id, branch, commit, suite or author."),
    ),
)
LIST_REGISTERED_TESTS = Call(
    name="list_registered_tests",
    summary="List the tests of all executions, with their pass and flake rates",
    method="GET",
    path="/tests",
    takes=type(None),
    gives=wire.RegisteredTestPage,
    status=200,
    scope="executions:read",
    errors=_READS,
    limit="executions",
    query=(
        CURSOR,
        LIMIT,
        _filter("q", "Only tests with this text in the node id, title, file, owner or tags."),
        _filter("testSuite", "Only tests of the latest execution of this suite."),
        _filter("environment", "Only tests of the latest execution in this environment."),
        _filter("branch", "Only tests of the latest execution of this branch."),
        _filter("owner", "Only tests of this owner."),
        Parameter(
            name="withoutCase",
            description="`true`: only tests that carry the id of no test case.",
            schema={"type": "string", "enum": ["true", "false"]},
        ),
        Parameter(
            name="flaky",
            description="`true`: only tests that were flaky in the latest executions, the most flaky first.",
            schema={"type": "string", "enum": ["true", "false"]},
        ),
    ),
)
GET_TEST_HISTORY = Call(
    name="get_test_history",
    summary="List the results of a test over all executions, the newest first",
    method="GET",
    path="/tests/{test_key}/history",
    takes=type(None),
    gives=wire.TestHistory,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
    query=(
        CURSOR,
        LIMIT,
        _filter("testSuite", "Only results of this suite."),
        _filter("environment", "Only results in this environment."),
        _filter("branch", "Only results of this branch."),
    ),
)
LIST_KNOWN_TESTS = Call(
    name="list_known_tests",
    summary="List the tests that the project of an execution had run before, as hashes",
    method="GET",
    path="/executions/{execution_id}/known-tests",
    takes=type(None),
    gives=wire.KnownTests,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
)
DECIDE_RENAME = Call(
    name="decide_rename",
    summary="Decide whether a test is an earlier one under another name",
    method="PUT",
    path="/tests/{test_key}/rename",
    takes=wire.RenameDecision,
    gives=wire.RenamedTest,
    status=200,
    scope="executions:write",
    errors=(*_BODY, NotFound, Conflict, *_TOKEN),
    limit="executions",
)
COMPARE_EXECUTIONS = Call(
    name="compare_executions",
    summary="Compare an execution with an earlier one",
    method="GET",
    path="/executions/{execution_id}/compare",
    takes=type(None),
    gives=wire.ExecutionComparison,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
    query=(
        _filter(
            "with",
            "The earlier execution. Unless given, the previous one of the suite, environment and branch.",
        ),
        LIMIT,
    ),
)
GET_CHANGES = Call(
    name="get_changes",
    summary="Show what changed since the previous execution",
    method="GET",
    path="/executions/{execution_id}/changes",
    takes=type(None),
    gives=wire.RunChanges,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
    query=(
        _filter("shard", "Only tests of this shard. Can be repeated: then tests of any of these shards."),
        LIMIT,
    ),
)
LIST_FAILURES = Call(
    name="list_failures",
    summary="List the failures of an execution by their causes",
    method="GET",
    path="/executions/{execution_id}/failures",
    takes=type(None),
    gives=wire.FailurePage,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
    query=(
        msgspec.structs.replace(CURSOR, schema={"type": "string", "pattern": "^[0-9]{1,18}-[0-9a-f]{16}$"}),
        LIMIT,
    ),
)
GET_TIMINGS = Call(
    name="get_timings",
    summary="Get the median durations of the tests of a suite, environment and branch",
    method="GET",
    path="/timings",
    takes=type(None),
    gives=wire.Timings,
    status=200,
    scope="executions:read",
    errors=_READS,
    limit="executions",
    query=(
        _filter("testSuite", "The suite.", is_required=True),
        _filter("environment", "The environment.", is_required=True),
        _filter("branch", "The branch; without it, executions that have none."),
        _filter("project", "The project, `default` unless given."),
    ),
)
FIX_PLAN = Call(
    name="fix_plan",
    summary="Fix the durations by which the shards of an execution divide the tests",
    method="POST",
    path="/executions/{execution_id}/plan",
    takes=type(None),
    gives=wire.ExecutionPlan,
    status=200,
    scope="executions:write",
    errors=(NotFound, Conflict, *_TOKEN),
    limit="executions",
)
CLAIM_TESTS = Call(
    name="claim_tests",
    summary="Take the next tests from the queue of an execution",
    method="POST",
    path="/executions/{execution_id}/claims",
    takes=wire.ClaimRequest,
    gives=wire.Claim,
    status=200,
    scope="executions:write",
    errors=(*_BODY, NotFound, Conflict, *_TOKEN),
    limit="events",
)
LIST_SETTLED = Call(
    name="list_settled",
    summary="List the tests of a shard that passed or were skipped",
    method="GET",
    path="/executions/{execution_id}/settled",
    takes=type(None),
    gives=wire.SettledTests,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
    query=(_filter("shardId", "The shard.", is_required=True),),
)
LIST_QUARANTINE = Call(
    name="list_quarantine",
    summary="List the tests in quarantine, and those that were",
    method="GET",
    path="/quarantine",
    takes=type(None),
    gives=wire.QuarantinePage,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
    query=(
        CURSOR,
        LIMIT,
        _filter("project", "Only tests of this project."),
        _filter("execution", "Only tests of the project of this execution."),
        _filter("nodeId", "Only the test with this node id.", maxLength=2000),
        _filter("owner", "Only entries of this owner."),
        Parameter(
            name="state",
            description="`active`: only tests whose failures do not count now; `ended`: only the others.",
            schema={"type": "string", "enum": ["active", "ended"]},
        ),
    ),
)
ADD_TO_QUARANTINE = Call(
    name="add_to_quarantine",
    summary="Put a test into quarantine until a date",
    method="POST",
    path="/quarantine",
    takes=wire.QuarantineRequest,
    gives=wire.QuarantineEntry,
    status=201,
    scope="quarantine:write",
    errors=(*_BODY, Conflict, *_TOKEN),
    limit="executions",
)
REMOVE_FROM_QUARANTINE = Call(
    name="remove_from_quarantine",
    summary="Remove a test from quarantine",
    method="DELETE",
    path="/quarantine/{entry_id}",
    takes=type(None),
    gives=wire.QuarantineEntry,
    status=200,
    scope="quarantine:write",
    errors=(NotFound, Conflict, *_TOKEN),
    limit="executions",
)
_CASE_FILTERS = (
    _filter("project", "Only cases of this project."),
    _filter("q", "Only cases with this text in the id or the title."),
    _filter("id", "Only cases with this id."),
    Parameter(
        name="kind",
        description="`planned`: only cases of a plan; `missing`: only those without a test; `unplanned`: "
        "only cases that tests name and no plan has.",
        schema={"type": "string", "enum": ["planned", "missing", "unplanned"]},
    ),
)
LIST_CASES = Call(
    name="list_cases",
    summary="List test cases, with their tests and latest results",
    method="GET",
    path="/cases",
    takes=type(None),
    gives=wire.CasePage,
    status=200,
    scope="executions:read",
    errors=_READS,
    limit="executions",
    query=(CURSOR, LIMIT, *_CASE_FILTERS),
)
IMPORT_CASES = Call(
    name="import_cases",
    summary="Replace the plan of test cases of a project",
    method="PUT",
    path="/cases",
    takes=wire.CasePlan,
    gives=wire.PlanChange,
    status=200,
    scope="admin",
    errors=(*_BODY, *_TOKEN),
    limit="executions",
)
EXPORT_CASES = Call(
    name="export_cases",
    summary="Export test cases as a CSV file",
    method="GET",
    path="/cases/export",
    takes=type(None),
    gives=bytes,
    status=200,
    scope="executions:read",
    errors=_READS,
    limit="executions",
    query=_CASE_FILTERS,
)
DELETE_EXECUTION = Call(
    name="delete_execution",
    summary="Delete an execution that has ended, with all its results",
    method="POST",
    path="/executions/{execution_id}/delete",
    takes=type(None),
    gives=wire.ExecutionDeleted,
    status=200,
    scope="admin",
    errors=(NotFound, Conflict, *_TOKEN),
    limit="executions",
)
CANCEL_EXECUTION = Call(
    name="cancel_execution",
    summary="Cancel a running execution",
    method="DELETE",
    path="/executions/{execution_id}",
    takes=type(None),
    gives=wire.ExecutionCancelled,
    status=200,
    scope="executions:write",
    errors=(NotFound, Conflict, *_TOKEN),
    limit="executions",
)
LIST_TESTS = Call(
    name="list_tests",
    summary="List an execution's tests, a page at a time",
    method="GET",
    path="/executions/{execution_id}/tests",
    takes=type(None),
    gives=wire.TestPage,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
    query=(
        CURSOR,
        LIMIT,
        Parameter(
            name="status",
            description="Only tests that ended like this.",
            schema={"type": "string", "enum": ["passed", "failed", "skipped"]},
        ),
    ),
)
EXPORT_EXECUTION = Call(
    name="export_execution",
    summary="Export an execution and its tests as a file",
    method="GET",
    path="/executions/{execution_id}/export",
    takes=type(None),
    gives=bytes,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    limit="executions",
    query=(
        Parameter(
            name="format",
            description="The format of the file.",
            schema={"type": "string", "enum": list(get_args(wire.ExportFormat))},
            is_required=True,
        ),
    ),
)
SUBMIT_RESULTS = Call(
    name="submit_results",
    summary="Submit the test results of a shard",
    method="POST",
    path="/results",
    takes=wire.ResultsSubmission[wire.TestResult],
    gives=wire.SubmissionAccepted,
    status=201,
    scope="executions:write",
    errors=(*_BODY, NotFound, Conflict, *_TOKEN),
    limit="results",
)
GET_ARTIFACT = Call(
    name="get_artifact",
    summary="Get whether a file is stored for an execution; HEAD sends no body",
    method="GET",
    path="/executions/{execution_id}/artifacts/{sha256}",
    takes=type(None),
    gives=wire.StoredArtifact,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
)
READ_ARTIFACT = Call(
    name="read_artifact",
    summary="Read a file of an execution",
    method="GET",
    path="/executions/{execution_id}/artifacts/{sha256}/content",
    takes=type(None),
    gives=bytes,
    status=200,
    scope="executions:read",
    errors=(NotFound, *_READS),
    query=(
        Parameter(
            name="limit",
            description="Bytes of the beginning of the file; the whole file unless given.",
            schema={"type": "string", "pattern": "^[1-9][0-9]{0,14}$"},
        ),
    ),
)
UPLOAD_ARTIFACT = Call(
    name="upload_artifact",
    summary="Upload a file of an execution, once for each content",
    method="PUT",
    path="/executions/{execution_id}/artifacts/{sha256}",
    takes=bytes,
    gives=wire.StoredArtifact,
    status=201,
    found="The execution has this file already.",
    scope="executions:write",
    errors=(*_BODY, NotFound, QuotaExceeded, *_READS),
    query=(
        Parameter(
            name="name",
            description="The name under which pages list the file; that of the first upload is kept.",
            schema={"type": "string", "maxLength": 500},
        ),
    ),
)
SEND_EVENT = Call(
    name="send_event",
    summary="Report an event of an execution, with the execution's own token",
    method="POST",
    path="/webhooks/executions/{execution_id}",
    takes=wire.Event,
    gives=wire.EventAccepted,
    status=202,
    scope="executions:write",
    errors=(*_BODY, NotFound, Conflict, *_TOKEN),
    limit="events",
)
CREATE_WEBHOOK = Call(
    name="create_webhook",
    summary="Register a webhook",
    method="POST",
    path="/webhooks",
    takes=wire.WebhookRequest,
    gives=wire.Webhook,
    status=201,
    scope="webhooks:write",
    errors=(*_BODY, Conflict, *_TOKEN),
    limit="webhooks",
)
LIST_WEBHOOKS = Call(
    name="list_webhooks",
    summary="List the webhooks",
    method="GET",
    path="/webhooks",
    takes=type(None),
    gives=wire.WebhookList,
    status=200,
    scope="webhooks:write",
    errors=_READS,
    limit="webhooks",
)
GET_WEBHOOK = Call(
    name="get_webhook",
    summary="Get a webhook",
    method="GET",
    path="/webhooks/{webhook_id}",
    takes=type(None),
    gives=wire.Webhook,
    status=200,
    scope="webhooks:write",
    errors=(NotFound, *_READS),
    limit="webhooks",
)
UPDATE_WEBHOOK = Call(
    name="update_webhook",
    summary="Change, pause or resume a webhook",
    method="PATCH",
    path="/webhooks/{webhook_id}",
    takes=wire.WebhookChange,
    gives=wire.Webhook,
    status=200,
    scope="webhooks:write",
    errors=(*_BODY, NotFound, *_TOKEN),
    limit="webhooks",
)
DELETE_WEBHOOK = Call(
    name="delete_webhook",
    summary="Delete a webhook and its deliveries",
    method="DELETE",
    path="/webhooks/{webhook_id}",
    takes=type(None),
    gives=wire.WebhookDeleted,
    status=200,
    scope="webhooks:write",
    errors=(NotFound, *_TOKEN),
    limit="webhooks",
)
ROTATE_WEBHOOK_SECRET = Call(
    name="rotate_webhook_secret",
    summary="Replace the secret of a webhook; the former one is valid for another 24 hours",
    method="POST",
    path="/webhooks/{webhook_id}/rotate",
    takes=wire.SecretRotation,
    gives=wire.Webhook,
    status=200,
    scope="webhooks:write",
    errors=(*_BODY, NotFound, Conflict, *_TOKEN),
    limit="webhooks",
)
VALIDATE_WEBHOOK = Call(
    name="validate_webhook",
    summary="Send a signed test payload to a webhook",
    method="POST",
    path="/webhooks/{webhook_id}/validate",
    takes=type(None),
    gives=wire.WebhookValidation,
    status=200,
    scope="webhooks:write",
    errors=(NotFound, Conflict, *_TOKEN),
    limit="webhooks",
)
LIST_DELIVERIES = Call(
    name="list_deliveries",
    summary="List a webhook's deliveries, the newest first",
    method="GET",
    path="/webhooks/{webhook_id}/deliveries",
    takes=type(None),
    gives=wire.DeliveryPage,
    status=200,
    scope="webhooks:write",
    errors=(NotFound, *_READS),
    limit="webhooks",
    query=(
        CURSOR,
        LIMIT,
        Parameter(
            name="status",
            description="Only deliveries in this state.",
            schema={"type": "string", "enum": ["pending", "delivered", "failed"]},
        ),
    ),
)
REPLAY_DELIVERIES = Call(
    name="replay_deliveries",
    summary="Send deliveries again",
    method="POST",
    path="/webhooks/{webhook_id}/replay",
    takes=wire.ReplayRequest,
    gives=wire.Replayed,
    status=200,
    scope="webhooks:write",
    errors=(*_BODY, NotFound, Conflict, *_TOKEN),
    limit="webhooks",
)

ALL: tuple[Call[object, object], ...] = (  # type: ignore[assignment]  # a tuple of calls, each with types of its own
    DESCRIBE_SERVICE,
    EXCHANGE_ID_TOKEN,
    CREATE_EXECUTION,
    LIST_EXECUTIONS,
    GET_EXECUTION,
    LIST_FAILURES,
    GET_CHANGES,
    COMPARE_EXECUTIONS,
    LIST_REGISTERED_TESTS,
    GET_TEST_HISTORY,
    LIST_KNOWN_TESTS,
    DECIDE_RENAME,
    LIST_CASES,
    IMPORT_CASES,
    EXPORT_CASES,
    GET_TIMINGS,
    FIX_PLAN,
    CLAIM_TESTS,
    LIST_SETTLED,
    LIST_QUARANTINE,
    ADD_TO_QUARANTINE,
    REMOVE_FROM_QUARANTINE,
    DELETE_EXECUTION,
    CANCEL_EXECUTION,
    LIST_TESTS,
    EXPORT_EXECUTION,
    SUBMIT_RESULTS,
    GET_ARTIFACT,
    READ_ARTIFACT,
    UPLOAD_ARTIFACT,
    SEND_EVENT,
    CREATE_WEBHOOK,
    LIST_WEBHOOKS,
    GET_WEBHOOK,
    UPDATE_WEBHOOK,
    DELETE_WEBHOOK,
    ROTATE_WEBHOOK_SECRET,
    VALIDATE_WEBHOOK,
    LIST_DELIVERIES,
    REPLAY_DELIVERIES,
)

_ONE_AT_A_TIME = threading.Lock()


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return a decoder of JSON into ``kind``.

    msgspec analyses a type when the first decoder for it is built, which takes milliseconds. Two threads
    that do so for the same type at the same time crash the interpreter, so decoders are built one at a time.
    """
    with _ONE_AT_A_TIME:
        return msgspec.json.Decoder(kind)


def prepare_decoders() -> None:
    """Make msgspec analyse every message, for threads that decode them without ``decoder``."""
    for call in ALL:
        decoder(call.takes)
        decoder(call.gives)
    decoder(wire.ErrorResponse)
