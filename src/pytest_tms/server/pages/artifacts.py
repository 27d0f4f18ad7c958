"""The artifacts page of an execution: the files that were uploaded, and those that its shards listed."""

from __future__ import annotations

from litestar import Response, get

from pytest_tms.server.domain.stored_files import IMAGES, SHA256
from pytest_tms.server.pages.files import file_url
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.store import artifacts, executions, page_queries
from pytest_tms.server.store.database import Database

SUBMISSIONS = 20
"""Submissions on one page."""
FILES = 200
"""Files shown on one page."""


@get("/runs/{execution_id:str}/files", sync_to_thread=True)
def show_artifacts(
    database: Database, page_session: PageSession, execution_id: str, after: str = "", file: str = ""
) -> Response[str]:
    """Return the artifacts page: uploaded files, then names by shard and kind.

    ``after`` is the cursor of the names, ``file`` that of the files.
    """
    start = after if after.isascii() and after.isprintable() else ""
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        rows = page_queries.submissions(connection, execution_id, after=start, limit=SUBMISSIONS + 1)
        uploaded = artifacts.page(
            connection, execution_id, after=file if SHA256.fullmatch(file) else "", limit=FILES + 1
        )
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
        files=[
            (file_url(execution_id, each.sha256, each.name), each, each.content_type in IMAGES)
            for each in uploaded[:FILES]
        ],
        following_file=uploaded[FILES - 1].sha256 if len(uploaded) > FILES else None,
        first_files=not file,
        following=rows[SUBMISSIONS - 1][0] if len(rows) > SUBMISSIONS else None,
        first_page=not start,
    )
