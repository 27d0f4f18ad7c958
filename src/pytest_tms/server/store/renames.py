"""Decisions on whether a test is an earlier one under another name."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tms.server.store import bulk, tables

MAX_NAMES = 5
"""Earlier names of a test that are followed."""

_RENAME = tables.test_renames.c


def earlier(connection: Connection, test_ids: Collection[int]) -> dict[int, list[int]]:
    """Return the earlier tests of those that have some, the latest of them first, by test id."""
    found: dict[int, list[int]] = {}
    waiting = {test_id: test_id for test_id in test_ids}  # by the name that was found last
    statement = (
        "SELECT test_id, earlier_id FROM test_renames WHERE is_same AND test_id >= {} AND test_id IN {}"
    )
    for _ in range(MAX_NAMES):
        following: dict[int, int] = {}
        for test_id, earlier_id in bulk.select(connection, statement, (0,), waiting):
            test = waiting[test_id]
            if earlier_id != test and earlier_id not in found.get(test, ()):
                found.setdefault(test, []).append(earlier_id)
                following[earlier_id] = test
        if not following:
            break
        waiting = following
    return found


def later(connection: Connection, test_id: int) -> int | None:
    """Return the test that an earlier one became, None if it became none."""
    query = select(_RENAME.test_id).where(_RENAME.earlier_id == test_id, _RENAME.is_same.is_(True))
    found: int | None = connection.scalar(query.order_by(_RENAME.test_id).limit(1))
    return found


def later_names(connection: Connection, test_ids: Collection[int]) -> list[tuple[int, int]]:
    """Return the tests that some tests became, as pairs (later test, test of ``test_ids``).

    A test that became several in turn has a pair for each.
    """
    found: list[tuple[int, int]] = []
    waiting = {test_id: test_id for test_id in test_ids}  # by the name that was found last
    seen = set(waiting)
    statement = (
        "SELECT test_id, earlier_id FROM test_renames WHERE is_same AND earlier_id >= {} AND earlier_id IN {}"
    )
    for _ in range(MAX_NAMES):
        following = {
            test_id: waiting[earlier_id]
            for test_id, earlier_id in sorted(bulk.select(connection, statement, (0,), waiting))
            if test_id not in seen
        }
        if not following:
            break
        found += following.items()
        seen.update(following)
        waiting = following
    return found


def decided(connection: Connection, test_ids: Collection[int]) -> set[tuple[int, int]]:
    """Return the pairs (test, earlier test) about which somebody decided, of some tests."""
    statement = "SELECT test_id, earlier_id FROM test_renames WHERE test_id >= {} AND test_id IN {}"
    return {(row[0], row[1]) for row in bulk.select(connection, statement, (0,), test_ids)}


def decide(connection: Connection, test_id: int, earlier_id: int, *, is_same: bool, now: int) -> None:
    """Store a decision about a pair, in place of an earlier one."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {"is_same": is_same, "decided_at": now}
    statement = insert(tables.test_renames).values(test_id=test_id, earlier_id=earlier_id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["test_id", "earlier_id"], set_=values))


def forget(connection: Connection, test_ids: Collection[int]) -> None:
    """Delete the decisions about deleted tests."""
    connection.execute(
        delete(tables.test_renames).where(
            or_(_RENAME.test_id.in_(test_ids), _RENAME.earlier_id.in_(test_ids))
        )
    )
