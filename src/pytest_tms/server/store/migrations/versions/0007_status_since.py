"""Since when a webhook is paused or disabled."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply it."""
    op.add_column("webhooks", sa.Column("status_since", sa.BigInteger()))
