"""The tables. Times are milliseconds since 1970 in UTC, durations milliseconds, documents JSON text."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    false,
    literal,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def constant(value: str | int) -> ColumnElement[Any]:
    """Return a value that is written into the statement.

    A partial index is used only for a query that repeats its condition, and the plan is made before the
    values of parameters are known.
    """
    return literal(value, literal_execute=True)


def _partial(name: str, *columns: str | TextClause, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


# SQLite numbers rows only in a column of its own type INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")


def _counts(prefix: str = "") -> list[Column[int]]:
    return [
        Column(f"{prefix}{name}", BigInteger, nullable=False, server_default="0")
        for name in ("total", "passed", "failed", "skipped", "flaky")
    ]


executions = Table(
    "executions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("test_suite", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("trigger_source", Text, nullable=False),
    Column("configuration", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("extra", Text, nullable=False),  # unknown top-level fields
    Column("token_hash", String(64), nullable=False),
    Column("root", Text, nullable=False, server_default=""),  # the base URL in the request that created it
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("deadline_at", BigInteger),  # set while it waits or runs
    Column("timeout_given", Boolean, nullable=False, server_default=false()),
    Column(
        "max_shard_duration", BigInteger, nullable=False, server_default="0"
    ),  # the longest time of a shard
    Column("cancelled_by_user", Boolean, nullable=False, server_default=false()),
    Column("tests_expected", BigInteger),  # set at its end, as is the next
    Column("not_run", BigInteger, nullable=False, server_default="0"),
    Column("reason", Text),
    Column("shards_total", Integer, nullable=False),
    Column("shards_seen", Integer, nullable=False, server_default="0"),
    Column("shards_finished", Integer, nullable=False, server_default="0"),
    *_counts(),  # what its shards have, summed
    Column("reported_counts", Text),  # counts that came with execution.completed
    Column("progressed_at", BigInteger),  # when execution.progress last went out
    Column("sequence", BigInteger, nullable=False, server_default="0"),  # of its latest event
    Column("number", BigInteger, nullable=False, server_default="0"),  # by which its results name it
    Column("project_id", BigInteger, nullable=False, server_default="0"),
    Column("branch", Text, nullable=False, server_default=""),  # of its metadata, as are the next two
    Column("commit", Text, nullable=False, server_default=""),
    Column("author", Text, nullable=False, server_default=""),
    Column("results_stored", BigInteger, nullable=False, server_default="0"),  # the latest sequence
    Column("search_text", Text, nullable=False, server_default=""),  # see ``builds.search_text``
    Column("deleted_at", BigInteger),  # set while it is being deleted
    Column("run_key", Text),
    Column("declared_shards", Text, nullable=False, server_default="[]"),  # by the jobs of the run key
    Column("joined_at", BigInteger),  # when the latest of these jobs joined
    Column("idle_since", BigInteger),  # set while it waits for shards that may still begin
    Column("queue_state", String(16)),  # ``open`` or ``complete``; NULL without a queue
    # The number of the run that it is compared with, 0 if there is none; NULL before its first result.
    Column("previous", BigInteger),
    Column("version", BigInteger, nullable=False, server_default="0"),  # of what pages show, see ``versions``
    Index("ix_executions_number", "number", unique=True),
    Index(  # lists: every filter is in it, so that rows that are left out are not read
        "ix_executions_list",
        "number",
        "deleted_at",
        "created_at",
        "project_id",
        "status",
        "test_suite",
        "environment",
        "provider",
        "branch",
        "commit",
        "author",
        "search_text",
    ),
    _partial("ix_executions_deleted", "id", where="deleted_at IS NOT NULL"),  # left to be deleted
    _partial(  # earlier and later runs of a suite, environment and branch
        "ix_executions_series",
        "project_id",
        "test_suite",
        "environment",
        "branch",
        "number",
        where="results_stored > 0 AND deleted_at IS NULL",
    ),
    _partial(  # the one execution of a run key
        "ix_executions_run_key",
        "run_key",
        "test_suite",
        "environment",
        where="run_key IS NOT NULL",
        unique=True,
    ),
    _partial(  # executions that wait for shards
        "ix_executions_idle",
        "idle_since",
        where="idle_since IS NOT NULL",
    ),
    _partial(  # executions whose progress is due
        "ix_executions_running",
        text("coalesce(progressed_at, started_at)"),
        where="status = 'running'",
    ),
    _partial(  # executions whose timeout has passed
        "ix_executions_deadline",
        "deadline_at",
        where="deadline_at IS NOT NULL",
    ),
)

shards = Table(
    "shards",
    metadata,
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("shard_id", Text, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("duration", BigInteger),
    *_counts(),  # of the tests that were sent
    Column("reported_counts", Text),  # the latest counts that its runner gave
    Column("metadata", Text, nullable=False, server_default="{}"),
    Column("silence_deadline_at", BigInteger),  # when it is lost unless it reports; NULL without live reports
    Column("last_reported_at", BigInteger),  # when its runner last reported
    Column("runner", Text),  # the runner that runs it now
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("ci_attempt", Integer),  # the number that its CI system gives to the attempt
    Column("tests_received", BigInteger, nullable=False, server_default="0"),  # tests of this attempt
    Column("tests_duration", BigInteger),  # the sum of their durations, if no time is known otherwise
    Column("collected", BigInteger),
    Column("not_run", BigInteger),
    Column("not_run_reason", Text),
    Column("not_run_tests", Text, nullable=False, server_default="[]"),
    Column("exit_status", BigInteger),
    Column("division", Text),  # how it selected its part of the tests
    Column("reason", Text),
    Column("in_flight", Text, nullable=False, server_default="[]"),  # tests in progress
    _partial(  # shards whose runner fell silent
        "ix_shards_silence_deadline",
        "silence_deadline_at",
        where="status = 'running'",
    ),
)

runners = Table(  # the shard that was assigned to a runner for the one that it requested
    "runners",
    metadata,
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("runner", Text, primary_key=True),
    Column("requested", Text, primary_key=True),
    Column("shard_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
)

submissions = Table(
    "submissions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), nullable=False),
    Column("shard_id", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("tests", Integer, nullable=False),
    Column("document", Text, nullable=False),  # the body without its tests
    Column("files", Text),  # the files that the artifacts page shows
    Column("sealed", LargeBinary),  # both, if they are encrypted: see ``sealed``; then ``document`` is empty
    Column("digest", BigInteger),  # of an encrypted document, to recognise a repetition
    Index("ix_submissions_execution_id", "execution_id", "id"),  # the artifacts page
)

projects = Table(
    "projects",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

tests = Table(  # every test that a project ever ran, once
    "tests",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("project_id", BigInteger, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),  # of the key: shorter in the index, and of one length
    Column("key", Text, nullable=False),
    Column("title", Text, nullable=False),  # as in the latest result, as is the file
    Column("file", Text, nullable=False),
    Column("node_id", Text, nullable=False, server_default=""),  # empty if it was not sent, as is the owner
    Column("owner", Text, nullable=False, server_default=""),
    Column("tags", Text, nullable=False, server_default="[]"),  # a JSON list
    Column("search_text", Text, nullable=False, server_default=""),  # see ``test_registry.search_text``
    Column("names_hash", BigInteger, nullable=False),  # of these names, to see whether they have changed
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),  # at most an hour before the latest result
    UniqueConstraint("project_id", "key_hash"),
    Index("ix_tests_file", "project_id", text("substr(file, 1, 200)")),  # PostgreSQL limits an entry
    _partial("ix_tests_owner", "project_id", "owner", "id", where="owner <> ''"),
)

test_cases = Table(  # cases of a project's plan, and those that its tests name
    "test_cases",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("project_id", BigInteger, nullable=False),
    Column("case_id", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("is_planned", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("project_id", "case_id"),
    Index("ix_test_cases_list", "project_id", "id"),
)

test_case_links = Table(  # which test carries the id of which case
    "test_case_links",
    metadata,
    Column("case_number", BigInteger, primary_key=True, autoincrement=False),  # test_cases.id
    Column("test_id", BigInteger, primary_key=True, autoincrement=False),
    Index("ix_test_case_links_test_id", "test_id", "case_number"),
    sqlite_with_rowid=False,
)

test_renames = Table(  # whether a test is an earlier one under another name
    "test_renames",
    metadata,
    Column("test_id", BigInteger, primary_key=True, autoincrement=False),
    Column("earlier_id", BigInteger, primary_key=True, autoincrement=False),
    Column("is_same", Boolean, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Index("ix_test_renames_earlier_id", "earlier_id", "test_id"),
    sqlite_with_rowid=False,
)

results = Table(  # one attempt of a test in a shard; no foreign keys, since each row would look them up
    "results",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),  # executions.number
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # the order of arrival
    Column("test_id", BigInteger, nullable=False),
    Column("shard_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),  # the shard's that ran it
    Column("is_superseded", Boolean, nullable=False),  # by a newer attempt
    Column("status", SmallInteger, nullable=False),  # a position in ``results.STATUSES``
    Column("outcome", Text),  # if it differs from the status
    Column("duration", BigInteger, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("failed_before", Boolean, nullable=False),  # in an earlier attempt
    Column("is_flaky", Boolean, nullable=False),
    Column("started_at", BigInteger),
    Column("worker", Text),
    Column("document", BigInteger, nullable=False),  # the ``first`` of the row of result_documents
    Column("digest", BigInteger, nullable=False),  # of the document, to see whether it has changed
    # One result of each attempt; and the history of a test.
    Index("ix_results_test_id", "test_id", "execution", "shard_id", "attempt", unique=True),
    _partial(  # failed or skipped tests, of which there are few
        "ix_results_status",
        "execution",
        "status",
        "sequence",
        "is_superseded",
        where="status <> 0",
    ),
    _partial(
        "ix_results_flaky",
        "execution",
        "is_flaky",
        "sequence",
        "test_id",
        "is_superseded",
        where="is_flaky",
    ),
    _partial(
        "ix_results_outcome",
        "execution",
        "outcome",
        "sequence",
        "is_superseded",
        where="outcome IS NOT NULL",
    ),
    _partial(  # the slowest tests of an execution, see SLOW; most are faster
        "ix_results_duration",
        "execution",
        "duration",
        "sequence",
        where="duration >= 100",
    ),
    sqlite_with_rowid=False,  # stored in the order of the primary key
)

result_details = Table(  # of a result that did not pass: what lists show, so that no page reads the document
    "result_details",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("error", Text),
    Column("details", Text),  # of a failed test, as are the next: of a superseded result they are NULL
    Column("cause", BigInteger),  # the fingerprint
    # The number of the execution in which the test began to fail, NULL if there was none to compare with.
    Column("failing_since", BigInteger),
    Column("failing_runs", Integer),  # consecutive runs that failed, with this one
    # A failed verdict that did not fail its run, since the test is in quarantine.
    Column("is_quarantined", Boolean, nullable=False, server_default=false()),
    Column("sealed", LargeBinary),  # the error and the details, if they are encrypted: see ``sealed``
    _partial("ix_result_details_cause", "execution", "cause", "sequence", where="cause IS NOT NULL"),
    _partial(  # new failures
        "ix_result_details_since",
        "execution",
        "failing_since",
        "sequence",
        where="failing_since IS NOT NULL",
    ),
    _partial(
        "ix_result_details_quarantined", "execution", "is_quarantined", "sequence", where="is_quarantined"
    ),
    sqlite_with_rowid=False,
)

quarantine = Table(  # tests whose failures do not fail a run, and those that were in quarantine before
    "quarantine",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("project_id", BigInteger, nullable=False),
    Column("key_hash", LargeBinary, nullable=False),  # as in ``tests``
    Column("key", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("until", BigInteger, nullable=False),  # the last millisecond at which it is active
    Column("is_automatic", Boolean, nullable=False, server_default=false()),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),  # the name of the token or user, empty for the server
    Column("ended_at", BigInteger),  # when it was removed, replaced or found to have expired
    Column("ended_by", Text),  # who removed it; NULL if it expired
    _partial("ix_quarantine_open", "project_id", "key_hash", where="ended_at IS NULL", unique=True),
    Index("ix_quarantine_test", "project_id", "key_hash", "id"),  # all entries of a test
)

failure_causes = Table(  # of the verdicts of an execution, see ``domain.failure_causes``
    "failure_causes",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),
    Column("fingerprint", BigInteger, primary_key=True, autoincrement=False),
    Column("project_id", BigInteger, nullable=False),
    Column("exception", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("sealed", LargeBinary),  # the message, if it is encrypted: see ``sealed``
    Index("ix_failure_causes_largest", "execution", "failures", "fingerprint"),
    Index("ix_failure_causes_history", "project_id", "fingerprint", "execution"),  # when it was first seen
    sqlite_with_rowid=False,
)

result_documents = Table(  # results as they were sent, several in a row: a compressed JSON list
    "result_documents",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, primary_key=True, autoincrement=False),  # the sequence of its first result
    Column("documents", LargeBinary, nullable=False),  # encrypted or not: see ``data_cipher``
    sqlite_with_rowid=False,
)

blobs = Table(  # contents of files, each stored once, whichever executions have it
    "blobs",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("object", String(100), nullable=False),  # its key in the object store, which no other upload has
    Column("size", BigInteger, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("encryption", LargeBinary),  # the header of its encrypted object, NULL if it is not encrypted
)

artifacts = Table(  # which execution has which file
    "artifacts",
    metadata,
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("name", Text, nullable=False),  # only shown: that of the first upload
    Column("size", BigInteger, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_artifacts_sha256", "sha256"),  # blobs that no execution has
    Index("ix_artifacts_created_at", "created_at"),  # files that retention no longer keeps
)

artifact_usage = Table(  # bytes of the files of one execution
    "artifact_usage",
    metadata,
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
)

# One row: the bytes of all blobs.
blob_usage = Table("blob_usage", metadata, Column("bytes", BigInteger, nullable=False))

stray_objects = Table(  # objects that are being written or are to be deleted, so that a crash leaves none
    "stray_objects",
    metadata,
    Column("object", String(100), primary_key=True),
    Column("delete_at", BigInteger, nullable=False),
    Index("ix_stray_objects_delete_at", "delete_at"),
)

events = Table(
    "events",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), nullable=False),
    Column("event", String(32), nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),  # the event as it was sent
    Column("sealed", LargeBinary),  # the document, if it is encrypted: see ``sealed``; then that is empty
    Column("digest", BigInteger),  # of an encrypted document, to recognise a repetition
    Index("ix_events_execution_id", "execution_id", "id"),  # the logs page
)

idempotent_responses = Table(
    "idempotent_responses",
    metadata,
    Column("token_hash", String(64), primary_key=True),  # of the request
    Column("key", Text, primary_key=True),
    Column("request_hash", String(32), nullable=False),  # of path and body
    Column("response", Text, nullable=False),  # empty while the request is in progress
    Column("created_at", BigInteger, nullable=False),
    Index("ix_idempotent_responses_created_at", "created_at"),  # deletion of expired keys
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),
    Column("secret", Text, nullable=False),  # encrypted, as are the one before and the headers
    Column("previous_secret", Text),
    Column("previous_until", BigInteger),
    Column("headers", Text),
    Column("retry", Text, nullable=False),
    Column("filters", Text, nullable=False),
    Column("extra", Text, nullable=False),  # unknown top-level fields
    Column("status", String(16), nullable=False),
    Column("status_since", BigInteger),  # nothing where it never changed
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("failing_since", BigInteger),
    Column("validated_at", BigInteger),
    Column("created_by", String(64)),  # the token's id
    Column("format", String(16), nullable=False, server_default="json"),  # of its payloads
    Column(
        "suspended_until", BigInteger, nullable=False, server_default="0"
    ),  # its deliveries are suspended until then
    # One process at a time delivers to a webhook, so order and rate need no further lock.
    Column("leased_by", String(64)),
    Column("leased_until", BigInteger, nullable=False, server_default="0"),
)

deliveries = Table(
    "deliveries",
    metadata,
    # Its order is that of an execution's events, whose transactions wait for each other.
    Column("number", RowId, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("webhook_id", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), nullable=False),
    Column("event", String(32), nullable=False),
    Column("body", Text, nullable=False),  # the payload as it is sent
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),  # the time of its end after that
    Column("response_code", Integer),
    Column("reason", Text),
    Column("sealed", LargeBinary),  # the body, if it is encrypted: see ``sealed``; then that is empty
    _partial(  # what a webhook has to be sent, in order; what is not due is passed over within the index
        "ix_deliveries_pending",
        "webhook_id",
        "number",
        "due_at",
        "execution_id",
        where="status = 'pending'",
    ),
    _partial(  # whether a webhook has anything to be sent
        "ix_deliveries_due",
        "webhook_id",
        "due_at",
        where="status = 'pending'",
    ),
    _partial(  # until when the events of an execution wait
        "ix_deliveries_waiting",
        "execution_id",
        "webhook_id",
        "due_at",
        where="status = 'pending'",
    ),
    Index("ix_deliveries_page", "webhook_id", "number"),  # lists
    _partial(  # lists of one status
        "ix_deliveries_status",
        "webhook_id",
        "status",
        "number",
        where="status <> 'pending'",
    ),
    Index("ix_deliveries_execution_id", "execution_id"),  # deletion with its execution
    # Deletion after retention. One index for both would also be chosen for pending deliveries.
    _partial("ix_deliveries_delivered", "due_at", where="status = 'delivered'"),
    _partial("ix_deliveries_failed", "due_at", where="status = 'failed'"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("previous_hash", String(64)),  # of the text before the last rotation
    Column("previous_until", BigInteger),
    Column("scopes", Text, nullable=False),
    Column("environments", Text, nullable=False, server_default="[]"),  # empty means all
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("used_at", BigInteger),
    Column("job_until", BigInteger),  # the end of a token of a CI job; NULL for those of operators
    Index("ix_tokens_previous_hash", "previous_hash", unique=True),  # every request searches here, too
    _partial("ix_tokens_of_jobs", "job_until", where="job_until IS NOT NULL"),  # deletion of expired ones
    _partial("ix_tokens_of_operators", "id", where="job_until IS NULL"),  # lists
)

audit = Table(
    "audit",
    metadata,
    Column("number", RowId, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("action", String(64), nullable=False),
    Column("target", String(64), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("address", String(64), nullable=False),
    Column("details", Text, nullable=False),
    Index("ix_audit_at", "at"),  # entries since a time
    Index("ix_audit_action", "action", "at"),  # deletion of old failures
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True),  # of the browser's cookie
    # Not the token's id: a login lasts exactly as long as the text that it was made with is valid. Empty for
    # a login at the OpenID provider, which has the values below.
    Column("token_hash", String(64), nullable=False),
    Column("issuer", Text),
    Column("user_id", String(64)),
    Column("user_name", Text),
    Column("role", String(16)),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_sessions_expires_at", "expires_at"),  # deletion of expired sessions
    Index("ix_sessions_user_id", "user_id"),  # the end of all logins of a person
)

shared_setups = Table(  # setups of fixtures that tests share, each in the result that contains it
    "shared_setups",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),  # executions.number
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # of the result
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    Column("scope", String(16), nullable=False),
    Column("node", Text, nullable=False),  # of the class, module or package; empty for a session
    Column("fixture", Text, nullable=False),
    Column("duration", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

plans = Table(  # the durations by which the shards of an execution divide the tests
    "plans",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),  # executions.number
    Column("created_at", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),  # compressed JSON: see store.plans
)

queues = Table(  # the tests that the shards of an execution take in turn, see ``store.queues``
    "queues",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),  # executions.number
    Column("created_at", BigInteger, nullable=False),
    Column("ci_attempt", Integer, nullable=False),  # the CI attempt that began it
    Column("since", BigInteger, nullable=False),  # results of its tests have a greater sequence
    Column("tests", Integer, nullable=False),
    Column("left_out", Integer, nullable=False),  # tests that passed in an earlier CI attempt
    Column("weight", BigInteger, nullable=False),  # the expected milliseconds of all tests
    Column("free", Text, nullable=False),  # JSON: ranges of its tests that no shard has, in their order
    Column("free_weight", BigInteger, nullable=False),
    Column("crashes", Text, nullable=False, server_default="{}"),  # JSON: shards that ended in a test
)

queue_tests = Table(  # the tests of a queue, numbered in their first order; several in a row
    "queue_tests",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),  # compressed JSON
    sqlite_with_rowid=False,
)

queue_collections = Table(  # different lists of tests that shards collected
    "queue_collections",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(32), nullable=False),
    Column("tests", Integer, nullable=False),
    Column("lacks", LargeBinary, nullable=False),  # compressed JSON: ranges of the queue that are not in it
    sqlite_with_rowid=False,
)

queue_runners = Table(  # runners that take tests from a queue
    "queue_runners",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),
    Column("runner", Text, primary_key=True),
    Column("shard_id", Text, nullable=False),
    Column("collection", BigInteger, nullable=False),
    Column("workers", Integer, nullable=False),
    Column("lease", BigInteger, nullable=False, server_default="15000"),
    Column("lease_until", BigInteger, nullable=False),
    Column("is_standby", Boolean, nullable=False, server_default=false()),
    Column("has_ended", Boolean, nullable=False, server_default=false()),
    _partial("ix_queue_runners_lease", "lease_until", "execution", where="NOT has_ended"),
    sqlite_with_rowid=False,
)

queue_batches = Table(  # the response to each request of a runner that got tests
    "queue_batches",
    metadata,
    Column("execution", BigInteger, primary_key=True, autoincrement=False),
    Column("runner", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("ranges", Text, nullable=False),  # JSON
    Column("is_open", Boolean, nullable=False),  # it may have unfinished tests, which no other runner has
    _partial("ix_queue_batches_open", "execution", "runner", "number", where="is_open"),
    sqlite_with_rowid=False,
)

leases = Table(  # of jobs that one process at a time runs
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("leased_until", BigInteger, nullable=False),
    Column("done_at", BigInteger, nullable=False, server_default="0"),  # when the job last finished
)

# One row: the oldest revision whose code works with this schema.
schema_compatibility = Table("schema_compatibility", metadata, Column("since", String(32), nullable=False))

# One row: a text encrypted with the key of the servers, by which a server with another key is detected.
key_check = Table("key_check", metadata, Column("encrypted", Text, nullable=False))

# One row: whether data is encrypted, so that no server writes it unencrypted by mistake.
encryption = Table("encryption", metadata, Column("is_on", Boolean, nullable=False))

encryption_keys = Table(  # keys with which stored data may be encrypted; no key is in it, only ids
    "encryption_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("used_since", BigInteger, nullable=False),
)

encryption_progress = Table(  # how far a kind of data is encrypted with the newest key, or decrypted
    "encryption_progress",
    metadata,
    Column("name", String(64), primary_key=True),  # of ``reencryption.KINDS``
    Column("key_id", String(16), nullable=False),  # the key, empty for none
    Column("position", Text, nullable=False),  # the key of the latest row, a JSON list; empty at the start
    Column("rows", BigInteger, nullable=False),  # that were changed
    Column("passes", Integer, nullable=False),  # see ``reencryption.PASSES``
    Column("passed_at", BigInteger, nullable=False),  # when the latest pass ended
)
