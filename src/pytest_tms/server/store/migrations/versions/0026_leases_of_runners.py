"""Leases of runners."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0032"


def upgrade() -> None:
    """Apply it."""
    op.add_column(
        "queue_runners", sa.Column("lease", sa.BigInteger(), server_default="15000", nullable=False)
    )
