"""Messages about the durations of tests, by which runners divide them: the capability ``timings``."""

from __future__ import annotations

from pytest_tms.wire.base import ServerMessage
from pytest_tms.wire.results import SharedSetup


class TestDuration(ServerMessage, frozen=True, kw_only=True, gc=False):
    """The median duration of a test in milliseconds, without shared setups; 0 if it was only skipped."""

    __test__ = False

    node_id: str
    duration: int = 0


class Timings(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /timings. ``executions`` are those that the durations are of, the newest first.

    ``shared_setups`` are the median durations of the setups of shared fixtures, in one process.
    """

    tests: list[TestDuration] = []
    shared_setups: list[SharedSetup] = []
    executions: list[str] = []


class ExecutionPlan(ServerMessage, frozen=True, kw_only=True):
    """The response to POST /executions/{id}/plan: the durations by which every shard divides the tests.

    The first request fixes them, and every later one returns the same. ``shared_setups`` are as in
    ``Timings``. ``executions`` are those that the
    durations are of; without any, shards divide the tests by their number.
    """

    execution_id: str
    created_at: str = ""
    tests: list[TestDuration] = []
    shared_setups: list[SharedSetup] = []
    executions: list[str] = []
