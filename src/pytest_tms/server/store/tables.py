"""The tables. Times are milliseconds since 1970 in UTC, durations milliseconds, documents JSON text."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
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
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("reason", Text),
    Column("shards_total", Integer, nullable=False),
    Column("shards_seen", Integer, nullable=False, server_default="0"),
    Column("shards_finished", Integer, nullable=False, server_default="0"),
    *_counts(),  # what its shards have, summed
    Column("given", Text),  # counts that came with execution.completed
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

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)
