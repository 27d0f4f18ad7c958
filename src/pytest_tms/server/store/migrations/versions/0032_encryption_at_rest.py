"""Encrypted texts and files, and how far existing data is encrypted."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0028"


def upgrade() -> None:
    """Apply it. The new columns are empty, so no row is written."""
    for table in ("result_details", "failure_causes", "submissions", "events", "deliveries"):
        op.add_column(table, sa.Column("sealed", sa.LargeBinary(), nullable=True))
    for table in ("submissions", "events"):
        op.add_column(table, sa.Column("digest", sa.BigInteger(), nullable=True))
    op.add_column("blobs", sa.Column("encryption", sa.LargeBinary(), nullable=True))
    op.create_table("encryption", sa.Column("is_on", sa.Boolean(), nullable=False))
    op.create_table(
        "encryption_keys",
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("used_since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_encryption_keys")),
    )
    op.create_table(
        "encryption_progress",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("passes", sa.Integer(), nullable=False),
        sa.Column("passed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_encryption_progress")),
    )
