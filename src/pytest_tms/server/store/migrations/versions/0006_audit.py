"""The audit log; tokens that are rotated, bound to environments, and show their last use."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply it."""
    op.add_column("webhooks", sa.Column("created_by", sa.String(64), nullable=True))
    op.add_column("tokens", sa.Column("previous_hash", sa.String(64), nullable=True))
    op.add_column("tokens", sa.Column("previous_until", sa.BigInteger(), nullable=True))
    op.add_column("tokens", sa.Column("environments", sa.Text(), server_default="[]", nullable=False))
    op.add_column("tokens", sa.Column("used_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_tokens_previous_hash", "tokens", ["previous_hash"], unique=True)
    op.create_table(
        "audit",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_action", "audit", ["action", "at"])
