"""Names of columns of shards, and of the table of responses under an Idempotency-Key, in standard terms."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Apply it."""
    op.alter_column("shards", "heard_at", new_column_name="last_reported_at")
    op.alter_column("shards", "spent", new_column_name="tests_duration")
    op.alter_column("shards", "declared", new_column_name="ci_attempt")
    # Copied, because SQLite cannot rename a primary key. Its rows are those of one day.
    op.create_table(
        "idempotent_responses",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.String(32), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", "key", name=op.f("pk_idempotent_responses")),
    )
    op.execute(
        "INSERT INTO idempotent_responses (token_hash, key, request_hash, response, created_at) "
        "SELECT owner, key, request, answer, created_at FROM answers"
    )
    op.drop_table("answers")
    op.create_index("ix_idempotent_responses_created_at", "idempotent_responses", ["created_at"])
