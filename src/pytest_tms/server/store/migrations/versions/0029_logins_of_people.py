"""Logins of people."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0026"


def upgrade() -> None:
    """Apply it."""
    op.add_column("sessions", sa.Column("issuer", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("user_id", sa.String(64), nullable=True))
    op.add_column("sessions", sa.Column("user_name", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("role", sa.String(16), nullable=True))
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
