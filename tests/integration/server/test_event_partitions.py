"""Partitions of events on PostgreSQL: an existing table, growth, and retention as a drop."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.domain.ids import first_id
from pytest_tms.server.domain.retention import Retention
from pytest_tms.server.services import partitions as service
from pytest_tms.server.services.deletion import delete_marked
from pytest_tms.server.services.retention import prune
from pytest_tms.server.store import copies, deletion, event_partitions, executions, page_queries, reencryption
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.event_partitions import CHECK, DEFAULT, FIRST, TABLE
from tests.helpers.api import upgraded_database
from tests.helpers.bare_executions import add_execution

ADMIN = Actor(id="command", name="tests")


@pytest.fixture
def database(postgresql_database: Database) -> Database:
    return postgresql_database


def unpartitioned(database: Database) -> None:
    """Give the database the table of earlier versions, with its rows."""
    with database.write() as connection:
        for statement in (
            f"CREATE TABLE before (LIKE {TABLE} INCLUDING DEFAULTS)",
            f"INSERT INTO before SELECT * FROM {TABLE}",
            f"ALTER SEQUENCE {TABLE}_id_seq OWNED BY before.id",
            f"DROP TABLE {TABLE}",
            f"ALTER TABLE before RENAME TO {TABLE}",
            f"ALTER TABLE {TABLE} ADD CONSTRAINT pk_{TABLE} PRIMARY KEY (id)",
            f"ALTER TABLE {TABLE} ADD CONSTRAINT fk_{TABLE}_execution_id FOREIGN KEY (execution_id) "
            "REFERENCES executions (id) ON DELETE CASCADE",
            f"CREATE INDEX ix_{TABLE}_execution_id ON {TABLE} (execution_id, id)",
        ):
            connection.execute(text(statement))


def add(database: Database, number: int, age: int = 0, *, received: int | None = None) -> str:
    """Add an execution that was created ``age`` milliseconds ago with an event, and return its id."""
    now = clock.now()
    execution_id = first_id("exec", now - age)[:-4] + f"{number:04}"
    with database.write() as connection:
        add_execution(connection, execution_id, number, age)
        at = now - age if received is None else now - received
        executions.add_event(connection, execution_id, "execution.started", f'{{"n": {number}}}', at)
    return execution_id


def split(database: Database, age: int) -> None:
    """End the first partition ``age`` milliseconds ago, and add one for what follows. There are no rows yet."""
    bound = first_id("exec", clock.now() - age)
    with database.write() as connection:
        for statement in (
            f"ALTER TABLE {TABLE} DETACH PARTITION {FIRST}",
            f"ALTER TABLE {TABLE} ATTACH PARTITION {FIRST} FOR VALUES FROM (MINVALUE) TO ('{bound}')",
        ):
            connection.execute(text(statement))
    service.add_partitions(database)


def place(database: Database, execution_id: str) -> str:
    """The partition that has the events of an execution."""
    with database.read() as connection:
        query = text(f"SELECT tableoid::regclass::text FROM {TABLE} WHERE execution_id = :id LIMIT 1")
        return str(connection.scalar(query, {"id": execution_id}))


def relations(database: Database) -> set[str]:
    """The tables of events that exist."""
    query = text("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relname LIKE 'events%'")
    with database.read() as connection:
        return set(connection.scalars(query))


def events(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(text(f"SELECT execution_id FROM {TABLE} ORDER BY id")))


def test_an_existing_table_becomes_the_first_partition(database: Database, tmp_path: Path) -> None:
    ids = [add(database, number, age=number * DAY) for number in (1, 2, 3)]
    unpartitioned(database)
    with database.read() as connection:
        assert event_partitions.is_pending(connection)
        oid = connection.scalar(text(f"SELECT '{TABLE}'::regclass::oid"))
    database.upgrade(tmp_path)
    with database.read() as connection:
        assert not event_partitions.is_pending(connection)
        assert connection.scalar(text(f"SELECT '{FIRST}'::regclass::oid")) == oid  # it was not rewritten
        shown = page_queries.events(connection, ids[0], after=0, limit=10, length=100)
        assert [each.event for each in shown] == ["execution.started"]
        checks = select(func.count()).select_from(text("pg_constraint")).where(text(f"conname = '{CHECK}'"))
        assert connection.scalar(checks) == 0
    assert events(database) == ids
    assert {place(database, each) for each in ids} == {FIRST}


def test_the_statement_of_an_earlier_version_stores_events(database: Database) -> None:
    execution_id = add(database, 1)
    with database.write() as connection:
        statement = (
            f"INSERT INTO {TABLE} (execution_id, event, received_at, document) "
            "VALUES (:id, 'test.result', 1, '{}') RETURNING id"
        )
        assert connection.scalar(text(statement), {"id": execution_id}) == 2


def test_an_interrupted_upgrade_continues(database: Database, tmp_path: Path) -> None:
    unpartitioned(database)
    for _ in range(2):  # the constraint, and its validation
        with database.write() as connection:
            event_partitions.move(connection)
            assert event_partitions.is_pending(connection)
    execution_id = add(database, 5)  # by another server, between the steps
    database.upgrade(tmp_path)
    assert place(database, execution_id) == FIRST


def test_partitions_are_added_ahead_and_nothing_is_refused(database: Database) -> None:
    far = add(database, 1, age=-10 * DAY)  # the job was late
    assert place(database, far) == DEFAULT
    [name] = [each for each in service.add_partitions(database) if each.startswith(TABLE)]
    assert [each for each in service.add_partitions(database) if each.startswith(TABLE)] == []
    assert place(database, far) == DEFAULT
    assert place(database, add(database, 2, age=-11 * DAY)) == name
    assert place(database, add(database, 3)) == FIRST


def test_deletion_drops_a_partition_of_which_no_execution_is_left(database: Database) -> None:
    split(database, 30 * DAY)
    first, second = add(database, 1, age=60 * DAY), add(database, 2, age=50 * DAY)
    deleted, kept = add(database, 3, age=2 * DAY), add(database, 4)
    with database.write() as connection:
        deletion.mark(connection, [first], 1)
    assert service.drop_deleted(database) == 0  # the partition has another execution
    with database.write() as connection:
        deletion.mark(connection, [second, deleted], 1)
    with database.read() as reading:
        reading.execute(text("SELECT id FROM executions")).all()  # a drop does not wait for it
        assert service.drop_deleted(database) == 1
    assert FIRST not in relations(database)
    assert delete_marked(database, lambda _: False) == 3
    assert events(database) == [kept]
    later = add(database, 5)
    assert events(database) == [kept, later]  # whose sequence was not dropped


def test_retention_of_events_drops_a_partition_of_old_ones(database: Database) -> None:
    split(database, 30 * DAY)
    add(database, 1, age=60 * DAY)
    add(database, 2, age=50 * DAY)
    add(database, 3, age=20 * DAY)
    kept = add(database, 4)
    found = prune(database, ADMIN, Retention(events=10 * DAY), lambda _: False)
    assert found.events == 3
    assert FIRST not in relations(database)
    assert events(database) == [kept]


def test_a_partition_with_a_later_event_is_kept(database: Database) -> None:
    split(database, 30 * DAY)
    add(database, 1, age=60 * DAY)
    kept = add(database, 2, age=50 * DAY, received=DAY)
    before = clock.now() - 10 * DAY
    assert service.drop_expired_events(database, before) == 0
    with database.read() as connection:
        [partition, *_] = event_partitions.partitions(connection)
    with database.write() as connection:
        assert not event_partitions.drop_expired(connection, partition, before)
    assert prune(database, ADMIN, Retention(events=10 * DAY), lambda _: False).events == 1
    assert FIRST in relations(database)
    assert events(database) == [kept]


def test_the_events_of_one_execution_are_read_by_the_index_of_one_partition(database: Database) -> None:
    [name] = [each for each in service.add_partitions(database) if each.startswith(TABLE)]
    execution_id = add(database, 1, age=-5 * DAY)
    with database.read() as connection:
        for other in ("seqscan", "bitmapscan", "sort"):  # cheaper while there are few rows
            connection.exec_driver_sql(f"SET LOCAL enable_{other} = off")
        statement = f"EXPLAIN SELECT id FROM {TABLE} WHERE execution_id = %s AND id > 0 ORDER BY id LIMIT 10"
        one = "\n".join(row[0] for row in connection.exec_driver_sql(statement, (execution_id,)))
        statement = f"EXPLAIN SELECT id FROM {TABLE} WHERE id > 0 ORDER BY id LIMIT 200"
        every = "\n".join(row[0] for row in connection.exec_driver_sql(statement))
    assert f"{name}_execution_id_id_idx" in one
    assert FIRST not in one
    assert DEFAULT not in one
    assert "Merge Append" in every


def test_a_database_with_partitions_is_copied(database: Database, tmp_path: Path) -> None:
    split(database, 30 * DAY)
    ids = [add(database, 1, age=60 * DAY), add(database, 2)]
    sqlite = Database(f"sqlite:///{tmp_path}/tms.sqlite3")
    sqlite.upgrade(tmp_path)
    copies.copy(database, sqlite, lambda *_: None)
    assert events(sqlite) == ids
    with upgraded_database() as url:
        target = Database(url)
        copies.copy(sqlite, target, lambda *_: None)
        later = add(target, 3)
        assert events(target) == [*ids, later]
        target.close()
    sqlite.close()


def test_rows_of_all_partitions_are_found_for_encryption(database: Database) -> None:
    split(database, 30 * DAY)
    for number, age in ((1, 0), (2, 60 * DAY), (3, 1)):
        add(database, number, age=age)
    with database.write() as connection:
        assert reencryption.find(connection, TABLE, "key", (), 10).rows == [(1,), (2,), (3,)]
        assert reencryption.find(connection, TABLE, "key", (1,), 10).rows == [(2,), (3,)]
        assert reencryption.rewrite(connection, TABLE, [(2,)]) == 1
