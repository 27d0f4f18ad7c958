"""Timeouts, and shards whose runner falls silent."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

RUNNING = sa.text("status = 'running'")


def upgrade() -> None:
    """Apply it."""
    op.add_column("executions", sa.Column("root", sa.Text(), server_default="", nullable=False))
    op.add_column("executions", sa.Column("deadline_at", sa.BigInteger(), nullable=True))
    op.add_column("shards", sa.Column("silent_at", sa.BigInteger(), nullable=True))
    for index, table, column in (
        ("ix_executions_deadline", "executions", "deadline_at"),
        ("ix_shards_silent", "shards", "silent_at"),
    ):
        op.create_index(index, table, [column], sqlite_where=RUNNING, postgresql_where=RUNNING)
