"""Deletion of executions with everything that belongs to them, and of what retention no longer keeps.

What is deleted is first marked, which hides it, and then deleted in batches.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, delete, exists, func, select, update

from pytest_tms.server.domain import states
from pytest_tms.server.domain.ids import first_id
from pytest_tms.server.store import case_links, renames, tables, versions

_EXECUTION = tables.executions.c


class Deleted(NamedTuple):
    """A marked execution: how the rows that belong to it name it."""

    id: str
    number: int
    token_hash: str


class Candidate(NamedTuple):
    """An execution that may be old enough to be deleted; ``results`` is the number of its results."""

    id: str
    branch: str
    created_at: int
    status: str
    results: int


class Part(NamedTuple):
    """The rows of one table that belong to an execution.

    ``owner`` is the column with the value of the execution's ``execution_column``; rows are deleted by ranges
    of ``key``.
    """

    table: Table
    owner: str
    execution_column: str
    key: str


PARTS = (
    Part(tables.plans, "execution", "number", "execution"),
    Part(tables.shared_setups, "execution", "number", "sequence"),
    Part(tables.queue_batches, "execution", "number", "runner"),
    Part(tables.queue_runners, "execution", "number", "runner"),
    Part(tables.queue_collections, "execution", "number", "number"),
    Part(tables.queue_tests, "execution", "number", "first"),
    Part(tables.queues, "execution", "number", "execution"),
    Part(tables.failure_causes, "execution", "number", "fingerprint"),
    Part(tables.result_details, "execution", "number", "sequence"),
    Part(tables.results, "execution", "number", "sequence"),
    Part(tables.result_documents, "execution", "number", "first"),
    Part(tables.events, "execution_id", "id", "id"),
    Part(tables.submissions, "execution_id", "id", "id"),
    Part(tables.deliveries, "execution_id", "id", "number"),
    Part(tables.artifacts, "execution_id", "id", "sha256"),
    Part(tables.runners, "execution_id", "id", "runner"),
    Part(tables.shards, "execution_id", "id", "shard_id"),
    Part(tables.idempotent_responses, "token_hash", "token_hash", "key"),
)
"""All that belongs to an execution, in the order of deletion; its own row is deleted after them."""


def mark(connection: Connection, execution_ids: Collection[str], now: int) -> list[str]:
    """Hide those of some executions that have ended, so that they can be deleted; return their ids."""
    values = {"deleted_at": now, "deadline_at": None, "run_key": None, "idle_since": None}
    query = update(tables.executions).where(
        _EXECUTION.id.in_(execution_ids),
        _EXECUTION.deleted_at.is_(None),
        _EXECUTION.status.in_(states.ENDED),
    )
    query = query.values(**values).returning(_EXECUTION.id)
    found = connection.scalars(versions.with_next_version(connection.dialect.name, query)).all()
    is_own = tables.shards.c.execution_id.in_(found)  # nobody looks for its silent shards any more
    connection.execute(update(tables.shards).where(is_own).values(silence_deadline_at=None))
    return list(found)


def marked(connection: Connection, limit: int) -> list[Deleted]:
    """Return executions that are marked and not yet deleted, the oldest first."""
    query = select(_EXECUTION.id, _EXECUTION.number, _EXECUTION.token_hash)
    query = query.where(_EXECUTION.deleted_at.is_not(None)).order_by(_EXECUTION.id).limit(limit)
    return [Deleted(*row) for row in connection.execute(query)]


def next_keys(connection: Connection, part: Part, execution: Deleted, after: Any, limit: int) -> list[Any]:
    """Return the next keys of a part of an execution, in order; ``after`` is None at the beginning."""
    columns = part.table.c
    query = select(columns[part.key]).where(columns[part.owner] == getattr(execution, part.execution_column))
    if after is not None:
        query = query.where(columns[part.key] > after)
    return list(connection.scalars(query.order_by(columns[part.key]).limit(limit)))


def delete_range(connection: Connection, part: Part, execution: Deleted, first: Any, last: Any) -> None:
    """Delete the rows of a part of an execution from one key to another."""
    columns = part.table.c
    connection.execute(
        delete(part.table).where(
            columns[part.owner] == getattr(execution, part.execution_column),
            columns[part.key].between(first, last),
        )
    )


def delete_row(connection: Connection, execution: Deleted) -> None:
    """Delete the row of a marked execution, the last that is left of it."""
    is_own = and_(_EXECUTION.id == execution.id, _EXECUTION.deleted_at.is_not(None))
    connection.execute(delete(tables.executions).where(is_own))


def candidates(connection: Connection, before: int, after: str, limit: int) -> list[Candidate]:
    """Return executions that were created before a time, in the order of their ids from ``after`` on."""
    query = select(
        _EXECUTION.id,
        _EXECUTION.branch,
        _EXECUTION.created_at,
        _EXECUTION.status,
        _EXECUTION.results_stored,
    ).where(_EXECUTION.id > after, _EXECUTION.id < first_id("exec", before), _EXECUTION.deleted_at.is_(None))
    return [Candidate(*row) for row in connection.execute(query.order_by(_EXECUTION.id).limit(limit))]


def oldest_events(connection: Connection, before: int, after: int, limit: int) -> list[int]:
    """Return the ids of the next events that were received before a time, none at the first later one."""
    event = tables.events.c
    query = select(event.id, event.received_at).where(event.id > after).order_by(event.id).limit(limit)
    found = []
    for row in connection.execute(query):
        if row.received_at >= before:
            break
        found.append(row.id)
    return found


def delete_events(connection: Connection, first: int, last: int) -> None:
    """Delete events by their ids, from one to another."""
    connection.execute(delete(tables.events).where(tables.events.c.id.between(first, last)))


def last_test(connection: Connection) -> int:
    """Return the largest id of a test, 0 if there is none."""
    return int(connection.scalar(select(func.max(tables.tests.c.id))) or 0)


def unused_tests(connection: Connection, before: int, first: int, last: int) -> list[int]:
    """Return tests that no result names and that were last seen before a time, of a range of ids."""
    test = tables.tests.c
    has_result = exists().where(tables.results.c.test_id == test.id)
    query = select(test.id).where(test.id.between(first, last), test.last_seen < before, ~has_result)
    return list(connection.scalars(query))


def delete_tests(connection: Connection, test_ids: Collection[int], before: int) -> int:
    """Delete tests, except those that were seen again; return their number."""
    test = tables.tests.c
    has_result = exists().where(tables.results.c.test_id == test.id)
    is_unused = and_(test.id.in_(test_ids), test.last_seen < before, ~has_result)
    deleted = connection.scalars(delete(tables.tests).where(is_unused).returning(test.id)).all()
    if deleted:
        case_links.unlink(connection, deleted)
        renames.forget(connection, deleted)
    return len(deleted)
