"""Deletion of executions: hidden at once, then deleted in short transactions between which others write."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.errors import Conflict
from pytest_tms.server.domain import clock, states
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.partitions import drop_deleted
from pytest_tms.server.store import audit, deletion, executions
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.deletion import PARTS, Deleted, Part

ROWS = 200
"""Rows that one statement deletes at most."""
TRANSACTION = 0.02
"""Seconds after which a transaction begins no further statement."""
PAUSE = 0.025
"""Seconds between two transactions: SQLite's waiting writers look for the lock at least as often."""
EXECUTIONS = 100
"""Marked executions that are read at a time."""

Wait = Callable[[float], object]
"""Waits for so many seconds; a true value stops the deletion, which can be continued later."""


def mark_deleted(
    database: Database, actor: Actor, execution_id: str, idempotency: IdempotentRequest | None = None
) -> wire.ExecutionDeleted:
    """Hide an execution that has ended, and leave its rows to ``delete_marked``.

    Raises:
        NotFound: The execution does not exist.
        Conflict: It has not ended.
    """
    now = clock.now()
    response = wire.ExecutionDeleted(execution_id=execution_id, deleted_at=clock.timestamp(now))
    with database.write() as connection:
        earlier = None if idempotency is None else idempotency.recall(connection, wire.ExecutionDeleted)
        if earlier is not None:
            return earlier
        execution = executions.lock(connection, execution_id)
        if execution.status not in states.ENDED:
            raise Conflict(f"The execution is {execution.status}: cancel it before you delete it.")
        deletion.mark(connection, [execution_id], now)
        audit.add(
            connection,
            actor,
            "execution.deleted",
            execution_id,
            now,
            suite=execution.test_suite,
            environment=execution.environment,
            tests=execution.results.total,
        )
        if idempotency is not None:
            idempotency.keep(connection, response)
    return response


def delete_marked(database: Database, wait: Wait) -> int:
    """Delete the rows of all marked executions; return the number of those that are gone."""
    deleted = 0
    drop_deleted(database)
    while True:
        with database.read() as connection:
            found = deletion.marked(connection, EXECUTIONS)
        if not found:
            return deleted
        deletions = [_Deletion(each) for each in found]
        while deletions:
            with database.write() as connection:
                begun = time.perf_counter()
                while deletions and time.perf_counter() - begun < TRANSACTION:
                    if not deletions[0].step(connection):
                        deletions.pop(0)
                        deleted += 1
            if wait(PAUSE):
                return deleted


class _Deletion:
    """The deletion of one execution, a statement at a time."""

    def __init__(self, execution: Deleted) -> None:
        self._execution = execution
        self._parts: list[Part] = list(PARTS)
        self._after: Any = None

    def step(self, connection: Connection) -> bool:
        """Delete the next rows; return False after the last."""
        if not self._parts:
            deletion.delete_row(connection, self._execution)
            return False
        part = self._parts[0]
        keys = deletion.next_keys(connection, part, self._execution, self._after, ROWS)
        if keys:
            deletion.delete_range(connection, part, self._execution, keys[0], keys[-1])
            self._after = keys[-1]
        if len(keys) < ROWS:
            self._parts.pop(0)
            self._after = None
        return True
