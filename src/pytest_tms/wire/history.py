"""Messages about more than one execution: the capability ``history``.

``key`` identifies a test over all executions of a server. A rate is from 0 to 1. ``node_id`` is empty
if it was not sent.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from pytest_tms.wire.base import ClientMessage, ServerMessage


class RegisteredTest(ServerMessage, frozen=True, kw_only=True):
    """A test with the statistics of its latest 50 results, without skipped ones and infrastructure failures.

    ``runs`` counts the results that the rates are of; without any they are null. ``flake_rate_low`` and
    ``flake_rate_high`` are the bounds of its 95 % confidence interval. Durations are milliseconds.
    ``flake_trend`` (rising, steady, falling) and ``flake_cost``, the milliseconds of failed attempts, are set
    in a list of flaky tests, where all numbers are those of the executions in question.
    """

    key: str
    node_id: str = ""
    title: str = ""
    file: str = ""
    owner: str = ""
    tags: list[str] = []
    first_seen: str = ""
    last_seen: str = ""
    last_status: str | None = None
    runs: int = 0
    pass_rate: float | None = None
    flake_rate: float | None = None
    flake_rate_low: float | None = None
    flake_rate_high: float | None = None
    flake_trend: str | None = None
    flake_cost: int | None = None
    median_duration: int | None = None
    slow_duration: int | None = None


class RegisteredTestPage(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /tests. ``cursor`` fetches the next page; it is null on the last one."""

    tests: list[RegisteredTest] = []
    cursor: str | None = None


class HistoryResult(ServerMessage, frozen=True, kw_only=True):
    """One result of a test in one execution; ``cause`` is the fingerprint of a failure's cause.

    ``failing_runs`` counts the consecutive runs that failed, with this one; it is null if the test passed.
    """

    execution_id: str
    created_at: str = ""
    test_suite: str = ""
    environment: str = ""
    branch: str = ""
    commit: str = ""
    shard_id: str = ""
    status: str = ""
    outcome: str = ""
    duration: int = 0
    is_flaky: bool = False
    error: str | None = None
    cause: str | None = None
    failing_runs: int | None = None


class TestHistory(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /tests/{key}/history. ``cursor`` fetches the next page; null on the last one.

    ``earlier`` are the tests that were joined to it: names that it had. Their results are among its own.
    """

    __test__ = False

    test: RegisteredTest
    earlier: list[RegisteredTest] = []
    results: list[HistoryResult] = []
    cursor: str | None = None


class FailingSince(ServerMessage, frozen=True, kw_only=True):
    """The execution in which a test began to fail, and how many consecutive runs have failed since."""

    execution_id: str
    created_at: str = ""
    commit: str = ""
    runs: int = 1


class ComparedTest(ServerMessage, frozen=True, kw_only=True):
    """A test in a comparison or in a list of failures; ``since`` is null unless it is known to fail."""

    key: str
    node_id: str = ""
    title: str = ""
    file: str = ""
    shard_id: str = ""
    status: str = ""
    error: str | None = None
    since: FailingSince | None = None


class SlowerTest(ServerMessage, frozen=True, kw_only=True):
    """A passed test that takes over twice as long as before, and over a second; in milliseconds."""

    key: str
    node_id: str = ""
    title: str = ""
    file: str = ""
    before: int = 0
    after: int = 0


class ComparisonCounts(ServerMessage, frozen=True, kw_only=True):
    """The number of tests of each list of a comparison."""

    newly_failing: int = 0
    fixed: int = 0
    still_failing: int = 0
    added: int = 0
    removed: int = 0
    slower: int = 0


class KnownTests(ServerMessage, frozen=True, kw_only=True):
    """The tests that the project of an execution had run before it: GET /executions/{id}/known-tests.

    Each is the first 16 hexadecimal digits of the BLAKE2b hash (16 bytes) of its node id in UTF-8.
    ``is_complete`` is false if the project has more than 200,000 tests; then the first ones are listed.
    """

    hashes: list[str] = []
    is_complete: bool = True


class PossibleRename(ServerMessage, frozen=True, kw_only=True):
    """A test that began, and one that ended and may be its earlier name; ``reason`` says why."""

    key: str
    node_id: str = ""
    earlier_key: str = ""
    earlier_node_id: str = ""
    reason: str = ""


class RenameDecision(ClientMessage, frozen=True, kw_only=True):
    """Whether a test is an earlier one under another name: PUT /tests/{key}/rename."""

    earlier_key: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,17}$")]
    is_same: bool


class RenamedTest(ServerMessage, frozen=True, kw_only=True):
    """The response to PUT /tests/{key}/rename: ``earlier_keys`` are the tests that are joined to the test."""

    key: str
    earlier_keys: list[str] = []


class ExecutionComparison(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /executions/{id}/compare: what changed since the execution ``compared_with``.

    Each list has the first tests, ``counts`` the numbers. ``is_complete`` is false if an execution has more
    failures than are compared (5,000): then the numbers of failures are at least these. ``renames`` are
    added tests that may be removed ones.
    """

    execution_id: str
    compared_with: str = ""
    counts: ComparisonCounts = ComparisonCounts()
    is_complete: bool = True
    newly_failing: list[ComparedTest] = []
    fixed: list[ComparedTest] = []
    still_failing: list[ComparedTest] = []
    added: list[ComparedTest] = []
    removed: list[ComparedTest] = []
    renames: list[PossibleRename] = []
    slower: list[SlowerTest] = []


class ChangedTests(ServerMessage, frozen=True, kw_only=True):
    """The number of tests that changed in one way, and the first of them."""

    count: int = 0
    tests: list[ComparedTest] = []


class RunChanges(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /executions/{id}/changes: what changed since the previous execution.

    ``compared_with`` is the previous execution of the suite, environment and branch, else of the base branch;
    null if there is none: then failures are neither new nor known. Nor are those in quarantine.
    ``is_complete`` is false if an execution has more failures than are compared (5,000): then the numbers are
    at least these.
    """

    execution_id: str
    compared_with: str | None = None
    is_complete: bool = True
    new_failures: ChangedTests = ChangedTests()
    known_failures: ChangedTests = ChangedTests()
    fixed: ChangedTests = ChangedTests()
    flaky: ChangedTests = ChangedTests()
    quarantined: ChangedTests = ChangedTests()


class FailureCause(ServerMessage, frozen=True, kw_only=True):
    """Failures with the same exception, normalised message and location.

    ``is_new`` is whether the previous run of the suite, environment and branch had none of them; null if
    there is no previous run. ``first_seen`` is when the project had the first one. ``tests`` are the first.
    """

    fingerprint: str
    exception: str = ""
    message: str = ""
    location: str = ""
    count: int = 0
    is_new: bool | None = None
    first_seen: str | None = None
    tests: list[ComparedTest] = []


class FailurePage(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /executions/{id}/failures. ``cursor`` fetches the next page; null on the last."""

    execution_id: str
    causes: list[FailureCause] = []
    cursor: str | None = None
