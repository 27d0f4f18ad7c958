"""Notifications of changes of executions by any process: LISTEN on PostgreSQL, a counter on SQLite."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_tms.server.store.database import Database
from pytest_tms.server.store.versions import CHANNEL

POLL = 0.1
"""Seconds between two looks at SQLite's counter."""
WAIT = 0.5
"""Seconds for which a wait for a notification of PostgreSQL takes at most."""
RECHECK = 5.0
"""Seconds after which any execution may have changed without a notification.

A connection pooler such as PgBouncer in transaction mode delivers none.
"""

Wait = Callable[[], Collection[str] | None]
"""Waits, and returns the ids of executions that have changed; None if any may have changed."""


@contextmanager
def listening(database: Database) -> Iterator[Wait]:
    """Open a connection of its own for notifications; changes after that are not missed."""
    connection = database.engine.raw_connection()
    driver: Any = connection.driver_connection
    connection.detach()  # not one of the pool, which requests wait for
    try:
        yield _sqlite(driver) if database.is_sqlite else _postgresql(driver)
    finally:
        driver.close()


def _postgresql(driver: Any) -> Wait:
    driver.rollback()
    driver.autocommit = True
    driver.execute(f"LISTEN {CHANNEL}")
    checked = time.monotonic()

    def wait() -> Collection[str] | None:
        nonlocal checked
        changed = {each.payload for each in driver.notifies(timeout=WAIT, stop_after=1)}
        if time.monotonic() - checked < RECHECK:
            return changed
        checked = time.monotonic()
        return None

    return wait


def _sqlite(driver: Any) -> Wait:
    def counter() -> int:
        """Return a number that changes when another connection, of any process, commits a change."""
        [value] = driver.execute("PRAGMA data_version").fetchone()
        return int(value)

    known = counter()

    def wait() -> Collection[str] | None:
        nonlocal known
        time.sleep(POLL)
        before, known = known, counter()
        return () if known == before else None

    return wait
