"""The page of tests in quarantine, with the forms that add and remove them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.response import Redirect

from pytest_tms import wire
from pytest_tms.errors import Unprocessable
from pytest_tms.server.pages.page_session import QUARANTINE, PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services import quarantine
from pytest_tms.server.store import execution_lists
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.quarantine import QuarantineFilter

LISTED = 50
"""Entries on one page."""
ENDED = 10
"""Entries that have ended, below those that are active."""
PROJECTS = 100
"""Projects that the form proposes."""
FIELDS = ("node_id", "project", "reason", "owner", "until")
"""Fields of the form."""
MAX_FIELD = 2000
"""Characters of a field that are used."""
LABELS = {"nodeId": "Test", "until": "Until", "reason": "Reason", "owner": "Owner", "project": "Project"}
"""What the form calls the fields of a request."""


@get("/quarantine", sync_to_thread=True)
def show_quarantine(
    database: Database, page_session: PageSession, project: str = "", view: str = "", before: str = ""
) -> Response[str]:
    """Return the tests in quarantine that the user may see; with ``view=ended`` those that were."""
    start = int(before) if before.isascii() and before.isdecimal() and len(before) < 19 else None
    return _page(database, page_session, project, is_ended=view == "ended", before=start)


@post("/quarantine", opt={"scope": QUARANTINE}, sync_to_thread=True)
def add_test(database: Database, page_session: PageSession, form: dict[str, str]) -> Response[Any]:
    """Put a test into quarantine; show the form again if a field is not valid."""
    given = {name: form.get(name, "").strip()[:MAX_FIELD] for name in FIELDS}
    request = wire.QuarantineRequest(
        node_id=given["node_id"] or " ",
        reason=given["reason"][:1000],
        until=given["until"][:40],
        owner=given["owner"][:200] or None,
        project=given["project"][:200] or None,
    )
    try:
        entry = quarantine.add_test(database, request, caller=page_session.caller)
    except Unprocessable as error:
        problems = [
            f"{LABELS.get(problem.field, problem.field)}: {problem.message[0].lower()}{problem.message[1:]}."
            for problem in error.details
        ]
        return _page(database, page_session, "", values=given, problems=problems)
    return _back(form, entry)


@post("/quarantine/{entry_id:str}/remove", opt={"scope": QUARANTINE}, sync_to_thread=True)
def remove_test(
    database: Database, page_session: PageSession, form: dict[str, str], entry_id: str
) -> Response[Any]:
    """Remove a test from quarantine."""
    return _back(form, quarantine.remove_test(database, entry_id, caller=page_session.caller))


def may_quarantine(page_session: PageSession) -> bool:
    """Return whether the user may change the quarantine, which applies to all environments."""
    return page_session.may(QUARANTINE) and not page_session.environments


def _back(form: Mapping[str, str], entry: wire.QuarantineEntry) -> Response[Any]:
    """Redirect to the page from which a form came: that of the test, or the list."""
    is_of_test = form.get("from") == "test" and entry.key
    return Redirect(f"/tests/{entry.key}" if is_of_test else "/quarantine", status_code=303)


def _page(
    database: Database,
    page_session: PageSession,
    project: str,
    *,
    is_ended: bool = False,
    before: int | None = None,
    values: Mapping[str, str] | None = None,
    problems: list[str] | None = None,
) -> Response[str]:
    project = project.replace("\x00", "").strip()[:200]
    environments = page_session.environments
    with database.read() as connection:
        found, following = quarantine.list_entries(
            connection,
            QuarantineFilter(project=project, is_active=not is_ended),
            caller=page_session.caller,
            before=before,
            limit=LISTED,
        )
        ended, _ = (
            ([], None)
            if is_ended or before is not None
            else quarantine.list_entries(
                connection,
                QuarantineFilter(project=project, is_active=False),
                caller=page_session.caller,
                limit=ENDED,
            )
        )
        rows = quarantine.with_results(connection, found, environments)
        ended_rows = quarantine.with_results(connection, ended, environments)
        names = execution_lists.projects(connection, PROJECTS) if not environments else []
    query = {name: value for name, value in (("project", project), ("view", "ended" * is_ended)) if value}
    return page(
        page_session,
        "quarantine.html",
        status=422 if problems else 200,
        rows=rows,
        ended=ended_rows,
        is_ended=is_ended,
        projects=names,
        may_quarantine=may_quarantine(page_session),
        values=values or {"project": names[0] if len(names) == 1 else ""},
        problems=problems or [],
        filters={"project": project} if project else {},
        ended_path=f"/quarantine?{urlencode({**query, 'view': 'ended'})}",
        first="" if before is None else f"/quarantine?{urlencode(query)}",
        following="" if following is None else f"/quarantine?{urlencode({**query, 'before': following})}",
    )


HANDLERS = (show_quarantine, add_test, remove_test)
