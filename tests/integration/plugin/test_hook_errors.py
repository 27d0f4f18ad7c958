"""Errors of ours and of the user's hooks: the run ends as it would have, and one line says what broke."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from pytest_tms import wire
from pytest_tms.client import TmsClient
from pytest_tms.errors import Unreachable
from pytest_tms.plugin import activation
from pytest_tms.plugin.hook_errors import HookErrors
from pytest_tms.plugin.results import markers, outcomes, recorder
from pytest_tms.plugin.results.enrichment import Enricher
from pytest_tms.plugin.results.recorded_properties import RecordedProperties
from pytest_tms.plugin.results.recorder import Recorder
from pytest_tms.plugin.results.reported_attachments import ReportedAttachments
from pytest_tms.plugin.session import lifecycle
from pytest_tms.plugin.session.lifecycle import ReportingSession
from pytest_tms.plugin.session.run_journal import RunJournal
from pytest_tms.plugin.xdist.workers import Workers
from pytest_tms.sender.launch import SenderProcess
from tests.helpers.processes import TmsServer

SUITE = """
import pytest

@pytest.mark.smoke
@pytest.mark.parametrize("n", range(3))
def test_passes(n, tms): tms.attach(b"text", "a.txt")

def test_fails(record_property):
    record_property("key", "value")
    assert 0, "bad"
"""
NAMES = ["test_fails", *(f"test_passes[{n}]" for n in range(3))]

HOOKS = [
    (kind, name)
    for kind in (ReportingSession, Enricher, ReportedAttachments, RecordedProperties, Workers)
    for name, hook in vars(kind).items()
    if name.startswith(("pytest_", "after_pytest_")) and not inspect.isgeneratorfunction(hook)
]
"""A wrapper only yields, and leaves what can fail to its ``after_`` method."""
NOT_CALLED = {"pytest_keyboard_interrupt"}
LOST = {(ReportingSession, "pytest_sessionstart"), (ReportingSession, "pytest_runtest_logreport")}
"""Where a hook that always fails leaves nothing to deliver."""
UNSEEN = {(ReportingSession, "after_pytest_terminal_summary")}
"""Where it leaves no link to what was delivered."""


class Boom(Exception):
    """Not an error that anyone expects."""


@pytest.fixture
def reported(
    tms: TmsServer, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs the suite in this process, where its parts can be broken; gives the result and what is stored."""
    monkeypatch.setenv("TMS_API_TOKEN", tms.token)
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    pytester.makeini("[pytest]\nmarkers = smoke")
    pytester.makepyfile(test_it=SUITE)

    def run(*options: str) -> tuple[pytest.RunResult, list[dict[str, Any]]]:
        result = pytester.runpytest_inprocess("--tms-url", tms.url, *options)
        executions = set(re.findall(r"/(exec_\w+)", result.stdout.str()))
        with tms.client() as client:
            return result, [test for name in executions for test in client.iter_tests(name)]

    return run


def broken(original: Callable[..., Any]) -> Callable[..., Any]:
    """A hook with the signature and options of ``original`` that raises."""

    @functools.wraps(original)
    def hook(*_: Any) -> None:
        raise Boom("injected")

    return hook


