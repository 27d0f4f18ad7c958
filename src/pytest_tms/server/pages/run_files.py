"""The files of a run: those that were uploaded, with their tests, and those that its shards listed."""

from __future__ import annotations

from typing import NamedTuple

from litestar import Response, get

from pytest_tms.server.domain.stored_files import IMAGES, SHA256, StoredFile
from pytest_tms.server.domain.verdicts import verdict
from pytest_tms.server.pages.files import file_url
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.run_facts import crumbs
from pytest_tms.server.pages.run_links import run_path, test_path
from pytest_tms.server.pages.templates import page
from pytest_tms.server.store import artifacts, executions, page_queries, run_summaries
from pytest_tms.server.store.database import Database

SUBMISSIONS = 20
"""Submissions on one page."""
FILES = 60
"""Uploaded files on one page."""
NAMES = 200
"""Names of files that were not uploaded, on one page."""
KINDS = {"image": "Images", "video": "Videos", "text": "Text", "other": "Other files"}
"""Kinds of files by which the page is filtered, and what they are called."""
MAX_FILTER = 200
"""Characters of a filter that are used."""


class ShownFile(NamedTuple):
    """An uploaded file; ``test`` and ``path`` are the failed test that has it, empty if it is not known."""

    file: StoredFile
    url: str
    is_image: bool
    test: str
    path: str


@get("/runs/{execution_id:str}/files", sync_to_thread=True)
def show_files(
    database: Database,
    page_session: PageSession,
    execution_id: str,
    q: str = "",
    kind: str = "",
    after: str = "",
    submission: str = "",
) -> Response[str]:
    """Return the files of a run: uploaded ones, then names by shard and kind.

    ``q`` is a part of the name. ``after`` is the cursor of the uploaded files, ``submission`` that of the
    names.
    """
    text = q.replace("\x00", "").strip()[:MAX_FILTER]
    chosen = kind if kind in KINDS else ""
    start = submission if submission.isascii() and submission.isprintable() else ""
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        found, following = artifacts.search(
            connection,
            execution_id,
            text=text,
            kind=chosen,
            after=after if SHA256.fullmatch(after) else "",
            limit=FILES,
        )
        tests = run_summaries.tests_of_files(connection, execution.number, {file.sha256 for file in found})
        rows = page_queries.submissions(connection, execution_id, after=start, limit=SUBMISSIONS + 1)
    listed = []
    room = NAMES
    for _, shard_id, kinds in rows[:SUBMISSIONS]:
        for each in kinds:
            listed.append((shard_id, each.kind, each.names[:room], each.total))
            room = max(0, room - len(each.names))
    heading = verdict(execution.status, execution.results, execution.not_run, execution.tests_expected)
    return page(
        page_session,
        "run_files.html",
        tab="files",
        favicon=heading.favicon,
        verdict=heading,
        execution=execution,
        crumbs=crumbs(execution),
        files=[_shown(execution_id, file, tests.get(file.sha256)) for file in found],
        kinds=KINDS,
        q=text,
        kind=chosen,
        own=run_path(execution_id, "files"),
        is_first=not after,
        following=following,
        listed=listed,
        following_submission=rows[SUBMISSIONS - 1][0] if len(rows) > SUBMISSIONS else None,
        is_first_submission=not start,
    )


def _shown(execution_id: str, file: StoredFile, test: run_summaries.FileOwner | None) -> ShownFile:
    return ShownFile(
        file,
        file_url(execution_id, file.sha256, file.name),
        file.content_type in IMAGES,
        test.title if test else "",
        test_path(execution_id, test.test_id, test.shard_id) if test else "",
    )
