"""Retention: delete executions and events that are older than the operator keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_tms.server.domain import clock, states
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.domain.retention import Retention
from pytest_tms.server.services.deletion import PAUSE, ROWS, Wait, delete_marked
from pytest_tms.server.services.partitions import drop_expired_events
from pytest_tms.server.store import artifacts, audit, deletion
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.deletion import Candidate
from pytest_tms.server.store.test_registry import UNSEEN

CANDIDATES = 500
"""Executions that are read at a time."""
FILES = 200
"""Files that are deleted in one transaction."""
TESTS = 1000
"""Tests that are read at a time."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was deleted, or would be: numbers of executions, of their results, of events, files and tests."""

    executions: int = 0
    results: int = 0
    events: int = 0
    files: int = 0
    tests: int = 0


def find_expired(database: Database, retention: Retention) -> Pruned:
    """Return how many executions and results ``prune`` would delete now."""
    found = [each for some in _expired(database, retention, clock.now()) for each in some]
    return Pruned(executions=len(found), results=sum(each.results for each in found))


def prune(database: Database, actor: Actor, retention: Retention, wait: Wait) -> Pruned:
    """Delete what is older than ``retention`` allows, and return what was deleted.

    Executions are hidden first, all in short transactions, and are then deleted. If ``wait`` stops it, what
    is left is deleted the next time.
    """
    now = clock.now()
    marked = results = 0
    for some in _expired(database, retention, now):
        with database.write() as connection:
            hidden = set(deletion.mark(connection, [each.id for each in some], now))
        marked += len(hidden)
        results += sum(each.results for each in some if each.id in hidden)
        if wait(PAUSE):
            break
    if marked:
        with database.write() as connection:
            audit.add(
                connection, actor, "executions.pruned", "", now, executions=marked, retention=str(retention)
            )
    delete_marked(database, wait)
    return Pruned(
        executions=marked,
        results=results,
        events=0 if retention.events is None else _delete_events(database, now - retention.events, wait),
        files=0 if retention.artifacts is None else _delete_files(database, now - retention.artifacts, wait),
        tests=delete_unused_tests(database, wait),
    )


def delete_unused_tests(database: Database, wait: Wait) -> int:
    """Delete the tests that no result names and that have not been seen for long; return their number."""
    before = clock.now() - UNSEEN - DAY  # some time after which ``identify`` takes it into account
    with database.read() as connection:
        last = deletion.last_test(connection)
    deleted = 0
    for first in range(1, last + 1, TESTS):
        with database.read() as connection:
            unused = deletion.unused_tests(connection, before, first, first + TESTS - 1)
        if unused:
            with database.write() as connection:
                deleted += deletion.delete_tests(connection, unused, before)
            if wait(PAUSE):
                break
    return deleted


def _expired(database: Database, retention: Retention, now: int) -> Iterator[list[Candidate]]:
    """Yield the executions that have ended and expired, some at a time."""
    if retention.results is None:
        return
    periods = [period for _, period in retention.branches if period is not None]
    before = now - min([retention.results, *periods])
    after = ""
    while True:
        with database.read() as connection:
            found = deletion.candidates(connection, before, after, CANDIDATES)
        expired = [
            each
            for each in found
            if each.status in states.ENDED and retention.is_expired(each.branch, each.created_at, now)
        ]
        if expired:
            yield expired
        if len(found) < CANDIDATES:
            return
        after = found[-1].id


def _delete_events(database: Database, before: int, wait: Wait) -> int:
    deleted, after = drop_expired_events(database, before), 0
    while True:
        with database.read() as connection:
            found = deletion.oldest_events(connection, before, after, ROWS)
        if not found:
            return deleted
        with database.write() as connection:
            deletion.delete_events(connection, found[0], found[-1])
        deleted += len(found)
        after = found[-1]
        if wait(PAUSE):
            return deleted


def _delete_files(database: Database, before: int, wait: Wait) -> int:
    """Delete the files of executions that were uploaded before a time, and return how many."""
    deleted = 0
    while True:
        with database.write() as connection:
            found = artifacts.delete_older(connection, before, FILES)
        deleted += found
        if found < FILES or wait(PAUSE):
            return deleted
