"""Renamed tests: suggestions by the names of tests, and decisions that join their histories."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from pytest_tms.errors import Conflict, NotFound
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.renames import NamedTest, possible_renames
from pytest_tms.server.store import audit, comparisons, execution_lists, renames, series, test_history
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.test_history import RegisteredTest

MAX_TESTS = 300
"""Tests that began, and tests that ended, whose names are compared."""


class SuggestedRename(NamedTuple):
    """A test that may be ``earlier`` under another name, and why."""

    test: RegisteredTest
    earlier: RegisteredTest
    reason: str


def suggest(
    connection: Connection, before: int, removed: Collection[int], added: Collection[int]
) -> list[SuggestedRename]:
    """Return which added tests of a run may be removed ones of the run ``before``, given by its number.

    Tests that ran before that run are not new. Pairs about which somebody has decided are left out, and so
    are tests of which one was joined already.
    """
    if not removed or not added:
        return []
    run = execution_lists.by_number(connection, [before]).get(before)
    if run is None:
        return []
    ended = test_history.get_tests(connection, sorted(removed)[:MAX_TESTS])
    begun = [
        test
        for test in test_history.get_tests(connection, sorted(added, reverse=True)[:MAX_TESTS])
        if test.first_seen >= run.created_at
    ]
    decided = renames.decided(connection, [test.id for test in begun])
    joined = renames.earlier(connection, [test.id for test in begun])
    taken = {earlier for some in joined.values() for earlier in some}
    tests = {test.id: test for test in (*ended, *begun)}
    found = possible_renames(
        [_names(test) for test in ended if test.id not in taken],
        [_names(test) for test in begun if test.id not in joined],
    )
    return [
        SuggestedRename(tests[each.test_id], tests[each.earlier_id], each.reason)
        for each in found
        if (each.test_id, each.earlier_id) not in decided
    ]


def suggest_for(connection: Connection, test: RegisteredTest, first_run: int) -> list[SuggestedRename]:
    """Return which test one may be that ran for the first time in a run, given by its number."""
    before = series.previous(connection, first_run)
    if not before:
        return []
    earlier, later = (comparisons.test_ids(connection, number) for number in (before, first_run))
    found = suggest(connection, before, earlier - later, later - earlier)
    return [each for each in found if each.test.id == test.id]


def decide(
    database: Database, test_key: str, earlier_key: str, *, is_same: bool, caller: Caller
) -> list[int]:
    """Join the history of an earlier test to that of a test, or reject that they are the same.

    Returns:
        The earlier tests that are joined to the test then.

    Raises:
        Forbidden: The caller's token is bound to environments; a decision applies to all of them.
        NotFound: A test does not exist.
        Conflict: The tests are one, of different projects, or joined the other way round.
    """
    caller.require_access(None)
    with database.write() as connection:
        test, earlier = (_get(connection, key) for key in (test_key, earlier_key))
        if test.id == earlier.id:
            raise Conflict("A test is not renamed from itself: name another earlier test.")
        if test.project_id != earlier.project_id:
            raise Conflict("The tests belong to different projects, so their histories stay apart.")
        if is_same and test.id in renames.earlier(connection, [earlier.id]).get(earlier.id, ()):
            raise Conflict("The earlier test is joined to this one already, the other way round.")
        now = clock.now()
        renames.decide(connection, test.id, earlier.id, is_same=is_same, now=now)
        action = "test.joined" if is_same else "test.separated"
        audit.add(connection, caller, action, str(test.id), now, earlier=str(earlier.id))
        return renames.earlier(connection, [test.id]).get(test.id, [])


def earlier_tests(connection: Connection, test_id: int) -> Sequence[RegisteredTest]:
    """Return the tests whose histories are joined to that of a test, the latest first."""
    return test_history.get_tests(connection, renames.earlier(connection, [test_id]).get(test_id, []))


def later_test(connection: Connection, test_id: int) -> RegisteredTest | None:
    """Return the test to which the history of a test is joined, None if there is none."""
    found = renames.later(connection, test_id)
    return None if found is None else test_history.get_test(connection, found)


def _get(connection: Connection, key: str) -> RegisteredTest:
    number = int(key) if key.isascii() and key.isdecimal() and len(key) < 19 else 0
    test = test_history.get_test(connection, number)
    if test is None:
        raise NotFound(f"The test {key[:100]} does not exist.")
    return test


def _names(test: RegisteredTest) -> NamedTest:
    return NamedTest(test.id, test.title, test.file, test.node_id)
