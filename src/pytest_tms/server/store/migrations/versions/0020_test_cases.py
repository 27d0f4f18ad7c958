"""Test cases, and the tests that carry their ids."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Apply it. A test that is stored gets its cases with its next result."""
    op.create_table(
        "test_cases",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("is_planned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_test_cases")),
        sa.UniqueConstraint("project_id", "case_id", name=op.f("uq_test_cases_project_id")),
    )
    op.create_index("ix_test_cases_list", "test_cases", ["project_id", "id"])
    op.create_table(
        "test_case_links",
        sa.Column("case_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("test_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("case_number", "test_id", name=op.f("pk_test_case_links")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_test_case_links_test_id", "test_case_links", ["test_id", "case_number"])
