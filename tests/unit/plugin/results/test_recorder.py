"""Reports in any shape, as plugins, hooks, clocks and own loops make them, and what the recorder says of each."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from typing import Any
from unittest.mock import MagicMock

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.plugin.results.recorder import Recorder
from pytest_tms.plugin.results.shard_counts import ShardCounts
from pytest_tms.text import clean

NAME = "test_it.py::test_a"


class Hostile:
    """What a user's object may do when it is shown."""

    def __str__(self) -> str:
        pytest.fail("no text")

    __repr__ = __str__


class Word(str, enum.Enum):
    """An outcome that is a text and more."""

    PASSED = "passed"


def kind(value: object) -> str:
    """An id for a value: the same in every process."""
    return "mock" if isinstance(value, MagicMock) else str(value)[:8]


def report(when: Any = "call", outcome: Any = "passed", nodeid: str = NAME, **more: Any) -> pytest.TestReport:
    given: dict[str, Any] = {"longrepr": None, "duration": 0.5, "start": 1_700_000_000.25, **more}
    location = given.pop("location", ("test_it.py", 1, "test_a"))
    return pytest.TestReport(nodeid, location, {}, outcome, when=when, **given)


def phases(*outcomes: Any, nodeid: str = NAME, **more: Any) -> list[pytest.TestReport]:
    whens = ("setup", "call", "teardown")
    return [report(when, each, nodeid, **more) for when, each in zip(whens, outcomes, strict=True)]


def results(reports: Iterable[pytest.TestReport], **options: Any) -> list[wire.TestResult]:
    """Every result, at once or at the end of a session; each can be sent."""
    recorder = Recorder(str, **options)
    complete = [result for each in reports if (result := recorder.add(each)) is not None]
    complete += recorder.flush([])
    for result in complete:
        msgspec.json.decode(msgspec.json.encode(result), type=wire.TestResult)
    return complete


def only(reports: Iterable[pytest.TestReport], **options: Any) -> wire.TestResult:
    (result,) = results(reports, **options)
    return result


# Which reports there are --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "whens", [["call"], ["setup", "call"], ["setup"], ["teardown"], ["call", "teardown"]]
)
def test_a_test_of_which_only_some_reports_are_logged_has_a_result(whens: list[str]) -> None:
    complete = results(report(when, nodeid=f"{NAME}[{number}]") for number in range(3) for when in whens)
    assert [(each.node_id, each.status) for each in complete] == [
        (f"{NAME}[{n}]", "passed") for n in range(3)
    ]


@pytest.mark.parametrize(
    ("when", "outcome"), [("setup", "error"), ("call", "failed"), ("teardown", "error"), ("body", "error")]
)
def test_one_report_that_failed_is_enough(when: str, outcome: str) -> None:
    result = only([report(when, "failed", longrepr="went wrong")])
    assert (result.status, result.outcome, result.error) == ("failed", outcome, "went wrong")


@pytest.mark.parametrize("when", ["setup", "call", "teardown"])
def test_one_report_that_was_skipped_is_enough(when: str) -> None:
    result = only([report(when, "skipped", longrepr=("test_it.py", 1, "Skipped: why"))])
    assert (result.status, result.error) == ("skipped", "why")


def test_a_test_in_flight_has_no_result() -> None:
    recorder = Recorder(str)
    for each in (*phases("passed", "passed", "passed"), report("setup", nodeid="test_it.py::test_b")):
        recorder.add(each)
    assert list(recorder.flush()) == []
    assert list(recorder.flush()) == []  # nor does it have one the second time
    recorder.add(report("setup", nodeid="test_it.py::test_b"))
    recorder.add(report("call", nodeid="test_it.py::test_b"))
    assert list(recorder.flush(["test_it.py::test_b"])) == []


