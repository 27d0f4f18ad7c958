"""Lists of the tests of an execution: every filter, every order, page after page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_tms import wire
from pytest_tms.server.services import comparison
from pytest_tms.server.store import failures, run_changes, test_history, test_lists
from pytest_tms.server.store.test_history import HistoryFilter
from pytest_tms.server.store.test_lists import TestFilter
from tests.helpers.stored_runs import StoredRuns, databases


def result(title: str, status: wire.TestStatus = "passed", **fields: Any) -> wire.TestResult:
    """A result of a test."""
    return wire.TestResult(title=title, status=status, **{"file": "tests/test_a.py", **fields})


TESTS = {
    each.title: each
    for each in (
        result("login", tags=["@smoke", 'a"b'], duration=5, worker="gw0", owner="Ada"),
        result("pay", "failed", error="ValueError: Übel 3", duration=900, worker="gw1", outcome="error"),
        result("ship", "failed", error="ValueError: Übel 4", duration=50, file="tests/test_b.py"),
        result("old", "skipped", error="not here", outcome="xfailed", duration=0),
        result("flake", retries=1, duration=400),
    )
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "sqlite encrypted", "postgresql encrypted"])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredRuns]:
    """Runs in one database; the second has all tests."""
    with databases(request.param, tmp_path_factory.mktemp("lists")) as database:
        stored = StoredRuns(database)
        stored.run({"pay": TESTS["pay"]}, branch="main")
        stored.run(TESTS, branch="main")
        stored.add("exec_000002", {"extra": result("extra", duration=5)}, shard="2")
        yield stored


def titles(runs: StoredRuns, limit: int = 100, **wanted: Any) -> list[str]:
    """The titles of all pages of a list."""
    found: list[str] = []
    cursor = None
    with runs.database.read() as connection:
        while True:
            page, cursor = test_lists.find(connection, 2, TestFilter(**wanted), after=cursor, limit=limit)
            assert len(page) <= limit
            found += [each.title for each in page]
            if cursor is None:
                return found


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["login", "pay", "ship", "old", "flake", "extra"]),
        ({"sort": "duration"}, ["pay", "flake", "ship", "extra", "login", "old"]),
        ({"sort": "name"}, ["extra", "flake", "login", "old", "pay", "ship"]),
        ({"status": "failed"}, ["pay", "ship"]),
        ({"status": "passed"}, ["login", "flake", "extra"]),
        ({"status": "skipped"}, ["old"]),
        ({"outcome": "error"}, ["pay"]),
        ({"outcome": "failed"}, ["ship"]),
        ({"outcome": "xfailed"}, ["old"]),
        ({"file": "tests/test_b.py"}, ["ship"]),
        ({"tag": "@smoke"}, ["login"]),
        ({"tag": 'a"b'}, ["login"]),
        ({"tag": "smoke"}, []),
        ({"shard": "2"}, ["extra"]),
        ({"worker": "gw1"}, ["pay"]),
        ({"owner": "Ada"}, ["login"]),
        ({"owner": "ada"}, []),
        ({"is_new": True}, ["ship"]),
        ({"is_flaky": True}, ["flake"]),
        ({"q": "LOGIN"}, ["login"]),
        ({"q": "@smoke"}, ["login"]),
        ({"q": "ada"}, ["login"]),
        ({"q": "test_b.py"}, ["ship"]),
        ({"q": "valueerror"}, ["pay", "ship"]),
        ({"q": "e", "sort": "duration"}, ["pay", "flake", "ship", "extra", "login", "old"]),
        ({"q": "bel 4", "sort": "name"}, ["ship"]),
        ({"q": "%"}, []),
        ({"q": "\x00"}, []),
        ({"q": "e", "status": "failed", "file": "tests/test_a.py"}, ["pay"]),
    ],
)
@pytest.mark.parametrize("limit", [1, 100])
def test_filters_and_orders(
    runs: StoredRuns, wanted: dict[str, Any], expected: list[str], limit: int
) -> None:
    assert titles(runs, limit, **wanted) == expected


def test_tests_of_one_cause(runs: StoredRuns) -> None:
    with runs.database.read() as connection:
        (cause,) = failures.causes(connection, 2, limit=10)
    assert titles(runs, cause=cause.fingerprint) == ["pay", "ship"]
    assert titles(runs, cause=cause.fingerprint, is_new=True, q="Übel", sort="duration") == ["ship"]


def test_a_listed_test_has_what_a_list_shows(runs: StoredRuns) -> None:
    with runs.database.read() as connection:
        (login,), _ = test_lists.find(connection, 2, TestFilter(q="login"))
        (pay,), _ = test_lists.find(connection, 2, TestFilter(outcome="error"))
        (flake,), _ = test_lists.find(connection, 2, TestFilter(is_flaky=True))
    assert (login.tags, login.owner, login.outcome, login.cause) == (["@smoke", 'a"b'], "Ada", "passed", None)
    assert (pay.status, pay.outcome, pay.error) == ("failed", "error", "ValueError: Übel 3")
    assert (pay.is_new, pay.failing_since, pay.failing_runs) == (False, 1, 2)
    assert (flake.attempts, flake.is_flaky) == (2, True)


@pytest.mark.parametrize(
    ("cursor", "sort"),
    [
        ("x", "arrival"),
        ("-1", "arrival"),
        ("1.5", "arrival"),
        ("9" * 30, "arrival"),
        ("MTI", "duration"),
        ("!", "name"),
        ("W10", "name"),
        ("é", "duration"),
        ("W251bGwsMV0", "name"),
    ],
)
def test_a_wrong_cursor_is_refused(runs: StoredRuns, cursor: str, sort: Any) -> None:
    with runs.database.read() as connection, pytest.raises(ValueError, match="Invalid cursor"):
        test_lists.find(connection, 2, TestFilter(sort=sort), after=cursor)


@pytest.mark.parametrize("wanted", [{"status": "odd"}, {"cause": "odd"}])
def test_wrong_values_are_refused(runs: StoredRuns, wanted: dict[str, Any]) -> None:
    with runs.database.read() as connection, pytest.raises(ValueError, match="Invalid"):
        test_lists.find(connection, 2, TestFilter(**wanted))


def test_a_page_searches_a_limited_range(runs: StoredRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_lists, "RANGE", 2)
    assert titles(runs, q="extra") == ["extra"]
    assert titles(runs, status="failed", limit=1) == ["pay", "ship"]
    assert titles(runs) == [*TESTS, "extra"]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoredRuns]:
    """Runs in an empty database."""
    with databases(request.param, tmp_path) as database:
        yield StoredRuns(database)


def test_a_run_is_compared_with_the_previous_one(empty: StoredRuns) -> None:
    first = empty.run(
        {"a": "failed", "b": "failed", "c": "passed", "d": "passed"}, branch="main", commit="c1"
    )
    second = empty.run({"a": "failed", "b": "passed", "c": "failed", "e": "failed"}, branch="main")
    with empty.database.read() as connection:
        alone = run_changes.find(connection, first, limit=20)
        assert (alone.previous, alone.new_failures.count, alone.known_failures.count) == (None, 0, 0)
        found = run_changes.find(connection, second, limit=20)
        assert found.previous is not None
        assert (found.previous.id, found.is_base_branch) == (first.id, False)
        shown = [
            [each.title for each in some.tests]
            for some in (found.new_failures, found.known_failures, found.fixed)
        ]
        assert shown == [["c", "e"], ["a"], ["b"]]
        assert [found.new_failures.count, found.known_failures.count, found.fixed.count] == [2, 1, 1]
        assert [each.commit for each in found.first_runs.values()] == ["c1"]
        limited = run_changes.find(connection, second, limit=1)
        assert (limited.new_failures.count, len(limited.new_failures.tests)) == (2, 1)


def test_any_two_runs_are_compared(empty: StoredRuns) -> None:
    slow = {"quick": result("quick", duration=100), "slow": result("slow", duration=2000)}
    slower = {"quick": result("quick", duration=900), "slow": result("slow", duration=4001)}
    before = empty.run({"a": "failed", "b": "failed", "c": "passed", "gone": "passed", **slow}, branch="x")
    after = empty.run({"a": "failed", "b": "passed", "c": "failed", "new": "failed", **slower}, branch="y")
    with empty.database.read() as connection:
        found = comparison.compare(connection, before, after)
    assert [each.title for each in found.newly_failing.tests] == ["c", "new"]
    assert [each.title for each in found.still_failing.tests] == ["a"]
    assert [each.title for each in found.fixed.tests] == ["b"]
    assert [each.title for each in found.added.tests] == ["new"]
    assert [each.title for each in found.removed.tests] == ["gone"]
    assert [(each.test.title, each.before, each.after) for each in found.slower] == [("slow", 2000, 4001)]


def test_recent_results_are_those_of_the_series(empty: StoredRuns) -> None:
    empty.run({"a": "failed", "b": "passed"}, branch="main")
    empty.run({"a": "passed"}, branch="other")
    empty.run({"a": "passed"}, branch="main")
    run = empty.run({"a": "failed", "b": "skipped"}, branch="main")
    empty.add(run.id, {"a": "passed"}, shard="2")
    topic = empty.run({"a": "passed", "c": "passed"}, branch="topic")
    with empty.database.read() as connection:
        (a, b), _ = test_lists.find(connection, run.number, TestFilter(shard="1"))
        found = test_history.recent(connection, run.number, [a.test_id, b.test_id])
        on_topic = test_history.recent(connection, topic.number, [a.test_id], limit=3)
        nothing = test_history.recent(connection, run.number, [])
    assert [(each.execution, each.status) for each in found[a.test_id]] == [
        (4, "failed"),
        (3, "passed"),
        (1, "failed"),
    ]
    assert [(each.execution, each.status) for each in found[b.test_id]] == [(4, "skipped"), (1, "passed")]
    assert [(each.execution, each.status) for each in on_topic[a.test_id]] == [
        (5, "passed"),
        (4, "failed"),
        (3, "passed"),
    ]
    assert nothing == {}


def test_the_history_of_a_test_is_read_page_by_page(
    empty: StoredRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        branch = "main" if number % 5 else "rare"
        empty.run(
            {"a": "failed: ValueError: 3" if number == 9 else "passed"}, branch=branch, commit=f"c{number}"
        )
    with empty.database.read() as connection:
        (a,), _ = test_lists.find(connection, 1, TestFilter())
        test = test_history.get_test(connection, a.test_id)
        assert test is not None
        assert (test.title, test.node_id) == ("a", "tests/test_all.py::a")
        assert test_history.get_test(connection, 10**12) is None
        page, cursor = test_history.history(connection, a.test_id, limit=4)
        assert [each.commit for each in page] == ["c9", "c8", "c7", "c6"]
        assert (page[0].status, page[0].error) == ("failed", "ValueError: 3")
        assert page[0].cause is not None
        rest, end = test_history.history(connection, a.test_id, before=cursor, limit=100)
        assert [each.commit for each in rest] == ["c5", "c4", "c3", "c2", "c1", "c0"]
        assert end is None
        rare = HistoryFilter(branch="rare")
        assert [each.commit for each in test_history.history(connection, a.test_id, rare)[0]] == ["c5", "c0"]
        assert test_history.history(connection, a.test_id, HistoryFilter(environments=["prod"])) == ([], None)
        monkeypatch.setattr(test_history, "MAX_READ", 3)
        page, cursor = test_history.history(connection, a.test_id, rare, limit=1)
        assert (page, cursor) == ([], 8)
