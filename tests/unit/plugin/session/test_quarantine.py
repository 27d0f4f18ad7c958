"""Which failures of a session are covered by the quarantine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_tms import wire
from pytest_tms.plugin.session.quarantine import SessionQuarantine
from pytest_tms.sender.launch import SenderState
from pytest_tms.sender.quarantine import write_list

UNTIL = "2100-01-01T23:59:59.999Z"


def session(path: Path | None, *names: str, state: SenderState | None = None) -> SessionQuarantine:
    """A session whose list has these names, if ``state`` says that it was fetched."""
    if path is not None:
        entries = [wire.QuarantineEntry(id="1", node_id=name, until=UNTIL, owner="ada") for name in names]
        write_list(path, entries)
    return SessionQuarantine(
        path,
        is_offline=False,
        read_state=lambda: state or SenderState(quarantine="fetched"),
        mask=lambda name: name.replace("secret", "***"),
        clock=time.time,
    )


def fail(quarantine: SessionQuarantine, nodeid: str, name: str = "", reports: int = 1) -> wire.TestResult:
    for _ in range(reports):
        quarantine.count_report(nodeid)
    return quarantine.mark(nodeid, wire.TestResult(title="t", status="failed", node_id=name or nodeid))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "list.json"


def test_failures_of_listed_tests_are_covered(path: Path) -> None:
    quarantine = session(path, "a", "b")
    assert not quarantine.covers(0)
    assert fail(quarantine, "a", reports=2).quarantined
    assert fail(quarantine, "b").quarantined
    assert quarantine.covers(3)
    assert [(each.node_id, each.until, each.owner) for each in quarantine.failures()] == [
        ("a", "2100-01-01", "ada"),
        ("b", "2100-01-01", "ada"),
    ]


def test_a_failure_of_another_test_or_of_another_plugin_is_not_covered(path: Path) -> None:
    quarantine = session(path, "a")
    fail(quarantine, "a")
    assert not quarantine.covers(2)
    assert fail(quarantine, "b").quarantined is None
    assert not quarantine.covers(2)
    assert [each.node_id for each in quarantine.failures()] == ["a"]


def test_a_test_is_found_by_the_name_under_which_it_is_sent(path: Path) -> None:
    quarantine = session(path, "t[***]", "renamed", "t")
    fail(quarantine, "t[secret]")
    fail(quarantine, "original", "renamed")
    fail(quarantine, "t", "t @gw1 #2")
    assert quarantine.covers(3)


def test_a_test_without_a_result_is_found_by_its_node_id(path: Path) -> None:
    quarantine = session(path, "a")
    quarantine.count_report("a")
    quarantine.load()
    assert quarantine.covers(1)


def test_results_that_were_written_before_the_list_was_known_are_named_once(path: Path) -> None:
    state = SenderState()
    quarantine = session(path, "a", state=state)
    assert fail(quarantine, "a").quarantined is None
    assert fail(quarantine, "b").quarantined is None
    assert quarantine.is_due
    quarantine.load()
    assert quarantine.take_unmarked() == {"a"}
    assert quarantine.take_unmarked() == set()


def test_a_refused_list_is_not_replaced_by_one_that_was_kept(path: Path) -> None:
    state = SenderState(quarantine="refused", quarantine_problem="no permission")
    quarantine = session(path, "a", state=state)
    assert quarantine.warnings() == []
    fail(quarantine, "a")
    quarantine.load()
    assert not quarantine.covers(1)
    assert quarantine.warnings() == ["no permission"]


def test_nothing_is_covered_if_it_is_switched_off() -> None:
    quarantine = session(None)
    assert fail(quarantine, "a").quarantined is None
    assert not quarantine.is_due
    assert not quarantine.covers(1)
    assert quarantine.failures() == []