def test_a_late_report_never_hides_a_failure() -> None:
    shard = ShardCounts("1", 0.0)
    for result in results([*phases("passed", "failed", "passed"), report("teardown"), report("call")]):
        shard.count(result.node_id, result)
    assert shard.counts == {"passed": 0, "failed": 1, "skipped": 0}


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        ("blocked", "blocked"),
        ("PASSED", "PASSED"),
        ("xfailed", "xfailed"),
        (None, "unknown"),
        ("", "unknown"),
        (7, "7"),
        ([], "unknown"),
        (Hostile(), "<Hostile>"),
    ],
)
@pytest.mark.parametrize("when", ["setup", "call", "teardown"])
def test_an_outcome_that_pytest_does_not_have_is_never_passed(when: str, outcome: Any, word: str) -> None:
    reports = phases("passed", "passed", "passed")
    changed = next(each for each in reports if each.when == when)
    changed.outcome, changed.longrepr = outcome, "no licence"
    result = only(reports)
    assert (result.status, result.outcome, result.error) == ("failed", word, "no licence")
    assert result.longrepr == "no licence"


def test_an_outcome_of_another_type_that_equals_pytest_s_is_pytest_s() -> None:
    assert only(phases(Word.PASSED, Word.PASSED, Word.PASSED)).outcome == "passed"


@pytest.mark.parametrize(
    "duration",
    [-1, -0.001, math.nan, math.inf, -math.inf, None, "1", 1e12, 10**400, MagicMock()],
    ids=kind,
)
@pytest.mark.parametrize("when", ["setup", "call", "teardown"])
@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_a_duration_that_cannot_be_is_left_out(outcome: str, when: str, duration: Any) -> None:
    reports = phases("passed", outcome, "passed")
    next(each for each in reports if each.when == when).duration = duration
    result = only(reports)
    assert result.status == outcome
    assert result.duration is None


@pytest.mark.parametrize(
    "start", [-1.0, 0, math.nan, math.inf, 1e18, 253_402_300_800.0, None, "now", MagicMock()], ids=kind
)
@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_a_start_that_cannot_be_is_left_out(outcome: str, start: Any) -> None:
    result = only(phases("passed", outcome, "passed", start=start))
    assert (result.status, result.started_at, result.duration) == (outcome, None, 1500)


def test_patched_clocks_reach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(str)

    def used(*_: object) -> None:
        raise StopIteration

    for name in ("time", "monotonic", "perf_counter", "strftime", "gmtime"):
        monkeypatch.setattr(f"time.{name}", used)
    complete = [recorder.add(each) for each in phases("passed", "failed", "passed")]
    monkeypatch.undo()
    assert complete[2] is not None
    assert complete[2].started_at == "2023-11-14T22:13:20.250Z"


