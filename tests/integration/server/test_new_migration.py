"""`make migration` writes the revision that a change of the tables needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.api import scratch_database

PROJECT = Path(__file__).parents[3]

CHANGE = """
executions.append_column(Column("owner", Text, nullable=True))
executions.append_column(Column("archived", Boolean, nullable=False, server_default=false()))
executions.append_constraint(_partial("ix_executions_archived", "owner", where="archived"))
Table("teams", metadata, Column("id", RowId, primary_key=True, autoincrement=True))
"""

UPGRADE = """
import sys
from pathlib import Path
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pytest_tms.server.store import tables
from pytest_tms.server.store.database import Database
database = Database(sys.argv[1])
database.upgrade(Path(sys.argv[2]))
with database.read() as connection:
    names = {"include_name": lambda name, *_: not str(name).startswith(("result_documents_", "events_"))}
    context = MigrationContext.configure(connection, opts=names)  # without the partitions of PostgreSQL
    found = compare_metadata(context, tables.metadata)
print([each for each in found if getattr(each[1], "name", "") != "ix_executions_running"])
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the source whose tables have changed since the last revision."""
    copy = tmp_path / "src"
    shutil.copytree(PROJECT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    tables = copy / "pytest_tms" / "server" / "store" / "tables.py"
    tables.write_text(tables.read_text() + CHANGE)
    return copy


def run(source: Path, *arguments: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(source), "PYTHONWARNINGS": "ignore"}
    completed = subprocess.run(
        [sys.executable, *arguments], env=environ, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.mark.slow
def test_a_changed_table_becomes_the_next_revision_on_each_database(source: Path, tmp_path: Path) -> None:
    versions = source / "pytest_tms" / "server" / "store" / "migrations" / "versions"
    before = {path.name for path in versions.iterdir()}
    run(source, str(PROJECT / "tools" / "new_migration.py"), "add the owner of an execution.")
    (added,) = {path.name for path in versions.iterdir()} - before - {"__pycache__"}
    number = max(int(name[:4]) for name in before) + 1
    assert added == f"{number:04d}_add_the_owner_of_an_execution.py"
    assert (versions / added).read_text().startswith('"""Add the owner of an execution."""')
    assert run(source, "-c", UPGRADE, f"sqlite:///{tmp_path}/tms.sqlite3", str(tmp_path)) == "[]\n"
    with scratch_database() as url:
        assert run(source, "-c", UPGRADE, url, str(tmp_path)) == "[]\n"


def test_a_revision_without_a_message_is_refused() -> None:
    completed = subprocess.run(
        [sys.executable, str(PROJECT / "tools" / "new_migration.py"), " "],
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 2
    assert 'make migration m="' in completed.stderr
