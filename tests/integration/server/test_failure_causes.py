"""Causes of failures are counted as results arrive, are superseded and are sent again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_tms import wire
from pytest_tms.server.domain import clock
from pytest_tms.server.services.deletion import delete_marked
from pytest_tms.server.store import deletion, failures, series
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.failures import Cause
from tests.helpers.stored_runs import StoredRuns

TIMEOUT = "failed: TimeoutError: waited 30 s"
VALUE = "failed: ValueError: 3 is not 'x'"


@pytest.fixture
def runs(empty_database: Database) -> StoredRuns:
    """Runs in an empty database."""
    return StoredRuns(empty_database)


def causes(database: Database, execution: int) -> list[Cause]:
    """The causes of an execution."""
    with database.read() as connection:
        return failures.causes(connection, execution, limit=10)


def counted(database: Database, execution: int) -> dict[str, int]:
    """The number of failures by message."""
    return {each.message: each.failures for each in causes(database, execution)}


def test_thousands_of_failures_have_few_causes(runs: StoredRuns) -> None:
    tests = {f"t{number}": f"failed: TimeoutError: waited {number} s" for number in range(2000)}
    run = runs.run({**tests, "other": VALUE, "well": "passed"})
    assert counted(runs.database, run.number) == {"waited # s": 2000, "# is not '…'": 1}
    first, second = causes(runs.database, run.number)
    assert (first.exception, first.first_sequence, second.first_sequence) == ("TimeoutError", 1, 2001)
    with runs.database.read() as connection:
        assert failures.number_of_causes(connection, run.number, 10) == 2
        page = failures.causes(connection, run.number, limit=10, after=(2000, first.fingerprint))
        assert page == [second]
        assert failures.cause(connection, run.number, second.fingerprint) == second
        assert failures.cause(connection, run.number, "0" * 16) is None


def test_a_result_that_is_sent_again_is_counted_once(runs: StoredRuns) -> None:
    run = runs.run({"a": VALUE, "b": TIMEOUT})
    runs.add(run.id, {"a": VALUE, "b": TIMEOUT})
    assert counted(runs.database, run.number) == {"# is not '…'": 1, "waited # s": 1}
    runs.add(run.id, {"a": TIMEOUT})
    assert counted(runs.database, run.number) == {"waited # s": 2}
    runs.add(run.id, {"a": "passed", "b": "passed"})
    assert counted(runs.database, run.number) == {}


def test_a_newer_attempt_replaces_the_cause(runs: StoredRuns) -> None:
    run = runs.run({"a": VALUE, "b": VALUE})
    runs.add(run.id, {"a": "passed", "b": TIMEOUT}, attempt=2)
    assert counted(runs.database, run.number) == {"waited # s": 1}


def test_an_earlier_attempt_that_arrives_late_is_not_counted(runs: StoredRuns) -> None:
    run = runs.run({"b": "passed"})
    runs.add(run.id, {"a": "passed"}, attempt=2)
    runs.add(run.id, {"a": VALUE}, attempt=1)
    assert counted(runs.database, run.number) == {}


def test_a_cause_is_new_if_the_previous_run_did_not_have_it(runs: StoredRuns) -> None:
    first = runs.run({"a": VALUE, "b": "passed"}, branch="main")
    second = runs.run({"a": VALUE, "b": TIMEOUT}, branch="main")
    assert [each.is_new for each in causes(runs.database, first.number)] == [None]
    found = {each.message: (each.is_new, each.first_seen) for each in causes(runs.database, second.number)}
    assert found == {"# is not '…'": (False, first.number), "waited # s": (True, second.number)}


def test_failures_know_their_neighbours(runs: StoredRuns) -> None:
    run = runs.run({"a": VALUE, "b": "passed", "c": VALUE, "d": VALUE})
    with runs.database.read() as connection:
        found = failures.neighbours(connection, run.number, 3)
        assert (found.position, found.total) == (2, 3)
        assert found.previous is not None
        assert found.next is not None
        assert (found.previous.sequence, found.next.sequence) == (1, 4)
        passed = failures.neighbours(connection, run.number, 2)
        assert passed.position is None
        last = failures.neighbours(connection, run.number, 4)
        assert (last.position, last.next) == (3, None)


def test_deletion_leaves_no_causes(runs: StoredRuns) -> None:
    run = runs.run({"a": VALUE})
    other = runs.run({"a": VALUE})
    with runs.database.write() as connection:
        deletion.mark(connection, [run.id], clock.now())
    delete_marked(runs.database, lambda _: None)
    assert causes(runs.database, run.number) == []
    assert [each.first_seen for each in causes(runs.database, other.number)] == [other.number]


def test_failures_that_are_stored_before_the_upgrade_get_their_causes(
    runs: StoredRuns, tmp_path: Path
) -> None:
    tests = {f"t{number}": VALUE for number in range(5)}
    traced = wire.TestResult(
        title="traced",
        status="failed",
        longrepr="def test_x():\n>   run()\n\nshop/cart.py:3: in pay\nE   KeyError: 'a'",
    )
    run = runs.run({**tests, "traced": traced, "skipped": "skipped", "well": "passed"})
    before = counted(runs.database, run.number)
    with runs.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM failure_causes")
        connection.exec_driver_sql("UPDATE result_details SET cause = NULL")
        connection.exec_driver_sql("CREATE TABLE causes_before_0016 (execution BIGINT, sequence BIGINT)")
        connection.exec_driver_sql("INSERT INTO causes_before_0016 VALUES (-1, -1)")
    runs.database.upgrade(tmp_path)
    assert counted(runs.database, run.number) == before
    assert len(before) == 2
    runs.database.upgrade(tmp_path)
    assert counted(runs.database, run.number) == before


def test_a_failure_is_known_since_its_first_run(runs: StoredRuns) -> None:
    first = runs.run({"a": "passed", "b": VALUE}, branch="main")
    second = runs.run({"a": VALUE, "b": VALUE}, branch="main")
    runs.run({"a": "passed"}, branch="other")
    third = runs.run({"a": VALUE, "b": "passed"}, branch="main")
    assert streaks(runs.database, second.number) == {"a": (second.number, 1), "b": (first.number, 2)}
    assert streaks(runs.database, third.number) == {"a": (second.number, 2)}


def test_a_run_of_few_tests_or_a_cancelled_one_hides_no_failure(runs: StoredRuns) -> None:
    first = runs.run({"a": VALUE, "b": "passed"}, branch="main")
    runs.run({"b": "passed"}, branch="main")
    runs.run({"a": "skipped"}, branch="main")
    runs.run({"a": "passed"}, branch="main", status="cancelled")
    last = runs.run({"a": VALUE, "b": "passed"}, branch="main")
    assert streaks(runs.database, last.number) == {"a": (first.number, 2)}


def test_an_infrastructure_failure_is_not_compared_with(runs: StoredRuns) -> None:
    good = {f"t{number}": "passed" for number in range(10)}
    first = runs.run(good, branch="main")
    runs.run(dict.fromkeys(good, TIMEOUT), branch="main")
    last = runs.run({**good, "t1": VALUE}, branch="main")
    with runs.database.read() as connection:
        assert series.previous(connection, last.number) == first.number
    assert streaks(runs.database, last.number) == {"t1": (last.number, 1)}


def test_a_new_branch_is_compared_with_its_base(runs: StoredRuns) -> None:
    first = runs.run({"a": VALUE}, branch="main")
    base = runs.run({"a": VALUE, "b": "passed"}, branch="dev")
    own = runs.run({"a": VALUE, "b": VALUE}, branch="topic", baseBranch="dev")
    with runs.database.read() as connection:
        assert series.previous(connection, own.number) == base.number
    assert streaks(runs.database, own.number) == {"a": (first.number, 3), "b": (own.number, 1)}


def test_runs_of_other_suites_environments_and_projects_are_not_compared(runs: StoredRuns) -> None:
    runs.run({"a": VALUE}, branch="main", suite="smoke")
    runs.run({"a": VALUE}, branch="main", environment="staging")
    runs.run({"a": VALUE}, branch="main", project="other")
    own = runs.run({"a": VALUE}, branch="main")
    with runs.database.read() as connection:
        assert series.previous(connection, own.number) == 0
    assert streaks(runs.database, own.number) == {"a": (None, 1)}


def streaks(database: Database, execution: int) -> dict[str, tuple[int | None, int]]:
    """The first run and the number of runs of each failure."""
    with database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT t.title, d.failing_since, d.failing_runs FROM result_details d "
            "JOIN results r ON r.execution = d.execution AND r.sequence = d.sequence "
            f"JOIN tests t ON t.id = r.test_id WHERE d.execution = {execution} AND d.cause IS NOT NULL"
        )
        return {row[0]: (row[1], row[2]) for row in rows}