class Broken:
    """A representation whose every use raises."""

    def toterminal(self, writer: object) -> None:
        raise RuntimeError("no terminal")

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("longrepr", "error"),
    [
        (Broken(), "<Broken>"),
        (Hostile(), "<Hostile>"),
        (ValueError("plain"), "ValueError: plain"),
        (ValueError(Hostile()), "ValueError: <ValueError>"),
        (7, "7"),
        (b"bytes", "b'bytes'"),
        ((), None),
        ("", None),
        (None, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failing_test_keeps_its_error_whatever_represents_it(longrepr: Any, error: str | None) -> None:
    result = only(phases("passed", "failed", "passed", longrepr=longrepr))
    assert (result.status, result.error) == ("failed", error)


@pytest.mark.parametrize(
    "wasxfail", [Hostile(), 7, None, True, "", ValueError()], ids=lambda v: type(v).__name__
)
def test_a_reason_of_an_xfail_may_be_anything(wasxfail: Any) -> None:
    reports = phases("passed", "skipped", "passed")
    reports[1].wasxfail = wasxfail
    result = only(reports)
    assert (result.status, result.outcome) == ("skipped", "xfailed")


def test_properties_that_cannot_be_shown_cost_a_test_no_error() -> None:
    properties: Any = [("a", Hostile()), (Hostile(), 1), ("odd",), "odd", None, ("ok", 2)]
    result = only(phases("passed", "failed", "passed", longrepr="bad", user_properties=properties))
    assert (result.error, result.properties) == ("bad", {"a": "<Hostile>", "<Hostile>": 1, "ok": 2})


def test_sections_that_are_no_texts_cost_a_test_no_error() -> None:
    sections: Any = [("Captured stdout call", 7), (None, Hostile()), "odd", ("a", "b", "c")]
    result = only(phases("passed", "failed", "passed", longrepr="bad", sections=sections))
    assert (result.error, result.stdout) == ("bad", "7")
    assert result.sections == [wire.Section(name="None", text="<Hostile>")]


def test_sections_of_other_plugins_are_kept() -> None:
    sections = [
        ("Captured stdout call", "out"),
        ("Captured browser log call", "clicked"),
        ("Captured log call", "logged"),
        ("Screenshot", "at /tmp"),
    ]
    result = only(phases("passed", "passed", "passed", sections=sections))
    assert (result.stdout, result.log) == ("out", "logged")
    assert result.sections == [
        wire.Section(name="Captured browser log call", text="clicked"),
        wire.Section(name="Screenshot", text="at /tmp"),
    ]


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_properties_keep_their_types(outcome: str) -> None:
    recorded: list[tuple[str, object]] = [
        ("order", 4711),
        ("ratio", 0.5),
        ("on", True),
        ("none", None),
        ("nan", math.nan),
        ("inf", -math.inf),
        ("list", [1, "a", None, (2.5, {"k": math.inf})]),
        ("large", 2**60),
        ("other", {1}),
    ]
    assert only(phases("passed", outcome, "passed", user_properties=recorded)).properties == {
        "order": 4711,
        "ratio": 0.5,
        "on": True,
        "none": None,
        "nan": "nan",
        "inf": "-inf",
        "list": [1, "a", None, [2.5, {"k": "inf"}]],
        "large": str(2**60),
        "other": "{1}",
    }


def test_a_value_that_holds_itself_or_too_much_is_bounded() -> None:
    cycle: list[object] = []
    cycle += [cycle, cycle]
    recorded: list[tuple[str, object]] = [
        ("cycle", cycle),
        ("long", [[0] * 5000] * 5000),
        ("text", "x" * 50_000),
    ]
    result = only(phases("passed", "passed", "passed", user_properties=recorded))
    assert len(msgspec.json.encode(result)) < 40_000


# Texts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("ValueError: one line", "ValueError: one line"),
        ("Failed: a\nb", "Failed: a\nb"),
        ("Failed: a\r\n\r\nb\n\n", "Failed: a\n\nb"),
        ("ValueError:\n\nboom", "ValueError: boom"),
        ("\n\n  ValueError: late", "ValueError: late"),
        ("package.Error:\n  a\n  b", "package.Error: a\n  b"),
        ("AssertionError: first\nassert 1 == 2", "AssertionError: first"),
        ("assert 1 == 2\n +  where 1 = f()", "assert 1 == 2"),
        ("AssertionError:\n\nmore\nassert 0", "AssertionError: more"),
        ("\x1b[1m\x1b[31mValueError: red\x1b[0m", "ValueError: red"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07: bad", "link: bad"),
        ("lone \x1b escape", "lone \x1b escape"),
        ("SystemExit: 3", "SystemExit: 3"),
        ("lone \udce4", "lone \\udce4"),
    ],
)
def test_an_error_is_the_message_of_the_exception(message: str, error: str) -> None:
    longrepr = MagicMock(spec=["reprcrash", "__str__"])
    longrepr.reprcrash.message = message
    assert only(phases("passed", "failed", "passed", longrepr=longrepr)).error == error


TRACEBACK = """
    def test_it():
>       f()

test_it.py:3:
_ _ _ _
E   Failed: first
E   second

test_it.py:1: Failed
"""


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (TRACEBACK, "Failed: first\nsecond"),
        ("Traceback (most recent call last):\n  File 'a'\n    f()\nKeyError: 'x'\n", "KeyError: 'x'"),
        (
            "file a.py, line 1\nE       fixture 'x' not found\n>       available fixtures: y",
            "fixture 'x' not found",
        ),
        (
            "001 \n002 Add.\n003 >>> 2 + 2\nExpected:\n    5\nGot:\n    4\n\na.py:3: DocTestFailure",
            "Expected: 5 Got: 4",
        ),
        (
            "003 >>> 1/0\nUNEXPECTED EXCEPTION: ZeroDivisionError('x')\nTraceback",
            "UNEXPECTED EXCEPTION: ZeroDivisionError('x')",
        ),
        (
            "\x1b[91mNotebook cell execution failed\x1b[0m\nCell 2: differs",
            "Notebook cell execution failed\nCell 2: differs",
        ),
        ("worker 'gw0' crashed while running 'x'", "worker 'gw0' crashed while running 'x'"),
    ],
    ids=["traceback", "native", "fixture", "doctest", "doctest-raises", "nbval", "crash"],
)
def test_an_error_is_found_in_a_traceback_that_is_only_text(text: str, error: str) -> None:
    assert only(phases("passed", "failed", "passed", longrepr=text)).error == error


