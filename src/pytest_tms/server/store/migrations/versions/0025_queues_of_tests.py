"""Queues of tests."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0027"


def upgrade() -> None:
    """Apply it."""
    op.create_table(
        "queue_batches",
        sa.Column("execution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("runner", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ranges", sa.Text(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("execution", "runner", "number", name=op.f("pk_queue_batches")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_queue_batches_open",
        "queue_batches",
        ["execution", "runner", "number"],
        unique=False,
        sqlite_where=sa.text("is_open"),
        postgresql_where=sa.text("is_open"),
    )
    op.create_table(
        "queue_collections",
        sa.Column("execution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("tests", sa.Integer(), nullable=False),
        sa.Column("lacks", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("execution", "number", name=op.f("pk_queue_collections")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "queue_runners",
        sa.Column("execution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("runner", sa.Text(), nullable=False),
        sa.Column("shard_id", sa.Text(), nullable=False),
        sa.Column("collection", sa.BigInteger(), nullable=False),
        sa.Column("workers", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("is_standby", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("has_ended", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("execution", "runner", name=op.f("pk_queue_runners")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_queue_runners_lease",
        "queue_runners",
        ["lease_until", "execution"],
        unique=False,
        sqlite_where=sa.text("NOT has_ended"),
        postgresql_where=sa.text("NOT has_ended"),
    )
    op.create_table(
        "queue_tests",
        sa.Column("execution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("execution", "first", name=op.f("pk_queue_tests")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "queues",
        sa.Column("execution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ci_attempt", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("tests", sa.Integer(), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("free", sa.Text(), nullable=False),
        sa.Column("free_weight", sa.BigInteger(), nullable=False),
        sa.Column("crashes", sa.Text(), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("execution", name=op.f("pk_queues")),
    )
    op.add_column("executions", sa.Column("queue_state", sa.String(length=16), nullable=True))
