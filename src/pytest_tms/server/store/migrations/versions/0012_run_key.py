"""Add the run key of an execution."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Apply it."""
    op.add_column("executions", sa.Column("run_key", sa.Text(), nullable=True))
    op.add_column("executions", sa.Column("declared_shards", sa.Text(), server_default="[]", nullable=False))
    op.add_column("executions", sa.Column("joined_at", sa.BigInteger(), nullable=True))
    op.add_column("executions", sa.Column("idle_since", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_executions_idle",
        "executions",
        ["idle_since"],
        unique=False,
        sqlite_where=sa.text("idle_since IS NOT NULL"),
        postgresql_where=sa.text("idle_since IS NOT NULL"),
    )
    op.create_index(
        "ix_executions_run_key",
        "executions",
        ["run_key", "test_suite", "environment"],
        unique=True,
        sqlite_where=sa.text("run_key IS NOT NULL"),
        postgresql_where=sa.text("run_key IS NOT NULL"),
    )
