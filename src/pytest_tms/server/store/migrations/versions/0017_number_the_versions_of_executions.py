"""Versions of executions, by which open pages notice changes."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Apply it."""
    op.add_column("executions", sa.Column("version", sa.BigInteger(), server_default="0", nullable=False))
