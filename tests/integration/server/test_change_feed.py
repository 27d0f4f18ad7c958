"""The change feed of one process: what it costs with many open pages, and when it runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import event

from pytest_tms.server.services.change_feed import ChangeFeed
from pytest_tms.server.store import executions, versions
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.versions import Subject
from tests.helpers.api import upgraded_database, write_sqlite_database
from tests.helpers.filled_databases import EXECUTION, fill
from tests.helpers.stored_runs import StoredRuns


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with an execution."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/tms.sqlite3"
        if request.param == "postgresql":
            url = stack.enter_context(upgraded_database())
        else:
            write_sqlite_database(tmp_path)
        database = Database(url)
        stack.callback(database.close)
        fill(database, 20)
        yield database


def watching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tms-changes"]


def test_many_pages_cost_one_query_for_each_change(database: Database) -> None:
    read: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: read.append(given[2]))

    async def follow() -> None:
        feed = ChangeFeed(database)
        async with feed.running():
            with ExitStack() as stack:
                first = stack.enter_context(feed.subscription(Subject(EXECUTION), ""))
                assert await first.changed(30)
                pages = [
                    stack.enter_context(feed.subscription(Subject(EXECUTION), first.version))
                    for _ in range(1000)
                ]
                assert len(feed) == 1001
                read.clear()
                await asyncio.to_thread(change)
                assert all(await asyncio.gather(*(page.changed(30) for page in pages)))
                versions_read = [text for text in read if text.startswith("SELECT executions.id")]
                assert len(versions_read) <= 2  # the change, and a recheck if it is due

    def change() -> None:
        with database.write() as connection:
            versions.increase(connection, EXECUTION)

    asyncio.run(follow())
    assert not watching()


def test_all_of_the_executions_that_are_stored_together_are_notified_of(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_tms.server.store.change_notifications.RECHECK", 3600)
    runs = StoredRuns(database)
    ids = [runs.run({"a": "passed"}).id for _ in range(2)]
    with database.read() as connection:
        stored = [executions.get(connection, each) for each in ids]
        shown = versions.read(connection, [Subject(each) for each in ids])

    async def follow() -> None:
        feed = ChangeFeed(database)
        async with feed.running():
            with ExitStack() as stack:
                pages = [stack.enter_context(feed.subscription(*each)) for each in shown.items()]
                for _ in range(2):  # the first one may be found when the feed begins to listen
                    await asyncio.to_thread(change)
                    assert all(await asyncio.gather(*(page.changed(30) for page in pages)))

    def change() -> None:
        with database.write() as connection:
            executions.save_all(connection, [(each, True) for each in stored])

    asyncio.run(follow())


def test_a_feed_without_pages_ends_and_begins_again(database: Database) -> None:
    async def follow() -> None:
        feed = ChangeFeed(database)
        async with feed.running():
            assert not watching()
            for _ in range(3):
                with feed.subscription(Subject(), "") as page:
                    [thread] = watching()
                    assert await page.changed(30)
                    assert not await page.changed(0)
                await asyncio.to_thread(thread.join, 30)
                assert not watching()

    asyncio.run(follow())


def test_a_feed_goes_on_after_the_database_was_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def follow() -> None:
        feed = ChangeFeed(database)
        failures = iter([OSError("away"), None])
        read = feed._read

        def fail_once(changed: object) -> dict[Subject, str]:
            if error := next(failures, None):
                raise error
            return read(changed)  # type: ignore[arg-type]  # as it was given

        monkeypatch.setattr(feed, "_read", fail_once)
        monkeypatch.setattr("pytest_tms.server.services.change_feed.RETRY", 0.01)
        async with feed.running():
            with feed.subscription(Subject(EXECUTION), "") as page:
                assert await page.changed(30)

    asyncio.run(follow())
