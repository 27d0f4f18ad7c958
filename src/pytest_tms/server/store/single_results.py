"""One result with its document, and the other attempts of its test in an execution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, and_, select

from pytest_tms import wire
from pytest_tms.server.store import result_documents, tables
from pytest_tms.server.store.results import STATUSES

MAX_RESULTS = 200
"""Results of one test in one execution that are considered: of all shards and their attempts."""


class StoredResult(NamedTuple):
    """A result of a test; ``attempt`` is that of its shard, ``document`` the row that has its document.

    ``failing_since`` is the number of the execution in which its failures began, None if it is not known.
    """

    sequence: int
    shard_id: str
    attempt: int
    is_superseded: bool
    status: wire.TestStatus
    outcome: str
    duration: int
    retries: int
    is_flaky: bool
    started_at: int | None
    worker: str | None
    document: int
    failing_since: int | None
    failing_runs: int | None
    is_quarantined: bool | None


def of_test(connection: Connection, execution: int, test_id: int) -> list[StoredResult]:
    """Return the results of a test in an execution, by its number, in the order of shards and attempts."""
    table, details = tables.results.c, tables.result_details.c
    rows = connection.execute(
        select(
            table.sequence,
            table.shard_id,
            table.attempt,
            table.is_superseded,
            table.status,
            table.outcome,
            table.duration,
            table.retries,
            table.is_flaky,
            table.started_at,
            table.worker,
            table.document,
            details.failing_since,
            details.failing_runs,
            details.is_quarantined,
        )
        .outerjoin(
            tables.result_details,
            and_(details.execution == table.execution, details.sequence == table.sequence),
        )
        .where(table.test_id == test_id, table.execution == execution)
        .order_by(table.shard_id, table.attempt)
        .limit(MAX_RESULTS)
    )
    found = []
    for row in rows:
        status = STATUSES[row.status]
        values = {**row._mapping, "status": status, "outcome": row.outcome or status}
        found.append(StoredResult(**{name: values[name] for name in StoredResult._fields}))
    return found


def documents(
    connection: Connection, execution: int, results: Sequence[StoredResult]
) -> dict[int, msgspec.Raw]:
    """Return the documents of results as they were sent, by sequence."""
    return result_documents.get(connection, execution, {each.sequence: each.document for each in results})
