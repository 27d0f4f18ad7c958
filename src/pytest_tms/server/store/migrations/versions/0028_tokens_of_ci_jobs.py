"""Tokens of CI jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0025"


def upgrade() -> None:
    """Apply it."""
    op.add_column("tokens", sa.Column("job_until", sa.BigInteger(), nullable=True))
    for name, column, condition in (
        ("ix_tokens_of_jobs", "job_until", "job_until IS NOT NULL"),
        ("ix_tokens_of_operators", "id", "job_until IS NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, "tokens", [column], sqlite_where=where, postgresql_where=where)
