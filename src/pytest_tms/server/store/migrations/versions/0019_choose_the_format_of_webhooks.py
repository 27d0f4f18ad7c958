"""Choose the format of webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Apply it."""
    op.add_column(
        "webhooks", sa.Column("format", sa.String(length=16), server_default="json", nullable=False)
    )
