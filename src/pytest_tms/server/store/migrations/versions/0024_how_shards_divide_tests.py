"""How shards divide tests."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Apply it."""
    op.add_column("shards", sa.Column("division", sa.Text(), nullable=True))