def named(result: pytest.RunResult, what: str) -> list[str]:
    return [
        line
        for line in result.outlines
        if what in line and line.startswith(("problem: ", "warning: ", "tms: "))
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), HOOKS, ids=lambda value: getattr(value, "__name__", value))
def test_a_hook_of_ours_that_raises_is_one_line(
    kind: type, name: str, reported: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, name, broken(getattr(kind, name)))
    distributed = ("-n", "1") if kind is Workers or name == "pytest_testnodedown" else ()
    result, stored = reported(*distributed)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3, failed=1)
    assert "INTERNALERROR" not in result.stdout.str()
    said = named(result, f"pytest-tms in {name.removeprefix('after_')} failed (Boom: injected)")
    # Before the tests and after them, as for settings that cannot be used; everywhere else once, at the end.
    times = 2 if name == "pytest_sessionstart" else int(name not in NOT_CALLED)
    assert len(said) == times, result.outlines
    if (kind, name) not in LOST | UNSEEN:
        assert sorted(test["title"] for test in stored) == NAMES
        assert sorted(test["status"] for test in stored) == ["failed", "passed", "passed", "passed"]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Recorder, "add"),
        (Recorder, "_add_details"),
        (Recorder, "_build"),
        (recorder, "build_result"),
        (recorder, "split_output"),
        (recorder, "split_properties"),
        (recorder, "is_final"),
        (outcomes, "attempt_verdict"),
        (outcomes, "split_output"),
        (Enricher, "_describe"),
        (markers, "parameter"),
        (lifecycle, "opening_line"),
        (RunJournal, "write_result"),
        (lifecycle, "shard_ends"),
        (lifecycle, "summarise"),
        (HookErrors, "protect"),
        (activation, "resolve"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_any_part_of_ours_may_break_and_the_run_ends_as_ever(
    owner: Any, name: str, reported: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(*_: Any, **__: Any) -> None:
        raise Boom("injected")

    monkeypatch.setattr(owner, name, boom)
    result, stored = reported()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3, failed=1)
    assert "INTERNALERROR" not in result.stdout.str()
    if owner in (Recorder, recorder, outcomes, Enricher, markers):
        assert sorted(test["title"] for test in stored) == NAMES
        assert sorted(test["status"] for test in stored) == ["failed", "passed", "passed", "passed"]


@pytest.mark.parametrize(
    "error", [Boom("injected"), Unreachable("it is gone")], ids=["defect", "unreachable"]
)
@pytest.mark.parametrize("name", ["create_execution", "send_event", "submit_results"])
def test_a_call_that_always_fails_is_one_line(
    name: str, error: Exception, reported: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(TmsClient, name, boom)
    monkeypatch.setattr(SenderProcess, "start", lambda self: False)
    result, _ = reported("-o", "tms_deadline=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3, failed=1)
    assert len([line for line in result.outlines if line.startswith("problem: ")]) == 1
    result.stdout.fnmatch_lines(["*4 results*", "*kept; send with: tms replay *"])


@pytest.mark.parametrize(
    "name", ["execution.started", "shard.started", "shard.completed", "execution.completed"]
)
def test_an_event_that_always_fails_is_one_line(
    name: str, reported: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    send = TmsClient.send_event

    def boom(self: TmsClient, event: wire.Event, **more: Any) -> Any:
        if event.event == name:
            raise Boom("injected")
        return send(self, event, **more)

    monkeypatch.setattr(TmsClient, "send_event", boom)
    monkeypatch.setattr(SenderProcess, "start", lambda self: False)
    result, _ = reported("-o", "tms_deadline=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3, failed=1)
    assert len([line for line in result.outlines if line.startswith("problem: ")]) == 1


# The user's hooks ---------------------------------------------------------------------------------

HOOK = """
import pytest

class Odd:
    pass

def pytest_tms_{name}({arguments}):
    {body}
"""


def write_hook(pytester: pytest.Pytester, name: str, arguments: str, body: str) -> None:
    pytester.makeconftest(HOOK.format(name=name, arguments=arguments, body=body))


def test_hooks_change_what_is_sent(
    reported: Callable[..., Any], pytester: pytest.Pytester, tms: TmsServer
) -> None:
    pytester.makeconftest(
        """
        def pytest_tms_execution(config, request):
            request["testSuite"] = "smoke"
            request.setdefault("metadata", {})["team"] = "checkout"

        def pytest_tms_result(report, result):
            result["title"] = result["title"].upper()
            result.setdefault("tags", []).append(f"@{report.when}")

        def pytest_tms_finished(config, summary):
            print("told", summary.delivered, summary.report_url)
        """
    )
    result, stored = reported("-s")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {test["title"] for test in stored} == {name.upper() for name in NAMES}
    assert {tag for test in stored for tag in test["tags"]} == {"@smoke", "@teardown"}
    (found,) = re.findall(r"told 4 \S+/(exec_\w+)", result.stdout.str())
    with tms.client() as client:
        execution = client.get_execution(found)
    assert execution.test_suite == "smoke"
    assert execution.metadata["team"] == "checkout"


def test_a_hook_in_a_folder_of_its_own_is_called(
    reported: Callable[..., Any], pytester: pytest.Pytester
) -> None:
    """Its conftest is loaded after the run has begun."""
    folder = pytester.mkdir("sub")
    (folder / "conftest.py").write_text("def pytest_tms_result(result): result['tags'] = ['@seen']\n")
    (folder / "test_sub.py").write_text("def test_sub(): pass\n")
    _, stored = reported()
    assert [test["tags"] for test in stored if test["title"] == "test_sub"] == [["@seen"]]


@pytest.mark.parametrize(
    ("name", "arguments"), [("execution", "request"), ("result", "result"), ("finished", "summary")]
)
@pytest.mark.parametrize(
    "body", ["raise ValueError('a user\\'s mistake')", "pytest.skip('no')", "pytest.fail('no')", "assert 0"]
)
def test_a_hook_that_raises_is_named_once_and_costs_nobody_a_result(
    name: str, arguments: str, body: str, reported: Callable[..., Any], pytester: pytest.Pytester
) -> None:
    write_hook(pytester, name, arguments, body)
    result, stored = reported()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert sorted(test["title"] for test in stored) == NAMES
    assert len(named(result, f"the hook pytest_tms_{name} failed (")) == 1


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("result", "result['properties'] = {'odd': Odd()}"),
        ("result", "result['status'] = 'broken'"),
        ("result", "result['duration'] = -1"),
        ("result", "result['title'] = None"),
        ("result", "result.clear()"),
        ("result", "result['tags'] = 7"),
        ("execution", "request['testSuite'] = None"),
        ("execution", "request['metadata'] = {Odd(): Odd()}"),
        ("execution", "request.clear()"),
    ],
)
def test_junk_that_a_hook_leaves_behind_is_not_sent(
    name: str, body: str, reported: Callable[..., Any], pytester: pytest.Pytester
) -> None:
    write_hook(pytester, name, "request" if name == "execution" else "result", body)
    result, stored = reported()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert sorted(test["title"] for test in stored) == NAMES
    assert len(named(result, f"the hook pytest_tms_{name} failed (")) == 1


@pytest.mark.parametrize(
    "body",
    [
        "result['title'] = 'lone \\udce4'",
        "result['properties'] = {'x': float('nan')}",
        "result['unknown'] = 1",
    ],
)
def test_what_json_can_hold_somehow_is_sent(
    body: str, reported: Callable[..., Any], pytester: pytest.Pytester
) -> None:
    write_hook(pytester, "result", "result", body)
    result, stored = reported()
    assert len(stored) == 4
    assert named(result, "failed (") == []


@pytest.mark.slow
def test_what_breaks_in_a_worker_is_told_by_its_controller(
    reported: Callable[..., Any], pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        import os
        from pytest_tms.plugin.results import enrichment
        if os.environ.get("PYTEST_XDIST_WORKER"):
            enrichment.Enricher._describe = None
        """
    )
    result, stored = reported("-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert sorted(test["title"] for test in stored) == NAMES
    assert len(named(result, "pytest-tms in pytest_runtest_logreport failed (TypeError")) == 1
