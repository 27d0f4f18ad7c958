"""From a journal to the TMS: each line becomes the calls that report it, in order, acknowledged one by one.

The same code delivers a run while it goes on, what an earlier run left behind, and what was written offline.
It raises what the client raises: the caller decides when to try again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pytest_tms.client import TmsClient
from pytest_tms.errors import Conflict, InFlight
from pytest_tms.journal.acknowledgements import Acks
from pytest_tms.journal.lines import (
    TESTED,
    VERSION,
    AnyLine,
    Closed,
    Collected,
    Opened,
    ShardEnded,
    ShardStarted,
    Tested,
    decode,
)
from pytest_tms.journal.reader import Journal
from pytest_tms.journal.uploads import Uploads
from pytest_tms.masking.masker import Masker
from pytest_tms.sender.artifacts import FileDescriber
from pytest_tms.sender.batches import Batch, ReadLine, group_lines
from pytest_tms.sender.executions import REJECTIONS, ExecutionReporter, JoinedExecution, join_execution
from pytest_tms.sender.result_sender import ResultSender, SendOutcome
from pytest_tms.sender.run_progress import RunProgress, test_identity
from pytest_tms.sender.unfinished_runs import closing_lines
from pytest_tms.wire.base import MAX_NOT_RUN_TESTS, EventName
from pytest_tms.wire.events import EventAccepted, EventData
from pytest_tms.wire.results import ResultsSubmission

MAX_RUNNING = 100
"""Tests in flight that one message names."""
MAX_SHARDS = 1000
"""Shards that one message names."""


class Uploader:
    """Delivers one journal.

    ``delivered`` counts the tests that the TMS has, ``refused`` has a sentence about each that it rejected,
    ``warnings`` about other messages that it rejected and about files. ``uploads`` are the files of results
    that were sent, for ``artifacts.FileUploads``. ``report_interval`` are the seconds between two
    reports of progress, if they do not follow the TMS. With ``is_replay`` messages have the time of their
    event, if the TMS has the capability ``replay``. ``overrides`` replaces fields of an execution that is yet
    to be created. ``masker`` masks the tokens that the TMS issues, and is extended by them.
    """

    def __init__(
        self,
        client: TmsClient,
        journal: Journal,
        *,
        webhook_token: str = "",
        is_replay: bool = False,
        overrides: Mapping[str, str] | None = None,
        report_interval: float | None = None,
        masker: Masker | None = None,
    ) -> None:
        self.acks: Acks = journal.acks()
        self.delivered = self.acks.delivered
        self.refused = list(self.acks.refused)
        self.warnings: list[str] = []
        self.uploads = Uploads(journal.path)
        self._describer: FileDescriber | None = None
        self._client = client
        self._journal = journal
        self._webhook_token = webhook_token
        self._is_replay = is_replay
        self._overrides = overrides or {}
        self._report_interval = report_interval
        self._masker = masker
        self._opened: Opened | None = None
        self._reporter: ExecutionReporter | None = None
        self._run = RunProgress()
        self._noted = 0
        self._position = self.acks.upto
        # How far each shard's tests are delivered while those of another are not yet.
        self._delivered_until: dict[str, int] = {}

    @property
    def execution(self) -> JoinedExecution | None:
        """The execution, once it is created or joined, maybe by an earlier process."""
        if self._reporter is not None:
            return self._reporter.execution
        return msgspec.convert(self.acks.joined, JoinedExecution) if self.acks.joined else None

    @property
    def runner(self) -> str:
        """The ID of the run, by which the TMS recognises its messages.

        Raises:
            ValueError: the file is not a journal.
        """
        return self._read_opened().run

    @property
    def execution_status(self) -> str:
        """The newest status of the execution that the TMS returned; empty before the first."""
        return self._reporter.execution_status if self._reporter is not None else ""

    @property
    def progress_interval(self) -> float | None:
        """Seconds between two reports of progress, by the setting or else by the TMS; None if by neither."""
        requested = self._reporter.progress_interval if self._reporter is not None else None
        return self._report_interval or requested

    @property
    def failed(self) -> int:
        """The number of failed tests of the shards that have ended."""
        return self._run.failed

    @property
    def shards(self) -> list[str]:
        """The shards of the run, by their names in the TMS."""
        return [self._name(shard) for shard in self._run.begun]

    @property
    def is_closed(self) -> bool:
        """Whether the end of the run was read."""
        return self._run.is_closed

    @property
    def is_done(self) -> bool:
        """Whether every line so far is delivered."""
        return self._position >= self._journal.end

    def upload(self) -> None:
        """Deliver what the journal contains by now.

        Raises:
            TmsError: the TMS does not accept it for now; call again.
            ValueError: the file is not a journal.
        """
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[int]:
        """Deliver what the journal contains by now; yield the position, in bytes, after each step.

        Raises as ``upload`` does.
        """
        reporter = self._connect()
        for step in group_lines(self._read_lines(), self._delivered_until):
            if isinstance(step, Batch):
                self._send_batch(reporter, step)
            else:
                self._report(reporter, step.line)
            self._position = step.position
            self._acknowledge(upto=step.position, delivered=self.delivered, refused=self.refused)
            yield step.position

    def send_heartbeat(self) -> None:
        """Report that the run goes on, and receive whether it is cancelled.

        Raises:
            TmsError: the TMS does not accept it for now.
        """
        if self._reporter is not None:
            self._send_event(self._reporter, "execution.progress", self._progress(self._reporter))

    def close_unfinished(self, *, at: str = "") -> None:
        """Write the end that a killed run did not write (see ``unfinished_runs``), and deliver it.

        ``at`` is when the run ended, by default when the last line was written. Raises as ``upload`` does.
        """
        opened = self._read_opened()
        self._run, self._noted = RunProgress(), 0  # a replay may have begun in the middle
        for _ in self._read_lines(0):
            pass
        if not self.is_closed:
            self._journal.extend(closing_lines(self._run, opened, at or self._journal.written_at))
        self.upload()

    # Reading ------------------------------------------------------------------------------------

    def _read_opened(self) -> Opened:
        if self._opened is None:
            first = next((decode(line) for _, line in self._journal.lines()), None)
            if not isinstance(first, Opened):
                raise ValueError(f"{self._journal.path} does not begin as a journal does")
            if first.version > VERSION:
                raise ValueError(f"{self._journal.path} was written by a newer version: update pytest-tms")
            self._opened = first
        return self._opened

    def _read_lines(self, position: int | None = None) -> Iterator[ReadLine]:
        """Yield lines, and follow the run; a line that is read again, because a call failed, counts once."""
        for after, raw in self._journal.lines(self._position if position is None else position):
            line = decode(raw)
            if after > self._noted:
                self._noted = after
                self._run.note(line)
            yield ReadLine(after, line, len(raw))

    def _tests_of(self, shard: str) -> list[Tested]:
        """Return a shard's tests, the latest result of each."""
        lines = (decode(raw) for _, raw in self._journal.lines() if raw.startswith(TESTED))
        tests = [line for line in lines if isinstance(line, Tested) and line.shard == shard]
        if any(line.again for line in tests):
            tests = list({test_identity(line): line for line in tests}.values())
        return tests

    # Calls --------------------------------------------------------------------------------------

    def _connect(self) -> ExecutionReporter:
        """Return the reporter of the execution, which is created or joined before the first call."""
        if self._reporter is not None:
            return self._reporter
        opened = self._read_opened()
        execution = self.execution
        if execution is None:
            execution, warnings = join_execution(self._client, opened, self._webhook_token, self._overrides)
            self.warnings += warnings
            without_token = msgspec.structs.replace(execution, webhook_token="")
            self._acknowledge(joined=msgspec.to_builtins(without_token))
        elif self._webhook_token:
            execution = msgspec.structs.replace(execution, webhook_token=self._webhook_token)
        if self._masker is not None and execution.webhook_token:
            self._masker.add(execution.webhook_token)
        self._reporter = ExecutionReporter(self._client, opened, execution, is_replay=self._is_replay)
        if self._reporter.has("artifacts") and not opened.documented and opened.upload != "none":
            self._describer = FileDescriber(opened, self._journal.path, self.uploads, self.warnings)
        return self._reporter

    def _report(self, reporter: ExecutionReporter, line: AnyLine) -> None:
        """Make the calls that report one line."""
        if isinstance(line, Opened):
            if line.request is not None:
                self._send_event(reporter, "execution.started", EventData(status="running"), line.at)
        elif isinstance(line, ShardStarted):
            self._start_shard(reporter, line)
        elif isinstance(line, Collected):
            if reporter.has("expected"):
                data = EventData(shard_id=self._name(line.shard), collected=line.tests)
                self._send_event(reporter, "execution.progress", data, line.at if self._is_replay else "")
        elif isinstance(line, ShardEnded):
            self._end_shard(reporter, line)
        elif isinstance(line, Closed) and line.event is not None and not reporter.execution.is_shared:
            data = EventData(
                status=line.status, results=line.results, duration=line.duration, reason=line.reason or None
            )
            self._send_event(reporter, line.event, data, line.at)

    def _start_shard(self, reporter: ExecutionReporter, line: ShardStarted) -> None:
        attempt = self._read_opened().attempt or None if reporter.has("attempts") else None
        data = EventData(shard_id=line.shard, status="running", attempt=attempt)
        accepted = self._send_event(reporter, "shard.started", data, line.at)
        if accepted is not None and accepted.shard_id and accepted.shard_id != line.shard:
            self._acknowledge(names={**self.acks.names, line.shard: accepted.shard_id})
            self.warnings.append(
                f"shard {line.shard} of this execution is already running in another process: "
                f"this run is shard {accepted.shard_id}"
            )

    def _end_shard(self, reporter: ExecutionReporter, line: ShardEnded) -> None:
        expected = _expected(line) if reporter.has("expected") else {}
        results = line.results if line.results.total is not None else None
        if line.shard not in self.acks.shards:
            tests = [] if reporter.takes_live_tests else self._tests_of(line.shard)
            submission = self._submission(reporter, line, expected)
            self._count(self._result_sender(reporter).submit(submission, tests))
            shards = [*self.acks.shards, line.shard]
            self._acknowledge(shards=shards, delivered=self.delivered, refused=self.refused)
        if self._describer is not None:
            self._describer.add(line.files)
        data = EventData(
            shard_id=self._name(line.shard),
            status=line.status,
            results=results,
            duration=line.duration,
            reason=line.reason or None,
            **expected,
        )
        self._send_event(reporter, "shard.completed", data, line.at)

    def _submission(
        self, reporter: ExecutionReporter, line: ShardEnded, expected: Mapping[str, Any]
    ) -> ResultsSubmission[Any]:
        """Return the results of a shard without its tests."""
        opened = self._read_opened()
        # Only servers with this capability accept a shard that was cancelled.
        is_accepted = line.status != "cancelled" or reporter.has("control")
        return ResultsSubmission[Any](
            execution_id=reporter.execution.execution_id,
            shard_id=self._name(line.shard),
            provider=opened.provider,
            status=line.status if is_accepted else "error",
            results=line.results if line.results.total is not None else None,
            artifacts=line.artifacts,
            metadata=line.metadata or None,
            happened_at=reporter.happened_at(line.at),
            runner=opened.run if reporter.has("attempts") else None,
            **expected,
        )

    def _send_batch(self, reporter: ExecutionReporter, batch: Batch) -> None:
        """Deliver tests, one message a shard, if the TMS accepts live tests; else their shard's end does."""
        if not reporter.takes_live_tests:
            return
        at = self._read_opened().at if self._is_replay else ""
        for shard, tests in batch.tests.items():
            data = msgspec.structs.replace(self._progress(reporter), shard_id=self._name(shard))
            self._count(self._result_sender(reporter).send_live(tests, data, at))
            self._delivered_until[shard] = batch.position

    def _result_sender(self, reporter: ExecutionReporter) -> ResultSender:
        documented = self._read_opened().documented
        return ResultSender(
            reporter, self._run, self._masker, documented=documented, describer=self._describer
        )

    def _progress(self, reporter: ExecutionReporter) -> EventData:
        """Return what runs now; to a TMS that follows live also which shards report again, and when."""
        is_live = reporter.takes_live_tests and not self._is_replay
        is_detailed = reporter.has("expected")
        running = [
            msgspec.structs.replace(test, shard_id=self._name(test.shard_id or ""))
            for test in (self._run.running_tests() if not self._is_replay else ())
        ]
        in_flight = [test if is_detailed else test.node_id for test in running[:MAX_RUNNING]]
        shards = [self._name(shard) for shard in self._run.open_shards][:MAX_SHARDS]
        return EventData(
            status="running",
            running=in_flight if is_detailed and is_live else in_flight or None,
            shards=shards or None if is_live else None,
            interval=self._report_interval * 1000 if is_live and self._report_interval else None,
        )

    def _send_event(
        self, reporter: ExecutionReporter, name: EventName, data: EventData, at: str = ""
    ) -> EventAccepted | None:
        """Send an event; return None and add a warning if it is rejected."""
        try:
            return reporter.send_event(name, data, at)
        except (*REJECTIONS, Conflict) as error:
            if isinstance(error, InFlight):
                raise
            self.warnings.append(f"{name} was refused: {error}")
            return None

    def _name(self, shard: str) -> str:
        """Return the shard's name in the TMS."""
        return self.acks.names.get(shard, shard)

    # Acknowledgements ---------------------------------------------------------------------------

    def _count(self, outcome: SendOutcome) -> None:
        """Count what became of some results; it is acknowledged together with their lines."""
        self.delivered += outcome.tests
        self.refused = list(dict.fromkeys([*self.refused, *outcome.refused]))
        self.warnings += outcome.warnings

    def _acknowledge(self, **changes: object) -> None:
        self.acks = msgspec.structs.replace(self.acks, **changes)
        self._journal.acknowledge(self.acks)


def _expected(line: ShardEnded) -> dict[str, Any]:
    """Return what did not run, as fields of the capability ``expected``."""
    return {
        "collected": line.collected,
        "not_run": line.not_run,
        "not_run_reason": line.not_run_reason or None,
        "division": line.division or None,
        "not_run_tests": line.not_run_tests[:MAX_NOT_RUN_TESTS] or None,
        "exit_status": line.exit_status,
    }
