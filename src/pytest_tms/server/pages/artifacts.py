"""The artifacts of an execution: the files that its shards named."""

from __future__ import annotations

from litestar import Response, get

from pytest_tms.errors import NotFound
from pytest_tms.server.pages.templates import page
from pytest_tms.server.store import executions, reports
from pytest_tms.server.store.database import Database

SUBMISSIONS = 100
"""Submissions on one page."""
FILES = 200
"""Files shown of one submission's kind."""


@get("/artifacts/{execution_id:str}", sync_to_thread=True)
def artifacts(database: Database, execution_id: str, after: str = "") -> Response[str]:
    """The artifacts page: names by shard and kind. Files are not uploaded yet."""
    try:
        with database.read() as connection:
            execution = executions.get(connection, execution_id)
            rows = reports.submissions(connection, execution_id, after=after, limit=SUBMISSIONS + 1)
    except NotFound as error:
        return page("missing.html", 404, message=error.message)
    shown = []
    for _, shard_id, document in rows[:SUBMISSIONS]:
        for kind, files in (document.get("artifacts") or {}).items():
            if isinstance(files, list) and files:
                shown.append((shard_id, kind, [str(file) for file in files[:FILES]], len(files)))
    return page(
        "artifacts.html",
        tab="artifacts",
        execution=execution,
        kinds=shown,
        following=rows[SUBMISSIONS - 1][0] if len(rows) > SUBMISSIONS else None,
    )
