"""Decisions on whether a test is an earlier one under another name."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Apply it."""
    op.create_table(
        "test_renames",
        sa.Column("test_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("earlier_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("is_same", sa.Boolean(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("test_id", "earlier_id", name=op.f("pk_test_renames")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_test_renames_earlier_id", "test_renames", ["earlier_id", "test_id"])
