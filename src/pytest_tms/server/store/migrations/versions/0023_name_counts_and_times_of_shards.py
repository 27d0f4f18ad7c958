"""Names of columns of executions, shards, webhooks and results in standard terms."""

from alembic import op
from sqlalchemy import text

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Apply it."""
    op.alter_column("executions", "longest", new_column_name="max_shard_duration")
    op.alter_column("executions", "given", new_column_name="reported_counts")
    op.drop_index("ix_shards_silent", "shards")
    op.alter_column("shards", "silent_at", new_column_name="silence_deadline_at")
    op.alter_column("shards", "given", new_column_name="reported_counts")
    op.alter_column("shards", "done", new_column_name="tests_received")
    is_running = text("status = 'running'")
    op.create_index(
        "ix_shards_silence_deadline",
        "shards",
        ["silence_deadline_at"],
        sqlite_where=is_running,
        postgresql_where=is_running,
    )
    op.alter_column("submissions", "shown", new_column_name="files")
    op.alter_column("result_details", "shown", new_column_name="details")
    op.alter_column("webhooks", "resume_at", new_column_name="suspended_until")
