"""The events of a run, as its runners sent them."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from litestar import Response, get

from pytest_tms.server.domain.event_summaries import event_summary
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.run_links import run_path
from pytest_tms.server.pages.run_page import run_page
from pytest_tms.server.store import executions, page_queries
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.page_queries import ShownEvent

EVENTS = 100
"""Events on one page."""
MAX_SHOWN = 5000
"""Characters that the page shows of one event."""


class ReadableEvent(NamedTuple):
    """An event with its shard, what it says in words, and its document with indentation."""

    event: ShownEvent
    shard: str
    summary: str
    document: str


@get("/runs/{execution_id:str}/events", sync_to_thread=True)
def show_events(
    database: Database, page_session: PageSession, execution_id: str, after: str = "0"
) -> Response[str]:
    """Return the events of a run in the order of arrival."""
    start = int(after) if after.isdecimal() and len(after) < 19 else 0
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        rows = page_queries.events(connection, execution_id, after=start, limit=EVENTS + 1, length=MAX_SHOWN)
    return run_page(
        page_session,
        "events.html",
        execution,
        "events",
        events=[_readable(event) for event in rows[:EVENTS]],
        own=run_path(execution_id, "events"),
        following=rows[EVENTS - 1].id if len(rows) > EVENTS else None,
        is_first=start == 0,
    )


def _readable(event: ShownEvent) -> ReadableEvent:
    """Return an event as it is shown; of one that is too long, only the beginning of its document."""
    if event.length > MAX_SHOWN:
        more = f"\n… and {event.length - MAX_SHOWN:,} more characters"
        return ReadableEvent(event, "", f"{event.length:,} characters", event.text + more)
    data: Any = msgspec.json.decode(event.text).get("data") or {}
    return ReadableEvent(
        event, str(data.get("shardId") or ""), event_summary(data), msgspec.json.format(event.text, indent=2)
    )
