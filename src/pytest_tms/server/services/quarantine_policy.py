"""The quarantine over time: entries expire, and a policy may add flaky tests and remove them again."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.durations import DAY
from pytest_tms.server.domain.flakiness import Rate
from pytest_tms.server.domain.quarantine import parse_until
from pytest_tms.server.services import flaky_tests
from pytest_tms.server.services.deletion import Wait
from pytest_tms.server.store import audit, execution_lists, quarantine, test_catalogue, test_history
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.execution_lists import ExecutionFilter

AUTOMATIC_DAYS = 14
"""Days for which the policy adds a test. If the test is flaky then, it is added again."""
MIN_FLAKY = 3
"""Flaky results that a test has at least before the policy adds it."""
PROJECTS = 1_000
"""Projects whose tests the policy examines."""
ENTRIES = 1_000
"""Entries of one project that the policy examines."""
BATCH = 500
"""Entries that one transaction ends."""
SERVER = Actor(id="server")


class _Candidate(NamedTuple):
    """A flaky test; ``owner`` is empty if it has none."""

    key: str
    owner: str
    flaky: Rate


def has_expired(database: Database) -> bool:
    """Return whether ``end_expired`` would end an entry."""
    with database.read() as connection:
        return quarantine.has_expired(connection, clock.now())


def end_expired(database: Database) -> bool:
    """End a batch of entries whose end has passed, and return whether there may be more."""
    if not has_expired(database):  # a server with nothing to end writes nothing
        return False
    with database.write() as connection:
        return quarantine.end_expired(connection, clock.now(), BATCH) == BATCH


def apply_policy(database: Database, percent: int, wait: Wait) -> bool:
    """Put tests into quarantine that are flaky in at least ``percent`` of their results, and remove others.

    The lower bound of the 95 % confidence interval counts. Tests that the policy added are removed once it is
    below half of that. A test that a person removed is not added for ``AUTOMATIC_DAYS``. Return whether the
    tests of all projects were examined: a true value of ``wait``, which is called between changes, stops it.
    """
    with database.read() as connection:
        projects = execution_lists.projects(connection, PROJECTS)
    return all(_apply_to_project(database, project, percent / 100, wait) for project in projects)


def _apply_to_project(database: Database, project: str, bound: float, wait: Wait) -> bool:
    """Apply the policy to the tests of a project; return False if ``wait`` stopped it."""
    now = clock.now()
    with database.read() as connection:
        runs = test_catalogue.runs(connection, ExecutionFilter(project=project))
        flaky = [test_id for test_id, _ in test_catalogue.flaky(connection, runs)[: flaky_tests.RANKED]]
        entries = quarantine.automatic(connection, project, now, ENTRIES)
        described = flaky_tests.describe(
            connection, [*dict.fromkeys([*flaky, *(e.test_id for e in entries)])], runs
        )
        rates = {each.test_id: each.statistics.flaky for each in described}
        added = {
            test_id: rate
            for test_id, rate in rates.items()
            if rate.low >= bound and round(rate.rate * rate.of) >= MIN_FLAKY
        }
        candidates = _candidates(connection, added)
        calm = [
            entry for entry in entries if rates[entry.test_id].of and rates[entry.test_id].low < bound / 2
        ]
    for entry in calm:
        if wait(0):
            return False
        with database.write() as connection:
            if quarantine.end(connection, entry.id, now, ""):
                details = {"project": project, "test": entry.key, "reason": "not flaky any more"}
                audit.add(connection, SERVER, "quarantine.removed", str(entry.id), now, **details)
    for candidate in candidates:
        if wait(0):
            return False
        _add(database, project, candidate, now)
    return not wait(0)


def _candidates(connection: Connection, rates: dict[int, Rate]) -> list[_Candidate]:
    return [
        _Candidate(test.key, test.owner, rates[test.id])
        for test in test_history.get_tests(connection, list(rates))
    ]


def _add(database: Database, project: str, candidate: _Candidate, now: int) -> None:
    """Put a test into quarantine, unless it is there, or a person has removed it lately."""
    key = candidate.key
    with database.read() as connection:
        found = quarantine.find_test(connection, project, key)
        if found is None or _is_decided(connection, found[0], key):
            return
    rate = candidate.flaky
    day = (wire.moment(now) + timedelta(days=AUTOMATIC_DAYS)).date()
    until = parse_until(day.isoformat(), now)
    reason = (
        f"flaky in {round(rate.rate * rate.of)} of its latest {rate.of} results: "
        f"at least {rate.low * 100:.0f} % (95 % confidence)"
    )
    with database.write() as connection:
        project_id = found[0]
        if _is_decided(connection, project_id, key):  # by another process or a person, meanwhile
            return
        if (expired := quarantine.find_open(connection, project_id, key)) is not None:
            quarantine.end(connection, expired.id, expired.until, None)
        entry_id = quarantine.add(
            connection,
            project_id,
            key,
            reason=reason,
            owner=candidate.owner,
            until=until,
            now=now,
            created_by="",
            is_automatic=True,
        )
        if not entry_id:
            return
        details = {"project": project, "test": key, "reason": reason, "until": clock.timestamp(until)}
        audit.add(connection, SERVER, "quarantine.added", str(entry_id), now, **details)


def _is_decided(connection: Connection, project_id: int, key: str) -> bool:
    """Return whether a test is in quarantine, or a person has removed it lately."""
    return quarantine.is_decided(connection, project_id, key, clock.now(), AUTOMATIC_DAYS * DAY)
