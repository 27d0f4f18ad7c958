"""The tables. Times are milliseconds since 1970 in UTC, durations milliseconds, documents JSON text."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
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
    Column("extra", Text, nullable=False),  # top-level fields that we do not know
    Column("token_hash", String(64), nullable=False),
    Column("root", Text, nullable=False, server_default=""),  # where its creator reached us
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("deadline_at", BigInteger),  # while it waits or runs
    Column("timeout_given", Boolean, nullable=False, server_default=false()),
    Column("longest", BigInteger, nullable=False, server_default="0"),  # the longest time of a shard
    Column("cancelled_by_user", Boolean, nullable=False, server_default=false()),
    Column("tests_expected", BigInteger),  # set at its end, as is the next
    Column("not_run", BigInteger, nullable=False, server_default="0"),
    Column("reason", Text),
    Column("shards_total", Integer, nullable=False),
    Column("shards_seen", Integer, nullable=False, server_default="0"),
    Column("shards_finished", Integer, nullable=False, server_default="0"),
    *_counts(),  # what its shards have, summed
    Column("given", Text),  # counts that came with execution.completed
    Column("progressed_at", BigInteger),  # when execution.progress last went out
    Index(  # executions whose progress is due
        "ix_executions_running",
        "progressed_at",
        sqlite_where=text("status = 'running'"),
        postgresql_where=text("status = 'running'"),
    ),
    Index(  # executions whose timeout has passed
        "ix_executions_deadline",
        "deadline_at",
        sqlite_where=text("deadline_at IS NOT NULL"),
        postgresql_where=text("deadline_at IS NOT NULL"),
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
    Column("given", Text),  # the latest counts that its runner gave
    Column("metadata", Text, nullable=False, server_default="{}"),
    Column("silent_at", BigInteger),  # when it is lost, where its runner reports live
    Column("heard_at", BigInteger),  # when its runner last reported
    Column("runner", Text),  # the process that runs it now
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("declared", Integer),  # the number of the CI attempt
    Column("done", BigInteger, nullable=False, server_default="0"),  # tests of this attempt
    Column("spent", BigInteger),  # the sum of their durations, if no time is known otherwise
    Column("collected", BigInteger),
    Column("not_run", BigInteger),
    Column("not_run_reason", Text),
    Column("not_run_tests", Text, nullable=False, server_default="[]"),
    Column("exit_status", BigInteger),
    Column("reason", Text),
    Column("in_flight", Text, nullable=False, server_default="[]"),  # tests that have begun
    Index(  # shards whose runner fell silent
        "ix_shards_silent",
        "silent_at",
        sqlite_where=text("status = 'running'"),
        postgresql_where=text("status = 'running'"),
    ),
)

runners = Table(  # which shard a process was given, for the one that it named
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
    Index("ix_submissions_execution_id", "execution_id"),  # the artifacts page
)

tests = Table(
    "tests",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), nullable=False),
    Column("shard_id", Text, nullable=False),
    Column("test_key", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("duration", BigInteger, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("error", Text),
    Column("document", Text, nullable=False),  # the test as it was sent
    Column("attempt", Integer, nullable=False, server_default="1"),  # the shard's that sent it
    Column("was_failed", Boolean, nullable=False, server_default=false()),  # in an earlier attempt
    Column("earlier", Text),  # the documents of earlier attempts
    # A test counts once in a shard, and sending it again replaces it.
    UniqueConstraint("execution_id", "shard_id", "test_key"),
    Index("ix_tests_page", "execution_id", "id"),  # pages in the order of arrival
    Index(  # the failing tests of a report
        "ix_tests_failed",
        "execution_id",
        "id",
        sqlite_where=text("status = 'failed'"),
        postgresql_where=text("status = 'failed'"),
    ),
    Index("ix_tests_slowest", "execution_id", "duration"),  # the slowest tests of a report
)

events = Table(
    "events",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("execution_id", ForeignKey("executions.id", ondelete="CASCADE"), nullable=False),
    Column("event", String(32), nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),  # the event as it was sent
    Index("ix_events_execution_id", "execution_id", "id"),  # the logs page
)

answers = Table(
    "answers",
    metadata,
    Column("owner", String(64), primary_key=True),  # the hash of the token that asked
    Column("key", Text, primary_key=True),
    Column("request", String(32), nullable=False),  # a hash of path and body
    Column("answer", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_answers_created_at", "created_at"),  # what is older than a day goes
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),
    Column("secret", Text, nullable=False),  # encrypted, as is the one before
    Column("previous_secret", Text),
    Column("previous_until", BigInteger),
    Column("retry", Text, nullable=False),
    Column("filters", Text, nullable=False),
    Column("extra", Text, nullable=False),  # top-level fields that we do not know
    Column("status", String(16), nullable=False),
    Column("status_since", BigInteger),  # nothing where it never changed
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("failing_since", BigInteger),
    Column("validated_at", BigInteger),
    Column("created_by", String(64)),  # the token's id
    Column("resume_at", BigInteger, nullable=False, server_default="0"),  # it rests until then
    # One process at a time delivers to a webhook: so order and pace need no further lock.
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
    Column("due_at", BigInteger, nullable=False),  # when it ended, once it has
    Column("response_code", Integer),
    Column("reason", Text),
    Index(  # what a webhook has to be sent, in order
        "ix_deliveries_pending",
        "webhook_id",
        "number",
        sqlite_where=text("status = 'pending'"),
        postgresql_where=text("status = 'pending'"),
    ),
    Index(  # what waits for another attempt
        "ix_deliveries_due",
        "webhook_id",
        "due_at",
        sqlite_where=text("status = 'pending'"),
        postgresql_where=text("status = 'pending'"),
    ),
    Index("ix_deliveries_page", "webhook_id", "number"),  # lists
    Index("ix_deliveries_execution_id", "execution_id"),  # what goes with its execution
    Index("ix_deliveries_ended", "status", "due_at"),  # what is old enough to go
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
    Index("ix_tokens_previous_hash", "previous_hash", unique=True),  # every request looks here, too
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
    Index("ix_audit_at", "at"),  # since when
    Index("ix_audit_action", "action", "at"),  # failures that are old enough to go
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True),  # of the browser's cookie
    # Not the token's id: a login lasts exactly as long as the text that it was made with is valid.
    Column("token_hash", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_sessions_expires_at", "expires_at"),  # what has ended goes
)

# One row: a text that the servers' key encrypts, by which a server with another key is noticed.
key_check = Table("key_check", metadata, Column("encrypted", Text, nullable=False))