def test_the_first_line_of_a_traceback_keeps_its_indentation() -> None:
    result = only(phases("passed", "failed", "passed", longrepr=TRACEBACK))
    assert (result.longrepr or "").startswith("    def test_it():\n>       f()\n")


@pytest.mark.parametrize("message", ["begins" + "x" * 5000 + "ends", "begins\n" + "x\n" * 5000 + "ends"])
def test_a_message_over_the_limit_keeps_its_beginning_and_its_end(message: str) -> None:
    error = only(phases("passed", "failed", "passed", longrepr=message)).error or ""
    assert len(error) <= 1000
    assert error.startswith("begins")
    assert error.endswith("ends")
    assert "characters left out" in error


def test_a_traceback_over_the_limit_keeps_its_error_line() -> None:
    recorder = Recorder(lambda text: clean(text, limit=400))
    longrepr = "frame\n" * 500 + "E   ValueError: at the end"
    (_, _, result) = [recorder.add(each) for each in phases("passed", "failed", "passed", longrepr=longrepr)]
    assert result is not None
    assert (result.longrepr or "").endswith("E   ValueError: at the end")


# Attempts -----------------------------------------------------------------------------------------


def test_each_attempt_has_its_own_output() -> None:
    def lines(*numbers: int) -> list[tuple[str, str]]:
        return [("Captured stdout call", f"try {number}\n") for number in numbers]

    first = phases("passed", "rerun", "passed", longrepr="bad", sections=lines(1))
    second = phases("passed", "rerun", "passed", longrepr="bad", sections=lines(1, 2))  # pytest repeats them
    third = phases("passed", "passed", "passed", sections=lines(1, 2, 3))
    result = only([*first, *second, *third])
    assert result.stdout == "try 3\n"
    assert [attempt.stdout for attempt in result.attempts or ()] == ["try 1\n", "try 2\n", "try 3\n"]


def test_an_attempt_without_output_does_not_show_that_of_another() -> None:
    loud = phases("passed", "rerun", "passed", longrepr="bad", sections=[("Captured stderr call", "loud\n")])
    quiet = phases("passed", "passed", "passed", sections=[("Captured stderr call", "loud\n")])
    result = only([*loud, *quiet])
    assert (result.stderr, [each.stderr for each in result.attempts or ()]) == (None, ["loud\n", None])


