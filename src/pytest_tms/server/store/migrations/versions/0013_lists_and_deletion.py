"""One index for lists of executions, the mark of deleted ones, and leases of jobs."""

import sqlalchemy as sa
from alembic import op

from pytest_tms.server.domain.builds import search_text

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Apply it."""
    op.add_column("executions", sa.Column("deleted_at", sa.BigInteger()))
    op.add_column("executions", sa.Column("search_text", sa.Text(), server_default="", nullable=False))
    _fill_search_text()
    for name in ("project_id", "branch", "commit", "environment"):
        op.drop_index(f"ix_executions_{name}", "executions")
    op.create_index(
        "ix_executions_list",
        "executions",
        [
            "number",
            "deleted_at",
            "created_at",
            "project_id",
            "status",
            "test_suite",
            "environment",
            "provider",
            "branch",
            "commit",
            "author",
            "search_text",
        ],
    )
    where = sa.text("deleted_at IS NOT NULL")
    op.create_index("ix_executions_deleted", "executions", ["id"], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def _fill_search_text() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.text('SELECT id, branch, "commit", test_suite, author FROM executions'))
    texts = [{"row_id": row[0], "words": search_text(*row)} for row in rows]
    if texts:
        connection.execute(sa.text("UPDATE executions SET search_text = :words WHERE id = :row_id"), texts)
