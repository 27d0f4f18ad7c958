"""A text by which a server whose key differs from that of the others is noticed."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Apply it."""
    op.create_table("key_check", sa.Column("encrypted", sa.Text(), nullable=False))
