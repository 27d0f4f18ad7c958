"""Quarantine: add tests, remove them, list them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.errors import Conflict, NotFound, Problem, Unprocessable
from pytest_tms.server.domain import clock, test_keys
from pytest_tms.server.domain.actors import Actor, Caller
from pytest_tms.server.domain.builds import DEFAULT_PROJECT
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.domain.quarantine import QuarantineEntry, parse_until
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.store import audit, executions, quarantine, test_catalogue
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.quarantine import QuarantineFilter

OBSERVED = 50
"""Latest results of a test that are read."""


def add_test(
    database: Database,
    request: wire.QuarantineRequest,
    *,
    caller: Caller,
    idempotency: IdempotentRequest | None = None,
) -> wire.QuarantineEntry:
    """Put a test into quarantine; an entry that the test has already is replaced.

    Raises:
        Forbidden: The caller's token is bound to environments; a quarantine applies to all of them.
        Conflict: Another request adds the test at the same time.
        Unprocessable: The end is not valid, the test does not exist, or neither it nor the request has an
            owner.
    """
    caller.require_access(None)
    now = clock.now()
    problems, until = [], 0
    try:
        until = parse_until(request.until, now)
    except ValueError as error:
        problems.append(Problem("until", str(error)))
    reason, given_owner = _line(request.reason), _line(request.owner or "")
    if not reason:
        problems.append(Problem("reason", "Must not be blank"))
    refuse(problems)
    with database.write() as connection:
        if idempotency and (earlier := idempotency.recall(connection, wire.QuarantineEntry)):
            return earlier
        project = without_nul(request.project or DEFAULT_PROJECT)
        key = test_keys.shortened(request.node_id)
        found = quarantine.find_test(connection, project, key)
        if found is None:
            message = (
                f"Must be the node id of a test that the project {project!r} has run, "
                "as the list of tests shows it"
            )
            raise Unprocessable(details=[Problem("nodeId", message)])
        project_id, _, owner = found
        if not (given_owner or owner):
            refuse([Problem("owner", "Required, since the test has no owner")])
        if (open_entry := quarantine.find_open(connection, project_id, key)) is not None:
            is_over = open_entry.until < now
            quarantine.end(connection, open_entry.id, now, None if is_over else _name(caller))
        entry_id = quarantine.add(
            connection,
            project_id,
            key,
            reason=reason,
            owner=given_owner or owner,
            until=until,
            now=now,
            created_by=_name(caller),
        )
        if not entry_id:
            raise Conflict("Another request puts the test into quarantine now: look at it, and try again.")
        details = {"project": project, "test": key, "reason": reason, "until": clock.timestamp(until)}
        audit.add(connection, caller, "quarantine.added", str(entry_id), now, **details)
        response = entry_message(_entry(connection, str(entry_id)), now)
        if idempotency:
            idempotency.keep(connection, response)
    return response


def remove_test(database: Database, entry_id: str, *, caller: Caller) -> wire.QuarantineEntry:
    """Remove a test from quarantine: its failures count again. The entry is kept as removed.

    Raises:
        Forbidden: The caller's token is bound to environments; a quarantine applies to all of them.
        NotFound: The entry does not exist.
        Conflict: The quarantine has ended already.
    """
    caller.require_access(None)
    now = clock.now()
    with database.write() as connection:
        entry = _entry(connection, entry_id)
        number = entry.id
        if entry.state(now) != "active" or not quarantine.end(connection, number, now, _name(caller)):
            raise Conflict(f"The quarantine of {entry.key} has ended already.")
        details = {"project": entry.project, "test": entry.key}
        audit.add(connection, caller, "quarantine.removed", str(number), now, **details)
        entry = _entry(connection, entry_id)
    return entry_message(entry, now)


def list_entries(
    connection: Connection,
    wanted: QuarantineFilter,
    *,
    caller: Caller,
    execution_id: str = "",
    before: int | None = None,
    limit: int = 100,
) -> tuple[list[QuarantineEntry], int | None]:
    """Return one page of entries, the newest first, and the cursor of the next page or None.

    ``execution_id`` selects the project of an execution. Otherwise a caller whose token is bound to
    environments sees only entries of tests that have a result in one of them, so a page may have fewer than
    ``limit`` and yet a cursor.

    Raises:
        Forbidden: The caller has no access to the environment of the execution.
        NotFound: The execution does not exist.
    """
    if execution_id:
        execution = executions.get(connection, execution_id)
        caller.require_access([execution.environment])
        wanted = replace(wanted, project_id=execution.project_id)
    found, following = quarantine.find(connection, wanted, clock.now(), before=before, limit=limit)
    environments = caller.token.environments if caller.token else ()
    if environments and not execution_id:
        test_ids = [each.test_id for each in found if each.test_id]
        visible = test_catalogue.observations(connection, test_ids, environments, OBSERVED)
        found = [each for each in found if visible.get(each.test_id)]
    return found, following


class EntryResults(NamedTuple):
    """An entry with the results of its test while it was in quarantine, of the latest ``OBSERVED``.

    ``last_status`` is that of the latest result, None if no result can be seen. ``is_limited`` is whether
    there may have been more.
    """

    entry: QuarantineEntry
    last_status: wire.TestStatus | None
    failed: int
    results: int
    is_limited: bool


def with_results(
    connection: Connection, entries: Sequence[QuarantineEntry], environments: Collection[str]
) -> list[EntryResults]:
    """Return entries with the results of their tests in ``environments``, all if empty."""
    test_ids = {each.test_id for each in entries if each.test_id}
    observed = test_catalogue.observations(connection, test_ids, environments, OBSERVED)
    rows = []
    for entry in entries:
        latest = observed.get(entry.test_id, [])
        end = entry.until if entry.ended_at is None else entry.ended_at
        during = [each for at, each in latest if entry.created_at <= at <= end]
        rows.append(
            EntryResults(
                entry=entry,
                last_status=latest[0][1].status if latest else None,
                failed=sum(each.status == "failed" for each in during),
                results=len(during),
                is_limited=len(during) == OBSERVED,
            )
        )
    return rows


def entry_message(entry: QuarantineEntry, now: int) -> wire.QuarantineEntry:
    """Return an entry as a message of the API."""
    state = entry.state(now)
    return wire.QuarantineEntry(
        id=str(entry.id),
        project=entry.project,
        node_id=entry.key,
        key=str(entry.test_id or ""),
        reason=entry.reason,
        owner=entry.owner,
        until=clock.timestamp(entry.until),
        state=state,
        is_automatic=entry.is_automatic,
        created_at=clock.timestamp(entry.created_at),
        created_by=entry.created_by,
        ended_at=clock.optional_timestamp(entry.ended_at) if state == "removed" else None,
        ended_by=entry.ended_by,
    )


def _entry(connection: Connection, entry_id: str) -> QuarantineEntry:
    number = int(entry_id) if entry_id.isascii() and entry_id.isdecimal() and len(entry_id) < 19 else 0
    entry = quarantine.get(connection, number)
    if entry is None:
        raise NotFound(f"The quarantine entry {entry_id[:100]} does not exist.")
    return entry


def _line(text: str) -> str:
    return " ".join(without_nul(text).split())


def _name(actor: Actor) -> str:
    """Return the name of who adds or removes a test; anyone on a local server has none."""
    return actor.name or actor.id
