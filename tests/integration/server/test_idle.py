"""A server with nothing to do writes nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from pytest_tms.server.store.database import WRITES, Database
from tests.helpers.filled_databases import filled_database, serving

TICKS = 3
LOOKS = {
    "the timekeeper": "shards.silence_deadline_at <= ",
    "the webhook worker": "AND deliveries.due_at <= ",
}
"""What looks for work by the clock, by a part of the statement that each tick issues."""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with 200 webhooks that subscribe to everything, and an execution that is running."""
    with filled_database(request.param, tmp_path, 200, webhooks=200) as database:
        with database.write() as connection:
            connection.execute(text("UPDATE webhooks SET events = '[\"execution.progress\"]'"))
            connection.execute(text("UPDATE executions SET status = 'completed'"))
        yield database


@pytest.mark.slow
def test_an_idle_server_with_200_webhooks_writes_nothing(database: Database, tmp_path: Path) -> None:
    ticks: Counter[str] = Counter()
    locks: list[str] = []
    changed = threading.Condition()

    def note(connection: Any, _: object, statement: str, *__: object) -> None:
        for name, part in LOOKS.items():
            ticks[name] += part in statement
        writes = connection.get_execution_options().get(WRITES)
        if writes or " FOR " in statement or statement.startswith(("INSERT", "UPDATE", "DELETE")):
            locks.append(statement)
        with changed:
            changed.notify_all()

    event.listen(database.engine, "before_cursor_execute", note)
    with serving(database, tmp_path / "server", shard_silence=1):
        with changed:
            assert changed.wait_for(lambda: all(ticks[name] > 1 for name in LOOKS), 60)
        before = _state(database)  # with what the start writes
        locks.clear()
        ticks.clear()
        with changed:
            assert changed.wait_for(lambda: all(ticks[name] > TICKS for name in LOOKS), 120)
        assert locks == []
        assert _state(database) == before
    event.remove(database.engine, "before_cursor_execute", note)


def _state(database: Database) -> object:
    """What any write changes: SQLite's log, and PostgreSQL's rows with the transactions that touched them."""
    if database.engine.dialect.name == "sqlite":
        path = Path(f"{database.engine.url.database}-wal")
        return path.stat().st_size, path.stat().st_mtime_ns
    with database.read() as connection:
        return [
            sorted(connection.execute(text(f"SELECT ctid::text, xmin::text, xmax::text FROM {table}")).all())
            for table in ("webhooks", "executions", "shards", "deliveries")
        ]
