"""The artifacts page of an execution: the files that its shards listed."""

from __future__ import annotations

from litestar import Response, get

from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.store import executions, page_queries
from pytest_tms.server.store.database import Database

SUBMISSIONS = 20
"""Submissions on one page."""
FILES = 200
"""Files shown on one page."""


@get("/artifacts/{execution_id:str}", sync_to_thread=True)
def artifacts(
    database: Database, page_session: PageSession, execution_id: str, after: str = ""
) -> Response[str]:
    """Return the artifacts page: file names by shard and kind. Files are not uploaded."""
    start = after if after.isascii() and after.isprintable() else ""
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        rows = page_queries.submissions(connection, execution_id, after=start, limit=SUBMISSIONS + 1)
    shown = []
    room = FILES
    for _, shard_id, kinds in rows[:SUBMISSIONS]:
        for kind in kinds:
            shown.append((shard_id, kind.kind, kind.names[:room], kind.total))
            room = max(0, room - len(kind.names))
    return page(
        page_session,
        "artifacts.html",
        tab="artifacts",
        execution=execution,
        kinds=shown,
        following=rows[SUBMISSIONS - 1][0] if len(rows) > SUBMISSIONS else None,
        first_page=not start,
    )
