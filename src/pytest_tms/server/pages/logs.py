"""The log of an execution: every event that its runner reported."""

from __future__ import annotations

import msgspec
from litestar import Response, get

from pytest_tms.server.pages.templates import page
from pytest_tms.server.pages.visitor import Visitor
from pytest_tms.server.store import executions, reports
from pytest_tms.server.store.database import Database

EVENTS = 200
"""Events on one page."""


@get("/logs/{execution_id:str}", sync_to_thread=True)
def logs(database: Database, visitor: Visitor, execution_id: str, after: str = "0") -> Response[str]:
    """The log page, in the order of arrival."""
    start = int(after) if after.isdecimal() and len(after) < 19 else 0
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        rows = reports.events(connection, execution_id, after=start, limit=EVENTS + 1)
    shown = []
    for _, received_at, document in rows[:EVENTS]:
        event = msgspec.json.decode(document)
        data = event.get("data") or {}
        shown.append(
            (received_at, event.get("event"), data.get("shardId"), msgspec.json.format(document, indent=2))
        )
    return page(
        visitor,
        "logs.html",
        tab="logs",
        execution=execution,
        events=shown,
        following=rows[EVENTS - 1][0] if len(rows) > EVENTS else None,
    )
