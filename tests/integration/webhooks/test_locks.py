"""PostgreSQL: deleting a webhook, writing its events and recording its deliveries lock in one order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from pytest_tms import wire
from pytest_tms.server.domain.delivery_policy import Decision, Subscription
from pytest_tms.server.store import deliveries, tables, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.deliveries import NewDelivery, Outcome
from tests.helpers.api import upgraded_database
from tests.helpers.processes import wait_for

ROW = NewDelivery("msg_1", "wh_1", "exec_1", "execution.started", "{}", "pending", 1, 1)
OUTCOME = Outcome("wh_1", "exec_1", 1, 1, Decision(status="failed", due_at=2), 500, "it responded with 500")


@pytest.fixture
def database() -> Iterator[Database]:
    """A database with one execution and one webhook that subscribes to its start."""
    with upgraded_database() as url:
        database = Database(url)
        execution = {
            column.name: {"id": "exec_1", "status": "running"}.get(
                column.name, _filler(column.type.python_type)
            )
            for column in tables.executions.columns
            if not column.nullable and column.server_default is None
        }
        webhook = Subscription(
            id="wh_1",
            url="https://example.com/",
            events=("execution.started",),
            secret="",
            retry=wire.RetryPolicy(),
            filters=wire.WebhookFilters(),
            extra={},
            created_at=1,
        )
        with database.write() as connection:
            connection.execute(insert(tables.executions).values(**execution))
            webhooks.add(connection, webhook)
        yield database
        database.close()


@pytest.fixture
def aside(database: Database) -> Iterator[Callable[[Callable[[Connection], Any]], Future[None]]]:
    """Return a function that runs a transaction in a thread, and returns once it has ended or waits for a lock."""

    def write(work: Callable[[Connection], Any]) -> None:
        with database.write() as connection:
            work(connection)

    def waiting() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        with database.read() as connection:
            return connection.scalar(text(query)) or 0

    with ThreadPoolExecutor() as threads:

        def start(work: Callable[[Connection], Any]) -> Future[None]:
            before = waiting()
            future = threads.submit(write, work)
            wait_for(lambda: future.done() or waiting() > before)
            return future

        yield start


def test_a_webhook_is_deleted_while_its_deliveries_are_recorded(database: Database, aside: Any) -> None:
    def record(connection: Connection) -> None:
        deliveries.record(connection, "me", [OUTCOME], 2)

    with database.write() as connection:
        deliveries.enqueue(connection, [ROW])
    with database.write() as connection:
        webhooks.lock(connection, "wh_1")
        removing = aside(lambda other: webhooks.remove(other, "wh_1"))
        recording = aside(record)
        assert not removing.done()
    assert removing.result(timeout=20) is None
    assert recording.result(timeout=20) is None


def test_a_subscribed_webhook_is_deleted_after_the_transaction_that_writes_its_event(
    database: Database, aside: Any
) -> None:
    with database.write() as connection:
        assert [each.id for each in webhooks.lock_enabled(connection)] == ["wh_1"]
        removing = aside(lambda other: webhooks.remove(other, "wh_1"))
        deliveries.enqueue(connection, [ROW])
    assert removing.result(timeout=20) is None
    with database.read() as connection:
        assert webhooks.every(connection) == []


def test_a_webhook_is_claimed_while_a_transaction_writes_its_event(database: Database, aside: Any) -> None:
    with database.write() as connection:
        deliveries.enqueue(connection, [ROW])
    with database.write() as connection:
        webhooks.lock_enabled(connection)
        assert aside(lambda other: webhooks.take_leases(other, "me", 2, 10)).done()
    with database.read() as connection:
        assert [webhook.id for webhook in webhooks.leased(connection, "me", 3)] == ["wh_1"]


def _filler(kind: type) -> Any:
    return "{}" if kind is str else kind()