# Identity -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("worker", ["", "gw0"])
@pytest.mark.parametrize(
    "nodeids",
    [
        ["users.yaml::mail@home", "users.yaml::mail@work"],
        ["test_it.py::test_a[x]@home", "test_it.py::test_a[x]@work"],
        ["test_it.py::test_a[a::b]", "test_it.py::test_a[a::c]"],
        ["test_it.py::test_a[[x]]", "test_it.py::test_a[[x]@y]"],
        ["test_it.py::test_a[x #2]", "test_it.py::test_a[x @gw1]"],
        ["Pays by card.\nTwice.", "Pays by card.\nOnce."],
    ],
)
def test_no_character_of_a_name_makes_two_tests_one(nodeids: list[str], worker: str, grouped: bool) -> None:
    reports = []
    for nodeid in nodeids:
        for each in phases("passed", "passed", "passed", nodeid=nodeid):
            if worker:
                vars(each).update(worker_id=worker)
            if each.when == "setup":
                vars(each).update(tms={"group": ""} if grouped else {})
            reports.append(each)
    shard = ShardCounts("1", 0.0)
    counted = [shard.count(result.node_id, result) for result in results(reports, grouped=grouped)]
    assert counted == [(1, False), (2, False)]
    assert shard.counts["passed"] == 2


def test_the_group_that_xdist_appended_is_taken_off_exactly() -> None:
    reports = phases("passed", "passed", "passed", nodeid="users.yaml::mail@home@group")
    vars(reports[0]).update(tms={"group": "@group"})
    assert only(reports, grouped=True).node_id == "users.yaml::mail@home"
    crashed = report("???", "failed", nodeid=f"{NAME}@group", longrepr="worker 'gw0' crashed")
    assert only([crashed], grouped=True).node_id == NAME


def test_counts_do_not_depend_on_what_a_hook_leaves_as_node_id() -> None:
    shard = ShardCounts("1", 0.0)
    reports = [each for n in range(3) for each in phases("passed", "passed", "passed", nodeid=f"{NAME}[{n}]")]
    for number, result in enumerate(results([*reports, *phases("passed", "failed", "passed")])):
        changed = msgspec.structs.replace(result, node_id=[None, "same"][number % 2])
        shard.count(result.node_id, changed)
    assert shard.counts == {"passed": 3, "failed": 1, "skipped": 0}


@pytest.mark.parametrize(
    ("nodeid", "location", "file", "title"),
    [
        (NAME, ("test_it.py", 1, "test_a"), "test_it.py", "test_a"),
        (NAME, ("base.py", 1, "test_a"), "test_it.py", "test_a"),
        ("a b/test_it.py::test_a", ("base.py", 1, "x"), "a b/test_it.py", "test_a"),
        ("Pays by card.\n\n  Twice.", ("test_it.py", 1, "x"), "test_it.py", "Pays by card. Twice."),
        ("Pays by card", ("test_it.py", 1, "x"), "test_it.py", "Pays by card"),
        ("Given :: then", ("test_it.py", 1, "x"), "test_it.py", "Given :: then"),
        ("notes.md", ("notes.md", None, "x"), "notes.md", "notes.md"),
        ("", ("", None, ""), "", "(a test without a name)"),
        (" ", ("test_it.py", None, ""), "test_it.py", "(a test without a name)"),
        (NAME, None, "test_it.py", "test_a"),
    ],
)
@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_a_test_has_a_file_and_a_title_whatever_its_node_id(
    outcome: str, nodeid: str, location: Any, file: str, title: str
) -> None:
    result = only(phases("passed", outcome, "passed", nodeid=nodeid, location=location))
    assert (result.file, result.title, result.status) == (file, title, outcome)


def test_what_we_add_to_a_report_is_taken_off_it() -> None:
    reports = phases("passed", "failed", "passed", longrepr="bad")
    for each in reports:
        vars(each).update(tms={"tags": ["@smoke"]})
    assert only(reports).tags == ["@smoke"]
    assert not any("tms" in each._to_json() for each in reports)
