"""Projects, their tests, and results in narrow rows with their documents apart.

Results of earlier versions stay in ``tests_before_0011`` until ``store.results_migration`` has moved them.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from pytest_tms.server.domain.builds import build_fields

revision = "0011"
down_revision = "0010"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply it."""
    _keep_earlier_results()
    op.create_table(
        "projects",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "tests",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("names_hash", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tests")),
        sa.UniqueConstraint("project_id", "key_hash", name=op.f("uq_tests_project_id")),
    )
    op.create_table(
        "results",
        sa.Column("execution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("test_id", sa.BigInteger(), nullable=False),
        sa.Column("shard_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("is_superseded", sa.Boolean(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("duration", sa.BigInteger(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("failed_before", sa.Boolean(), nullable=False),
        sa.Column("is_flaky", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("document", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("execution", "sequence", name=op.f("pk_results")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_results_test_id", "results", ["test_id", "execution", "shard_id", "attempt"], unique=True
    )
    _partial("ix_results_status", ["execution", "status", "sequence"], "status <> 0")
    _partial("ix_results_flaky", ["execution", "sequence"], "is_flaky")
    _partial("ix_results_duration", ["execution", "duration"], "duration >= 100")
    op.create_table(
        "result_details",
        sa.Column("execution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("shown", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("execution", "sequence", name=op.f("pk_result_details")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "result_documents",
        sa.Column("execution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("documents", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("execution", "first", name=op.f("pk_result_documents")),
        sqlite_with_rowid=False,
    )
    _extend_executions()


def _keep_earlier_results() -> None:
    """Rename the table of results; its indexes go, except the one by which it is read."""
    for name in ("ix_tests_page", "ix_tests_status", "ix_tests_slowest"):
        op.drop_index(name, "tests")
    op.rename_table("tests", "tests_before_0011")
    if op.get_bind().dialect.name == "postgresql":  # names of constraints are those of the schema there
        for name in ("pk_tests", "uq_tests_execution_id", "fk_tests_execution_id"):
            op.execute(f"ALTER TABLE tests_before_0011 RENAME CONSTRAINT {name} TO {name}_before_0011")


def _extend_executions() -> None:
    connection = op.get_bind()
    for column in (
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("project_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("branch", sa.Text(), server_default="", nullable=False),
        sa.Column("commit", sa.Text(), server_default="", nullable=False),
        sa.Column("author", sa.Text(), server_default="", nullable=False),
        sa.Column("results_stored", sa.BigInteger(), server_default="0", nullable=False),
    ):
        op.add_column("executions", column)
    projects: dict[str, int] = {}
    changes: list[dict[str, Any]] = []
    rows = connection.execute(sa.text("SELECT id, metadata, created_at FROM executions ORDER BY id"))
    for number, row in enumerate(rows, 1):
        fields = build_fields(json.loads(row.metadata))
        if fields.project not in projects:
            projects[fields.project] = len(projects) + 1
            connection.execute(
                sa.text("INSERT INTO projects (name, created_at) VALUES (:name, :at)"),
                {"name": fields.project, "at": row.created_at},
            )
        changes.append({"row_id": row.id, "number": number, **fields._asdict()})
    found = connection.execute(sa.text("SELECT name, id FROM projects"))
    ids = {row.name: row.id for row in found}
    if changes:
        connection.execute(
            sa.text(
                "UPDATE executions SET number = :number, project_id = :project_id, branch = :branch, "
                '"commit" = :commit, author = :author WHERE id = :row_id'
            ),
            [{**change, "project_id": ids[change["project"]]} for change in changes],
        )
    if connection.dialect.name == "postgresql":
        op.execute(f"CREATE SEQUENCE execution_numbers START {len(changes) + 1}")
    op.create_index("ix_executions_number", "executions", ["number"], unique=True)
    op.create_index("ix_executions_project_id", "executions", ["project_id", "id"])
    op.create_index("ix_executions_branch", "executions", ["branch", "id"])
    op.create_index("ix_executions_commit", "executions", ["commit", "id"])


def _partial(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "results", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
