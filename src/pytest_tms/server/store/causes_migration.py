"""Causes of failures that were stored before revision 0016: computed in batches, each a transaction.

The revision leaves the position of the next batch in ``causes_before_0016``, so that an interrupted
computation continues where it stopped. The table is dropped at the end.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import msgspec
from sqlalchemy import Connection, bindparam, inspect, select, text, tuple_, update

from pytest_tms.server.domain.failure_causes import cause
from pytest_tms.server.domain.page_details import Details
from pytest_tms.server.store import failures, tables

BATCH = 2_000
"""Failures that ``move`` takes at a time."""
TABLE = "causes_before_0016"
_DETAILS = msgspec.json.Decoder(Details)  # made at import: see calls.decoder


def is_pending(connection: Connection) -> bool:
    """Return whether failures without a cause may be left."""
    return inspect(connection).has_table(TABLE)


def move(connection: Connection) -> None:
    """Compute the causes of the next failures, or remove the table if there are none."""
    position = connection.execute(text(f"SELECT execution, sequence FROM {TABLE}")).one()  # noqa: S608  # a constant name
    detail, result = tables.result_details.c, tables.results.c
    query = (
        select(detail.execution, detail.sequence, detail.error, detail.details, detail.cause, result.test_id)
        .add_columns(result.status, result.is_superseded)
        .join(
            tables.results,
            (result.execution == detail.execution) & (result.sequence == detail.sequence),
        )
        .where(tuple_(detail.execution, detail.sequence) > tuple(position))
        .order_by(detail.execution, detail.sequence)
        .limit(BATCH)
    )
    rows = connection.execute(query).all()
    if not rows:
        connection.execute(text(f"DROP TABLE {TABLE}"))
        return
    wanted = [
        row for row in rows if row.cause is None and row.status == failures.FAILED and not row.is_superseded
    ]
    names = _functions(connection, {row.test_id for row in wanted})
    for execution, some in groupby(wanted, lambda row: int(row.execution)):
        found = []
        changes = []
        for row in some:
            shown = _DETAILS.decode(row.details or "{}")
            each = cause(
                error=row.error or "",
                traceback=shown.longrepr,
                function=names.get(row.test_id, ""),
                outcome=shown.outcome,
            )
            found.append(each)
            changes.append({"number": row.sequence, "fingerprint": each.number})
        project = connection.scalar(
            select(tables.executions.c.project_id).where(tables.executions.c.number == execution)
        )
        failures.count(connection, execution, project or 0, found, Counter())
        connection.execute(
            update(tables.result_details)
            .where(detail.execution == execution, detail.sequence == bindparam("number"))
            .values(cause=bindparam("fingerprint")),
            changes,
        )
    statement = text(f"UPDATE {TABLE} SET execution = :execution, sequence = :sequence")  # noqa: S608  # a constant name
    connection.execute(statement, {"execution": rows[-1].execution, "sequence": rows[-1].sequence})


def _functions(connection: Connection, test_ids: set[int]) -> dict[int, str]:
    """Return the names of the functions of tests, as their keys have them."""
    test = tables.tests.c
    rows = connection.execute(select(test.id, test.key).where(test.id.in_(test_ids)))
    return {row.id: row.key.partition("[")[0].rpartition("::")[2].partition(" #")[0] for row in rows}
