"""Attempts of a shard, tests that did not run, timeouts that were given, executions that never start."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

DEFAULT_TIMEOUT = 1_800_000
"""Milliseconds; what an execution of version 0.1.0 has whose creator did not set a timeout."""


def upgrade() -> None:
    """Apply it."""
    added: list[tuple[str, list[sa.Column[Any]]]] = [
        (
            "executions",
            [
                sa.Column("timeout_given", sa.Boolean(), server_default=sa.false(), nullable=False),
                sa.Column("longest", sa.BigInteger(), server_default="0", nullable=False),
                sa.Column("cancelled_by_user", sa.Boolean(), server_default=sa.false(), nullable=False),
                sa.Column("tests_expected", sa.BigInteger(), nullable=True),
                sa.Column("not_run", sa.BigInteger(), server_default="0", nullable=False),
            ],
        ),
        (
            "shards",
            [
                sa.Column("heard_at", sa.BigInteger(), nullable=True),
                sa.Column("runner", sa.Text(), nullable=True),
                sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
                sa.Column("declared", sa.Integer(), nullable=True),
                sa.Column("done", sa.BigInteger(), server_default="0", nullable=False),
                sa.Column("spent", sa.BigInteger(), nullable=True),
                sa.Column("collected", sa.BigInteger(), nullable=True),
                sa.Column("not_run", sa.BigInteger(), nullable=True),
                sa.Column("not_run_reason", sa.Text(), nullable=True),
                sa.Column("not_run_tests", sa.Text(), server_default="[]", nullable=False),
                sa.Column("exit_status", sa.BigInteger(), nullable=True),
                sa.Column("reason", sa.Text(), nullable=True),
                sa.Column("in_flight", sa.Text(), server_default="[]", nullable=False),
            ],
        ),
        (
            "tests",
            [
                sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
                sa.Column("was_failed", sa.Boolean(), server_default=sa.false(), nullable=False),
                sa.Column("earlier", sa.Text(), nullable=True),
            ],
        ),
    ]
    for table, columns in added:
        for column in columns:
            op.add_column(table, column)
    op.create_table(
        "runners",
        sa.Column("execution_id", sa.String(64), nullable=False),
        sa.Column("runner", sa.Text(), nullable=False),
        sa.Column("requested", sa.Text(), nullable=False),
        sa.Column("shard_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["executions.id"], name=op.f("fk_runners_execution_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("execution_id", "runner", "requested", name=op.f("pk_runners")),
    )
    _set_deadlines()
    op.drop_index("ix_executions_deadline", "executions")
    has_deadline = sa.text("deadline_at IS NOT NULL")
    op.create_index(
        "ix_executions_deadline",
        "executions",
        ["deadline_at"],
        sqlite_where=has_deadline,
        postgresql_where=has_deadline,
    )


def _set_deadlines() -> None:
    """Give executions that wait or run their deadline, and take it from those that have ended."""
    connection = op.get_bind()
    executions = sa.table(
        "executions",
        *map(sa.column, ("id", "status", "configuration", "created_at", "deadline_at", "timeout_given")),
    )
    table = executions.c
    connection.execute(
        executions.update().where(table.status.not_in(("created", "running"))).values(deadline_at=None)
    )
    waiting = sa.select(table.id, table.status, table.configuration, table.created_at, table.deadline_at)
    for row in connection.execute(waiting.where(table.status.in_(("created", "running")))).all():
        timeout = json.loads(row.configuration).get("timeout", DEFAULT_TIMEOUT)
        deadline = row.created_at + timeout if row.status == "created" else row.deadline_at
        connection.execute(
            executions.update()
            .where(table.id == row.id)
            .values(deadline_at=deadline, timeout_given=timeout != DEFAULT_TIMEOUT)
        )
