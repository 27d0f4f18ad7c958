"""Compatibility of schemas."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
compatible_since = "0030"


def upgrade() -> None:
    """Apply it."""
    op.create_table("schema_compatibility", sa.Column("since", sa.String(length=32), nullable=False))
