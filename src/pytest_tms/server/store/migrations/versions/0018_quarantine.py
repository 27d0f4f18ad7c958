"""Tests in quarantine, and the failures that did not fail their run because of it."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Apply it."""
    op.create_table(
        "quarantine",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("is_automatic", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("ended_by", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    is_open = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_quarantine_open",
        "quarantine",
        ["project_id", "key_hash"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index("ix_quarantine_test", "quarantine", ["project_id", "key_hash", "id"])
    op.add_column(
        "result_details",
        sa.Column("is_quarantined", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_index(
        "ix_result_details_quarantined",
        "result_details",
        ["execution", "is_quarantined", "sequence"],
        sqlite_where=sa.text("is_quarantined"),
        postgresql_where=sa.text("is_quarantined"),
    )
