"""The end of a run that was killed."""

from __future__ import annotations

from pytest_tms.journal import lines
from pytest_tms.journal.lines import (
    VERSION,
    AnyLine,
    Begun,
    Closed,
    Collected,
    OnWorker,
    Opened,
    ShardEnded,
    ShardStarted,
    TimeLimit,
    decode,
    encode_tested,
)
from pytest_tms.sender.run_progress import RunProgress
from pytest_tms.sender.unfinished_runs import KILLED, TIMED_OUT, closing_lines
from pytest_tms.wire.executions import ExecutionRequest

OPENED = Opened(version=VERSION, run="r", request=ExecutionRequest(test_suite="all", environment="dev"))
START = 1_700_000_000_000
"""Milliseconds since 1970 of 2023-11-14T22:13:20Z."""
AT_START = "2023-11-14T22:13:20.000Z"
AFTER_10_S = "2023-11-14T22:13:30.000Z"


def run_of(*following: AnyLine) -> RunProgress:
    run = RunProgress()
    for line in (ShardStarted(shard="1", at=AT_START), *following):
        run.note(line)
    return run


def result_line(n: int) -> lines.Tested:
    line = decode(encode_tested(b'"1"', b'{"title":"a","status":"passed"}', n=n, test_number=n))
    assert isinstance(line, lines.Tested)
    return line


def test_a_killed_run_names_the_tests_in_flight() -> None:
    run = run_of(
        Collected(shard="1", tests=5),
        Begun(n=1, name="a.py::a", t=START),
        result_line(1),
        Begun(n=2, name="a.py::b", t=START),
        OnWorker(n=2, worker="gw1", shard="1"),
    )
    end, closed = map(decode, closing_lines(run, OPENED, AFTER_10_S))
    assert isinstance(end, ShardEnded)
    assert (end.status, end.reason) == ("error", f"{KILLED}; running: a.py::b")
    assert (end.collected, end.not_run, end.not_run_tests) == (5, 4, ["a.py::b"])
    assert end.duration == 10_000
    assert isinstance(closed, Closed)
    assert (closed.event, closed.status) == ("execution.failed", "failed")


def test_a_test_that_exceeded_its_limit_has_a_result() -> None:
    run = run_of(
        Begun(n=1, name="a.py::slow", t=START),
        TimeLimit(n=1, seconds=10),
        Begun(n=2, name="a.py::other", t=START),
        TimeLimit(n=2, seconds=60),
    )
    test, end, closed = map(decode, closing_lines(run, OPENED, AFTER_10_S))
    assert isinstance(test, lines.Tested)
    assert b'"outcome":"timeout"' in bytes(test.test)
    assert b'"nodeId":"a.py::slow"' in bytes(test.test)
    assert isinstance(end, ShardEnded)
    assert (end.status, end.reason) == ("cancelled", f"{TIMED_OUT}; running: a.py::other")
    assert isinstance(closed, Closed)
    assert closed.event == "execution.cancelled"


def test_a_shard_that_has_ended_gets_no_second_end() -> None:
    run = run_of(decode(b'{"is":"end","shard":"1","status":"completed","results":{}}'))
    (closed,) = map(decode, closing_lines(run, OPENED, AFTER_10_S))
    assert isinstance(closed, Closed)


def test_a_run_that_joined_an_execution_does_not_end_it() -> None:
    opened = Opened(version=VERSION, run="r", execution="exec_1")
    closed = decode(closing_lines(run_of(), opened, AFTER_10_S)[-1])
    assert isinstance(closed, Closed)
    assert closed.event is None
