"""Causes of failures, names by which tests are found, and the series of runs that are compared."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Apply it. Causes of failures that are stored are computed afterwards: see ``causes_migration``."""
    op.create_table(
        "failure_causes",
        sa.Column("execution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("exception", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("execution", "fingerprint", name=op.f("pk_failure_causes")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_failure_causes_largest", "failure_causes", ["execution", "failures", "fingerprint"])
    op.create_index("ix_failure_causes_history", "failure_causes", ["project_id", "fingerprint", "execution"])
    op.add_column("result_details", sa.Column("cause", sa.BigInteger()))
    op.add_column("result_details", sa.Column("failing_since", sa.BigInteger()))
    op.add_column("result_details", sa.Column("failing_runs", sa.Integer()))
    _partial(
        "ix_result_details_cause", "result_details", ["execution", "cause", "sequence"], "cause IS NOT NULL"
    )
    _partial(
        "ix_result_details_since",
        "result_details",
        ["execution", "failing_since", "sequence"],
        "failing_since IS NOT NULL",
    )
    op.drop_index("ix_results_status", "results")
    _partial(
        "ix_results_status",
        "results",
        ["execution", "status", "sequence", "is_superseded"],
        "status <> 0",
    )
    op.drop_index("ix_results_flaky", "results")
    _partial(
        "ix_results_flaky",
        "results",
        ["execution", "is_flaky", "sequence", "test_id", "is_superseded"],
        "is_flaky",
    )
    op.drop_index("ix_results_duration", "results")
    _partial("ix_results_duration", "results", ["execution", "duration", "sequence"], "duration >= 100")
    _partial(
        "ix_results_outcome",
        "results",
        ["execution", "outcome", "sequence", "is_superseded"],
        "outcome IS NOT NULL",
    )
    _extend_tests()
    op.add_column("executions", sa.Column("previous", sa.BigInteger()))
    _partial(
        "ix_executions_series",
        "executions",
        ["project_id", "test_suite", "environment", "branch", "number"],
        "results_stored > 0 AND deleted_at IS NULL",
    )
    _prepare_causes()


def _extend_tests() -> None:
    """Add the names of tests; until the next result of a test, it is found by its key, title and file."""
    for column in (
        sa.Column("node_id", sa.Text(), server_default="", nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("tags", sa.Text(), server_default="[]", nullable=False),
        sa.Column("search_text", sa.Text(), server_default="", nullable=False),
    ):
        op.add_column("tests", column)
    newline = "chr(10)" if op.get_bind().dialect.name == "postgresql" else "char(10)"
    op.execute(
        f"UPDATE tests SET search_text = lower(key || {newline} || substr(title, 1, 2000) || {newline} || file)"  # noqa: S608  # a constant
    )
    op.create_index("ix_tests_file", "tests", ["project_id", sa.text("substr(file, 1, 200)")])
    _partial("ix_tests_owner", "tests", ["project_id", "owner", "id"], "owner <> ''")


def _prepare_causes() -> None:
    """Store the position of the first failure without a cause, if there are failures."""
    if op.get_bind().scalar(sa.text("SELECT 1 FROM result_details LIMIT 1")) is None:
        return
    op.create_table(
        "causes_before_0016",
        sa.Column("execution", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
    )
    op.execute("INSERT INTO causes_before_0016 (execution, sequence) VALUES (-1, -1)")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
