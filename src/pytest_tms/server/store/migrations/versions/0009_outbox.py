"""Indexes that queries follow without statistics; event sequences, webhook headers, what pages show."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

PENDING = sa.text("status = 'pending'")
RUNNING = sa.text("status = 'running'")


def upgrade() -> None:
    """Apply it."""
    op.add_column("executions", sa.Column("sequence", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("webhooks", sa.Column("headers", sa.Text(), nullable=True))
    op.add_column("submissions", sa.Column("shown", sa.Text(), nullable=True))
    op.add_column("tests", sa.Column("shown", sa.Text(), nullable=True))
    op.create_index("ix_executions_environment", "executions", ["environment", "id"])
    op.drop_index("ix_executions_running", "executions")
    _partial("ix_executions_running", "executions", [sa.text("coalesce(progressed_at, started_at)")], RUNNING)
    op.drop_index("ix_submissions_execution_id", "submissions")
    op.create_index("ix_submissions_execution_id", "submissions", ["execution_id", "id"])
    op.drop_index("ix_tests_failed", "tests")
    _partial("ix_tests_status", "tests", ["execution_id", "status", "id"], sa.text("status <> 'passed'"))
    op.drop_index("ix_deliveries_pending", "deliveries")
    pending = ["webhook_id", "number", "due_at", "execution_id"]
    _partial("ix_deliveries_pending", "deliveries", pending, PENDING)
    _partial("ix_deliveries_waiting", "deliveries", ["execution_id", "webhook_id", "due_at"], PENDING)
    ended = ["webhook_id", "status", "number"]
    _partial("ix_deliveries_status", "deliveries", ended, sa.text("status <> 'pending'"))
    op.drop_index("ix_deliveries_ended", "deliveries")
    _partial("ix_deliveries_delivered", "deliveries", ["due_at"], sa.text("status = 'delivered'"))
    _partial("ix_deliveries_failed", "deliveries", ["due_at"], sa.text("status = 'failed'"))


def _partial(name: str, table: str, columns: Sequence[str | sa.TextClause], condition: sa.TextClause) -> None:
    op.create_index(name, table, list(columns), sqlite_where=condition, postgresql_where=condition)
