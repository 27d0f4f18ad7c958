"""Messages about results: POST /results and GET /executions/{id}/tests."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from pytest_tms.wire.base import (
    ClientMessage,
    Count,
    ExitStatus,
    Identifier,
    Milliseconds,
    NotRunTests,
    ServerMessage,
    SubmittedStatus,
    TestStatus,
    Text,
    Time,
)
from pytest_tms.wire.executions import ReportedCounts

Test = TypeVar("Test")

SetupScope = Literal["class", "module", "package", "session"]


class Artifact(ClientMessage, frozen=True, kw_only=True):
    """A file of a test.

    ``sha256``, ``size`` (in bytes) and ``content_type`` describe its content. They belong to the capability
    ``artifacts``.
    """

    name: Text
    kind: Text
    path: Text
    sha256: Text | None = None
    size: Count | None = None
    content_type: Text | None = None


class Section(ClientMessage, frozen=True, kw_only=True):
    """A text that a plugin added to a test's report, as the log of a browser; ``name`` is its heading."""

    name: Text
    text: Text


class Frame(ClientMessage, frozen=True, kw_only=True):
    """A frame of a traceback.

    ``path`` is relative to the root folder of the tests if it is below it. ``is_own`` distinguishes the code
    of the project from that of libraries.
    """

    path: Text
    line: Count | None = None
    function: Text | None = None
    is_own: bool = False


class Phases(ClientMessage, frozen=True, kw_only=True):
    """Milliseconds of the phases of a test: fixtures are set up and torn down in the first and the last."""

    setup: Milliseconds | None = None
    call: Milliseconds | None = None
    teardown: Milliseconds | None = None


class SharedSetup(ClientMessage, frozen=True, kw_only=True):
    """The setup of a fixture that several tests share, of which the first contains it.

    ``node`` is the node id of the class, module or package that shares it, empty for a session. ``duration``
    is in milliseconds, and part of the duration of the test.
    """

    scope: SetupScope
    node: Text
    fixture: Text
    duration: Milliseconds


Frames = Annotated[list[Frame], msgspec.Meta(max_length=50)]
SharedSetups = Annotated[list[SharedSetup], msgspec.Meta(max_length=100)]


class Attempt(ClientMessage, frozen=True, kw_only=True):
    """One attempt of a test that ran more than once; the last one is the test itself.

    Each has its own output and files.
    """

    outcome: Text
    duration: int | None = None
    error: Text | None = None
    longrepr: Text | None = None
    started_at: Text | None = None
    artifacts: list[Artifact] | None = None
    stdout: Text | None = None
    stderr: Text | None = None
    log: Text | None = None
    sections: list[Section] | None = None
    phases: Phases | None = None
    exception_type: Text | None = None
    frames: Frames | None = None


class Subtest(ClientMessage, frozen=True, kw_only=True):
    """One subtest: ``title`` is its message and parameters."""

    title: Text
    status: TestStatus
    duration: int | None = None
    error: Text | None = None
    longrepr: Text | None = None


class TestResult(ClientMessage, frozen=True, kw_only=True, gc=False):
    """One test of POST /results: the documented fields, then additions.

    ``duration`` is in milliseconds over setup, call and teardown. ``error`` is the message of the exception
    (the reason if a test was skipped), of at most 1000 characters; ``longrepr`` is the traceback.
    ``outcome`` is pytest's outcome (passed, failed, error, skipped, xfailed, xpassed, crashed), ``timeout``,
    or the outcome that another plugin set. ``node_id`` identifies the test over runs.
    ``sections`` are the texts that plugins added to the report. ``exception_type`` and ``frames`` describe
    the exception of a failed test; the first frame is the outermost. ``quarantined`` is whether the failure
    did not fail the run, because the test was in quarantine. ``shared_setups`` belong to the capability
    ``timings``.
    """

    __test__ = False

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=10_000_000)]
    status: TestStatus
    file: Text | None = None
    duration: Milliseconds | None = None
    error: Text | None = None
    retries: Count | None = None
    tags: list[Text] | None = None
    node_id: Text | None = None
    outcome: Text | None = None
    started_at: Text | None = None
    worker: Text | None = None
    owner: Text | None = None
    longrepr: Text | None = None
    stdout: Text | None = None
    stderr: Text | None = None
    log: Text | None = None
    sections: list[Section] | None = None
    parameters: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    artifacts: list[Artifact] | None = None
    attempts: list[Attempt] | None = None
    subtests: list[Subtest] | None = None
    phases: Phases | None = None
    exception_type: Text | None = None
    frames: Frames | None = None
    quarantined: bool | None = None
    shared_setups: SharedSetups | None = None


class ArtifactNames(ClientMessage, frozen=True, kw_only=True):
    """The files of a shard, by kind."""

    screenshots: list[str] | None = None
    videos: list[str] | None = None
    traces: list[str] | None = None
    logs: list[str] | None = None


class ResultsSubmission(ClientMessage, Generic[Test], frozen=True, kw_only=True):
    """POST /results. Only ``execution_id`` and ``shard_id`` are required.

    Generic over its tests, because the server decodes them one by one (``msgspec.Raw``) to keep
    fields that it does not know; everyone else writes ``TestResult``. ``happened_at`` is when the shard
    ended, if it is sent afterwards; it belongs to the capability ``replay``. ``runner`` belongs to the
    capability ``attempts``; ``collected``, ``not_run…`` and ``exit_status`` belong to ``expected``: see
    ``EventData``.
    """

    execution_id: Identifier
    shard_id: Identifier
    provider: str | None = "custom"
    status: SubmittedStatus | None = None
    results: ReportedCounts | None = None
    tests: list[Test] | None = None
    artifacts: ArtifactNames | None = None
    metadata: dict[str, Any] | None = None
    happened_at: Time | None = None
    runner: Identifier | None = None
    collected: Count | None = None
    not_run: Count | None = None
    not_run_reason: Text | None = None
    not_run_tests: NotRunTests | None = None
    exit_status: ExitStatus | None = None
    division: Identifier | None = None


class SubmissionSummary(ServerMessage, frozen=True, kw_only=True):
    """The effect of a submission."""

    tests_processed: int = 0
    artifacts_uploaded: int = 0
    webhooks_triggered: int = 0


class SubmissionAccepted(ServerMessage, frozen=True, kw_only=True):
    """The answer to POST /results."""

    submission_id: str
    execution_id: str = ""
    shard_id: str = ""
    status: str = "accepted"
    processed_at: str = ""
    summary: SubmissionSummary = SubmissionSummary()


class TestPage(ServerMessage, frozen=True, kw_only=True):
    """The answer to GET /executions/{id}/tests: tests as they were sent, in the order of arrival.

    ``cursor`` fetches the next page, and is null on the last one.
    """

    __test__ = False

    execution_id: str
    tests: list[dict[str, Any]] = []
    cursor: str | None = None
