"""Calls about tests in quarantine."""

from __future__ import annotations

from typing import Any

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import Problem
from pytest_tms.server.api.filters import MAX_FILTER
from pytest_tms.server.api.paging import requested_page
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode
from pytest_tms.server.domain import clock, test_keys
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.services import quarantine
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.quarantine import QuarantineFilter

MAX_NODE_ID = 2000
"""Characters of a node id."""


@route(calls.LIST_QUARANTINE)
def list_quarantine(
    database: Database, caller: Caller, query: dict[str, Any], cursor: str | None = None, limit: str = "100"
) -> wire.QuarantinePage:
    """Return one page of the entries that the caller may see."""
    page = requested_page(cursor, limit, None, ())
    lengths = {"project": MAX_FILTER, "execution": MAX_FILTER, "owner": MAX_FILTER, "nodeId": MAX_NODE_ID}
    problems = [
        Problem(name, f"Must be a text of 1 to {most} characters")
        for name, most in lengths.items()
        if name in query and not (1 <= len(query[name]) <= most and "\x00" not in query[name])
    ]
    state = query.get("state", "")
    if state not in ("", "active", "ended"):
        problems.append(Problem("state", "Must be one of: active, ended"))
    refuse(problems)
    wanted = QuarantineFilter(
        project=query.get("project", ""),
        key=test_keys.shortened(query.get("nodeId", "")),
        owner=query.get("owner", ""),
        is_active=None if not state else state == "active",
    )
    with database.read() as connection:
        found, following = quarantine.list_entries(
            connection,
            wanted,
            caller=caller,
            execution_id=query.get("execution", ""),
            before=page.cursor,
            limit=page.limit,
        )
    now = clock.now()
    return wire.QuarantinePage(
        entries=[quarantine.entry_message(each, now) for each in found],
        cursor=None if following is None else str(following),
    )


@route(calls.ADD_TO_QUARANTINE)
def add_to_quarantine(
    body: bytes, database: Database, idempotency: IdempotentRequest, caller: Caller
) -> wire.QuarantineEntry:
    """Put a test into quarantine."""
    request, _ = decode(body, wire.QuarantineRequest, lambda _: [])
    return quarantine.add_test(database, request, caller=caller, idempotency=idempotency)


@route(calls.REMOVE_FROM_QUARANTINE)
def remove_from_quarantine(database: Database, caller: Caller, entry_id: str) -> wire.QuarantineEntry:
    """Remove a test from quarantine."""
    return quarantine.remove_test(database, entry_id, caller=caller)


HANDLERS = (list_quarantine, add_to_quarantine, remove_from_quarantine)
