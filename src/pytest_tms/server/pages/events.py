"""The log page of an execution: the events that its runners sent."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get

from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.store import executions, page_queries
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.page_queries import ShownEvent

EVENTS = 100
"""Events on one page."""
MAX_SHOWN = 5000
"""Characters that the page shows of one event."""


@get("/runs/{execution_id:str}/events", sync_to_thread=True)
def logs(database: Database, page_session: PageSession, execution_id: str, after: str = "0") -> Response[str]:
    """Return the log page, the events in the order of arrival."""
    start = int(after) if after.isdecimal() and len(after) < 19 else 0
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        rows = page_queries.events(connection, execution_id, after=start, limit=EVENTS + 1, length=MAX_SHOWN)
    return page(
        page_session,
        "logs.html",
        tab="logs",
        execution=execution,
        events=[(event, *_read(event)) for event in rows[:EVENTS]],
        following=rows[EVENTS - 1].id if len(rows) > EVENTS else None,
        first_page=start == 0,
    )


def _read(event: ShownEvent) -> tuple[Any, str]:
    """Return the shard of an event and its indented document; a document that is too long is not indented."""
    if event.length > MAX_SHOWN:
        return "", f"{event.text}\n… and {event.length - MAX_SHOWN:,} more characters"
    data = msgspec.json.decode(event.text).get("data") or {}
    return data.get("shardId") or "", msgspec.json.format(event.text, indent=2)
