"""The audit log page."""

from __future__ import annotations

from litestar import Response, get

from pytest_tms.server.pages.page_session import ADMIN, PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.store import audit
from pytest_tms.server.store.audit import AuditEntry
from pytest_tms.server.store.database import Database

ENTRIES = 100
"""Entries on one page."""
PATHS = {"exec": "/runs/", "wh": "/webhooks/"}
"""The paths of the pages of executions and webhooks, by the prefix of their ids."""


@get("/audit", opt={"scope": ADMIN}, sync_to_thread=True)
def show_audit(database: Database, page_session: PageSession, before: str = "") -> Response[str]:
    """Return the audit log, the newest entries first."""
    start = int(before) if before.isdecimal() and len(before) < 19 else None
    with database.read() as connection:
        entries, following = audit.page(connection, before=start, limit=ENTRIES)
    return page(
        page_session,
        "audit.html",
        entries=[(entry, _path(entry), _details(entry)) for entry in entries],
        following=following,
        first_page=start is None,
    )


def _path(entry: AuditEntry) -> str:
    """Return the path of the page of an entry's target; empty if it has none or was deleted."""
    path = PATHS.get(entry.target.partition("_")[0], "")
    return f"{path}{entry.target}" if path and not entry.action.endswith(".deleted") else ""


def _details(entry: AuditEntry) -> str:
    values = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value).rstrip(".")
        for name, value in entry.details.items()
    }
    return " · ".join(f"{name}: {value}" for name, value in values.items() if value)
