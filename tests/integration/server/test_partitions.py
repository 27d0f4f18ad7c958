"""Partitions of the documents of results on PostgreSQL: an existing table, growth, and retention as a drop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.services import partitions as service
from pytest_tms.server.services.deletion import delete_marked
from pytest_tms.server.store import deletion, partitions, result_documents, tables
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.partitions import DEFAULT, FIRST, MARGIN, SMALLEST, TABLE
from tests.helpers.bare_executions import add_execution
from tests.helpers.stored_runs import StoredRuns


@pytest.fixture
def database(postgresql_database: Database) -> Database:
    return postgresql_database


def unpartitioned(database: Database) -> None:
    """Give the database the table of earlier versions, with its rows."""
    with database.write() as connection:
        for statement in (
            f"CREATE TABLE before (LIKE {TABLE} INCLUDING DEFAULTS)",
            f"INSERT INTO before SELECT * FROM {TABLE}",
            f"DROP TABLE {TABLE}",
            f"ALTER TABLE before RENAME TO {TABLE}",
            f"ALTER TABLE {TABLE} ADD CONSTRAINT pk_{TABLE} PRIMARY KEY (execution, first)",
        ):
            connection.execute(text(statement))


def add(database: Database, number: int, age: int = 0, **values: Any) -> None:
    """Add an execution with one document."""
    with database.write() as connection:
        add_execution(connection, f"exec_{number:09}", number, age, **values)
        rows, _ = result_documents.rows_of(connection, number, 1, ['{"title": "t"}'])
        result_documents.insert(connection, rows)


def place(database: Database, number: int) -> str:
    """The partition that has the document of an execution."""
    with database.read() as connection:
        query = text(f"SELECT tableoid::regclass::text FROM {TABLE} WHERE execution = {number}")
        return str(connection.scalar(query))


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return [each.name for each in partitions.partitions(connection)]


def test_an_existing_table_becomes_the_first_partition(database: Database, tmp_path: Path) -> None:
    StoredRuns(database).run({"a": "failed: no", "b": "passed"})
    unpartitioned(database)
    with database.read() as connection:
        assert partitions.is_pending(connection)
        oid = connection.scalar(text(f"SELECT '{TABLE}'::regclass::oid"))
    database.upgrade(tmp_path)
    with database.read() as connection:
        assert not partitions.is_pending(connection)
        assert connection.scalar(text(f"SELECT '{FIRST}'::regclass::oid")) == oid  # it was not rewritten
        assert partitions.partitions(connection) == [(FIRST, 0, 1 + MARGIN)]
        assert len(result_documents.get(connection, 1, {1: 1, 2: 1})) == 2
    assert place(database, 1) == FIRST


def test_an_interrupted_upgrade_continues(database: Database, tmp_path: Path) -> None:
    unpartitioned(database)
    for _ in range(2):  # the constraint, and its validation
        with database.write() as connection:
            partitions.move(connection)
            assert partitions.is_pending(connection)
    add(database, 5)  # by another server, between the steps
    database.upgrade(tmp_path)
    assert place(database, 5) == FIRST


def added_documents(database: Database) -> list[str]:
    """Add the partitions that will be needed, and return those of documents."""
    return [each for each in service.add_partitions(database) if each.startswith(TABLE)]


def test_partitions_are_added_ahead_and_nothing_is_refused(database: Database) -> None:
    add(database, 1, age=7 * DAY)
    added = added_documents(database)
    assert added == [f"{TABLE}_{MARGIN}"]
    add(database, MARGIN - 10)
    assert added_documents(database) == []
    add(database, MARGIN + 5)
    assert place(database, MARGIN + 5) == added[0]
    far = MARGIN + 10 * SMALLEST
    add(database, far)  # the job was late
    assert place(database, far) == DEFAULT
    added = added_documents(database)
    with database.read() as connection:
        assert partitions.partitions(connection)[-1].first == far + 1
        assert result_documents.get(connection, far, {1: 1})
    assert len(added) >= 1
    assert added_documents(database) == []


def test_retention_drops_a_partition_of_which_no_execution_is_left(database: Database) -> None:
    add(database, 1, age=60 * DAY)
    add(database, MARGIN - 1, age=50 * DAY)
    service.add_partitions(database)
    add(database, MARGIN + 1)
    add(database, MARGIN + 2)
    with database.write() as connection:
        deletion.mark(connection, ["exec_000000001"], 1)
    assert service.drop_deleted(database) == 0  # the partition has another execution
    with database.write() as connection:
        deletion.mark(connection, [f"exec_{MARGIN - 1:09}", f"exec_{MARGIN + 1:09}"], 1)
    assert delete_marked(database, lambda _: False) == 3
    assert FIRST not in names(database)
    with database.read() as connection:
        left = connection.scalars(select(tables.executions.c.number)).all()
        assert left == [MARGIN + 2]
        assert connection.scalars(select(tables.result_documents.c.execution)).all() == [MARGIN + 2]


def test_a_partition_in_use_is_left_to_the_deletion_of_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "50ms")
    add(database, 1, age=60 * DAY)
    service.add_partitions(database)
    add(database, MARGIN + 1)
    with database.write() as connection:
        deletion.mark(connection, ["exec_000000001"], 1)
    with database.read() as reading:
        reading.execute(select(func.count()).select_from(tables.result_documents))
        assert service.drop_deleted(database) == 0
        with pytest.raises(ServiceUnavailable), database.write() as connection:
            partitions.drop(connection, partitions.partitions(connection)[0])
        assert delete_marked(database, lambda _: False) == 1
    assert names(database)[0] == FIRST


def test_a_copy_finds_a_partition_for_all_executions(database: Database) -> None:
    with database.write() as connection:
        partitions.cover(connection, MARGIN - 1)
        partitions.cover(connection, 50 * MARGIN)
    add(database, 50 * MARGIN)
    assert place(database, 50 * MARGIN) == f"{TABLE}_{MARGIN}"


def test_the_queries_of_one_execution_read_one_partition(database: Database) -> None:
    add(database, 1)
    [name] = added_documents(database)
    with database.read() as connection:
        statement = f"EXPLAIN SELECT first, documents FROM {TABLE} WHERE execution = %s AND first = ANY(%s)"
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(statement, (MARGIN + 3, [1, 2])))
    assert name in plan
    assert FIRST not in plan
    assert DEFAULT not in plan


def test_sqlite_has_no_partitions(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/tms.sqlite3")
    database.upgrade(tmp_path)
    with database.read() as connection:
        assert not partitions.is_pending(connection)
    assert service.add_partitions(database) == []
    assert service.drop_deleted(database) == 0
    database.close()
