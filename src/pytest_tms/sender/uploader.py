"""From a journal to the TMS: each line becomes the calls that report it, in order, acknowledged one by one.

The same code delivers a run while it goes on, what an earlier run left behind, and what was written offline.
It is synchronous and raises what the client raises: the caller decides when to try again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from pytest_tms import wire
from pytest_tms.client import TmsClient
from pytest_tms.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    InFlight,
    NotFound,
    NotTms,
    TmsError,
    TooLarge,
    Unauthorized,
    Unprocessable,
    Unreachable,
)
from pytest_tms.journal.file import Journal
from pytest_tms.journal.lines import (
    TESTED,
    VERSION,
    AnyLine,
    Begun,
    Closed,
    Collected,
    Line,
    OnWorker,
    Opened,
    ShardEnded,
    ShardStarted,
    Tested,
    TimeLimit,
    decode,
    encode,
)
from pytest_tms.masking import Masker

MAX_TESTS = 10_000
"""Tests of one message."""
MAX_BYTES = 8 << 20
"""Bytes of one message's tests, unless a single test is longer."""
MAX_RUNNING = 100
"""Tests in flight that one message names."""

DOCUMENTED_TEST_FIELDS = ("title", "file", "status", "duration", "error", "retries", "tags")
REFUSALS = (BadRequest, Unprocessable, TooLarge)
"""Answers by which the TMS refuses a message for what it holds."""


class Joined(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The execution that a run reports to. Its own token is never written to disk."""

    execution_id: str
    report_url: str = ""
    webhook_url: str = ""
    webhook_token: str = ""
    capabilities: Sequence[str] = ()


class Uploader:
    """Delivers one journal.

    ``delivered`` counts the tests that the TMS has, ``refused`` names those that it does not accept, each
    with the reason. ``warnings`` are sentences about anything else that was refused. ``execution_status`` is
    the newest that the TMS reported, ``interval`` the seconds that it asks to wait between two reports of
    progress (None if it does not say), ``pace`` the seconds that they are apart whatever it asks.

    With ``is_replay`` the TMS is sent when each thing happened, if it knows the capability ``replay``.
    ``instead`` changes fields of the execution that is asked for. ``masker`` masks the tokens that the TMS
    gives.
    """

    def __init__(
        self,
        client: TmsClient,
        journal: Journal,
        *,
        webhook_token: str = "",
        is_replay: bool = False,
        instead: Mapping[str, str] | None = None,
        pace: float | None = None,
        progress: Callable[[int, int], None] = lambda position, end: None,
        masker: Masker | None = None,
    ) -> None:
        self.client = client
        self.journal = journal
        self.webhook_token = webhook_token
        self.is_replay = is_replay
        self.instead = instead or {}
        self.pace = pace
        self.progress = progress
        self.masker = masker
        self.warnings: list[str] = []
        self.execution_status = ""
        self.interval: float | None = None
        self.acks = journal.acks()
        self.is_closed = False
        self._position = self.acks.upto
        self.delivered = self.acks.delivered
        self.refused = list(self.acks.refused)
        self._opened: Opened | None = None
        self._run = RunProgress()
        self._seen = 0
        # How far each shard's tests are delivered while those of another are not yet.
        self._ahead: dict[str, int] = {}
        self.joined = msgspec.convert(self.acks.joined, Joined) if self.acks.joined else None

    @property
    def is_live(self) -> bool:
        """Whether tests are sent while their shard runs: not if only documented messages may be sent."""
        documented = self._opened is not None and self._opened.documented
        return self.joined is not None and "live-tests" in self.joined.capabilities and not documented

    @property
    def is_done(self) -> bool:
        """Whether every line so far is delivered."""
        return self._position >= self.journal.end

    def step(self) -> None:
        """Deliver what the journal has by now.

        Raises:
            TmsError: the TMS does not accept it for now; call again.
            ValueError: the file is not a journal.
        """
        opened = self._open()
        batches: dict[str, list[Tested]] = {}
        behind = tests = size = 0
        for after, raw in self.journal.lines(self._position):
            line = decode(raw)
            self._note_progress(line, after)
            # A test that settles again waits for the next message: one message counts what it names twice.
            joins = isinstance(line, Tested) and not line.again and tests < MAX_TESTS and size <= MAX_BYTES
            is_silent = isinstance(line, (Begun, OnWorker, TimeLimit))
            if batches and not joins and not is_silent:
                self._send_tests(batches, behind)
                batches, tests, size = {}, 0, 0
            if isinstance(line, Tested):
                behind = after
                if after > self._ahead.get(line.shard, 0):
                    batches.setdefault(line.shard, []).append(line)
                    tests, size = tests + 1, size + len(raw)
            elif is_silent:
                behind = after
            else:
                self._report(opened, line)
                self._advance(after)
        if behind > self._position:
            self._send_tests(batches, behind)

    def send_heartbeat(self) -> None:
        """Report that the run goes on, and receive whether it is cancelled. Raises TmsError."""
        if self.joined is not None:
            self._send_event("execution.progress", self._progress())

    def close_unfinished(self, *, at: str = "") -> None:
        """Write the end that a killed run did not write, and deliver it.

        Its open shards ended in ``error`` and name every test in flight; a test that pytest-timeout ended
        gets a result. ``at`` is when the run ended, by default when the last line was written.
        Raises TmsError.
        """
        opened = self._open()
        self._read_whole()
        if not self.is_closed:
            self.journal.extend(self._run.closing_lines(opened, at or self.journal.written_at))
        self.step()

    # Lines --------------------------------------------------------------------------------------

    def _open(self) -> Opened:
        if self._opened is None:
            first = next((decode(line) for _, line in self.journal.lines()), None)
            if not isinstance(first, Opened):
                raise ValueError(f"{self.journal.path} does not begin as a journal does")
            if first.version > VERSION:
                raise ValueError(f"{self.journal.path} was written by a newer version: update pytest-tms")
            self._opened = first
        if self.joined is None:
            self.joined = self._join(self._opened)
            self.client.compress = "gzip" in self.joined.capabilities
            self._acknowledge(
                joined=msgspec.to_builtins(msgspec.structs.replace(self.joined, webhook_token=""))
            )
        elif not self.joined.webhook_token and self.webhook_token:
            self.joined = msgspec.structs.replace(self.joined, webhook_token=self.webhook_token)
        if self.masker is not None and self.joined.webhook_token:
            self.masker.add(self.joined.webhook_token)
        return self._opened

    def _join(self, opened: Opened) -> Joined:
        if opened.request is None:
            status = self.client.get_execution(opened.execution)
            return Joined(
                execution_id=opened.execution,
                report_url=status.artifacts.report_url or self._report_url(opened.execution),
                webhook_token=self.webhook_token,
                capabilities=self._capabilities(),
            )
        created = self._create(msgspec.structs.replace(opened.request, **self.instead))
        return Joined(
            execution_id=created.execution_id,
            report_url=created.report_url or self._report_url(created.execution_id),
            webhook_url=created.webhook_url,
            webhook_token=created.webhook_token,
            capabilities=created.capabilities,
        )

    def _create(self, request: wire.ExecutionRequest) -> wire.ExecutionCreated:
        """Create the execution; without its metadata if these are what the TMS refuses."""
        try:
            return self.client.create_execution(request, key=self._key(request))
        except REFUSALS as error:
            fields = {problem.field.partition(".")[0] for problem in error.details}
            if not request.metadata or fields != {"metadata"}:
                raise
            self.warnings.append(f"the metadata of the execution were refused: {error}")
            request = msgspec.structs.replace(request, metadata=None)
            return self.client.create_execution(request, key=self._key(request))

    def _report(self, opened: Opened, line: AnyLine) -> None:
        if isinstance(line, Opened):
            if line.request is not None:
                self._send_event("execution.started", wire.EventData(status="running"), line.at)
        elif isinstance(line, ShardStarted):
            self._start_shard(opened, line)
        elif isinstance(line, Collected):
            if self._can("expected"):
                data = wire.EventData(shard_id=self._name(line.shard), collected=line.tests)
                self._send_event("execution.progress", data, line.at if self.is_replay else "")
        elif isinstance(line, ShardEnded):
            self._end_shard(opened, line)
        elif isinstance(line, Closed) and line.event is not None:
            data = wire.EventData(
                status=line.status, results=line.results, duration=line.duration, reason=line.reason or None
            )
            self._send_event(line.event, data, line.at)

    def _start_shard(self, opened: Opened, line: ShardStarted) -> None:
        attempt = opened.attempt or None if self._can("attempts") else None
        data = wire.EventData(shard_id=line.shard, status="running", attempt=attempt)
        answer = self._send_event("shard.started", data, line.at)
        if answer is not None and answer.shard_id and answer.shard_id != line.shard:
            self._acknowledge(names={**self.acks.names, line.shard: answer.shard_id})
            self.warnings.append(
                f"shard {line.shard} of this execution is already running in another process: "
                f"this run is shard {answer.shard_id}"
            )

    def _end_shard(self, opened: Opened, line: ShardEnded) -> None:
        if line.shard not in self.acks.shards:
            kept = [] if self.is_live else list(self._tests_of(line.shard))
            delivered = self._submit(opened, line, kept)
            self.delivered += delivered
            self._acknowledge(shards=[*self.acks.shards, line.shard], delivered=self.delivered)
        data = wire.EventData(
            shard_id=self._name(line.shard),
            status=line.status,
            results=line.results if line.results.total is not None else None,
            duration=line.duration,
            reason=line.reason or None,
            **self._expected(line),
        )
        self._send_event("shard.completed", data, line.at)

    def _expected(self, line: ShardEnded) -> dict[str, Any]:
        """What did not run, as the capability ``expected`` has it."""
        if not self._can("expected"):
            return {}
        return {
            "collected": line.collected,
            "not_run": line.not_run,
            "not_run_reason": line.not_run_reason or None,
            "not_run_tests": line.not_run_tests[: wire.MAX_NOT_RUN_TESTS] or None,
            "exit_status": line.exit_status,
        }

    def _note_progress(self, line: AnyLine, after: int) -> None:
        """Follow the run; lines that are read again, because a call failed, are followed once."""
        self.is_closed = self.is_closed or isinstance(line, Closed)
        if after > self._seen:
            self._seen = after
            self._run.note(line)

    def _read_whole(self) -> None:
        """Follow the run from the beginning: a replay may have begun in the middle."""
        self._run, self._seen = RunProgress(), 0
        for after, raw in self.journal.lines():
            self._note_progress(decode(raw), after)

    # Tests --------------------------------------------------------------------------------------

    def _send_tests(self, batches: Mapping[str, Sequence[Tested]], behind: int) -> None:
        """Deliver tests, one message a shard, if the TMS takes them incrementally; else they wait."""
        if self.is_live:
            for shard, batch in batches.items():
                self.delivered += self._send_halving(batch)
                self._ahead[shard] = behind
        self._advance(behind)

    def _send_halving(self, batch: Sequence[Tested]) -> int:
        """Return how many the TMS took. A refused batch is halved until the bad test is found, alone."""
        tests = [self._masked(line.test) for line in batch]
        data = msgspec.structs.replace(
            self._progress(),
            shard_id=self._name(batch[0].shard),
            tests=cast("list[wire.TestResult]", tests),  # encoded already
        )
        began = self._opened.at if self._opened else ""
        try:
            self._send_event("execution.progress", data, began if self.is_replay else "", strict=True)
        except REFUSALS as error:
            if len(batch) == 1:
                self._refuse(batch[0], error)
                return 0
            middle = len(batch) // 2
            return self._send_halving(batch[:middle]) + self._send_halving(batch[middle:])
        return len(batch)

    def _submit(self, opened: Opened, line: ShardEnded, tests: Sequence[Tested]) -> int:
        """POST /results: one if it is not too large, as the document has it, or several.

        Return how many tests the TMS took. A shard that is refused without tests is submitted with its
        status alone.
        """
        submission = wire.ResultsSubmission[msgspec.Raw](
            execution_id=self._known().execution_id,
            shard_id=self._name(line.shard),
            provider=opened.provider,
            # Only servers that announce it know a shard that was cancelled.
            status=line.status if line.status != "cancelled" or self._can("control") else "error",
            results=line.results if line.results.total is not None else None,
            tests=self._fitted(opened, tests) or None,
            artifacts=line.artifacts,
            metadata=line.metadata or None,
            happened_at=self._happened(line.at),
            runner=opened.run if self._can("attempts") else None,
            **self._expected(line),
        )
        try:
            self.client.submit_results(submission, key=self._key(submission))
        except REFUSALS as error:
            if len(tests) > 1:
                middle = len(tests) // 2
                return self._submit(opened, line, tests[:middle]) + self._submit(opened, line, tests[middle:])
            if tests:
                self._refuse(tests[0], error)
                return 0
            self._submit_bare(submission, error)
        return len(tests)

    def _submit_bare(self, submission: wire.ResultsSubmission[msgspec.Raw], error: TmsError) -> None:
        self.warnings.append(f"details of shard {submission.shard_id} were refused: {error}")
        bare = wire.ResultsSubmission[msgspec.Raw](
            execution_id=submission.execution_id, shard_id=submission.shard_id, status=submission.status
        )
        try:
            self.client.submit_results(bare, key=self._key(bare))
        except REFUSALS as again:
            self.warnings.append(f"the end of shard {submission.shard_id} was refused: {again}")

    def _tests_of(self, shard: str) -> list[Tested]:
        lines = (decode(raw) for _, raw in self.journal.lines() if raw.startswith(TESTED))
        kept = [line for line in lines if isinstance(line, Tested) and line.shard == shard]
        if any(line.again for line in kept):
            kept = list({_identity(line): line for line in kept}.values())
        return kept

    def _fitted(self, opened: Opened, tests: Sequence[Tested]) -> list[msgspec.Raw]:
        """The tests as they are sent with ``/results``.

        A documented test is identified by file and title, so that the second of an equal pair gets a number.
        """
        if not opened.documented:
            return [self._masked(line.test) for line in tests]
        fitted = []
        for line in tests:
            fields = msgspec.json.decode(self._masked(line.test))
            kept = {name: fields[name] for name in DOCUMENTED_TEST_FIELDS if name in fields}
            number = self._run.number_of(line, kept.get("file"), kept["title"])
            if number > 1:
                kept["title"] = f"{kept['title']} #{number}"
            fitted.append(msgspec.Raw(msgspec.json.encode(kept)))
        return fitted

    def _masked(self, test: msgspec.Raw) -> msgspec.Raw:
        """A test without the tokens that were obtained after its line was written."""
        if self.masker is None:
            return test
        return msgspec.Raw(self.masker.line(bytes(test)).rstrip(b"\n"))

    def _refuse(self, line: Tested, error: TmsError) -> None:
        try:
            title = msgspec.json.decode(line.test)["title"]
        except (msgspec.MsgspecError, KeyError, TypeError):
            title = bytes(line.test)[:80].decode(errors="replace")
        name = f"{title} (shard {line.shard}): {error}"
        if name not in self.refused:
            self.refused.append(name)
            self._acknowledge(refused=self.refused)

    # Calls --------------------------------------------------------------------------------------

    def _progress(self) -> wire.EventData:
        """What runs now. A TMS that follows live receives which shards report again, and when."""
        promises = self.is_live and not self.is_replay
        running = [
            msgspec.structs.replace(test, shard_id=self._name(test.shard_id or ""))
            for test in (self._run.running_now() if not self.is_replay else ())
        ]
        detailed = self._can("expected")
        in_flight = [test if detailed else test.node_id for test in running[:MAX_RUNNING]]
        return wire.EventData(
            status="running",
            running=in_flight if detailed and promises else in_flight or None,
            shards=[self._name(shard) for shard in self._run.open_shards][:1000] or None
            if promises
            else None,
            interval=self.pace * 1000 if promises and self.pace else None,
        )

    def _send_event(
        self, name: wire.EventName, data: wire.EventData, at: str = "", *, strict: bool = False
    ) -> wire.EventAccepted | None:
        """Send an event; return None if it was refused. With ``strict`` a refusal is raised."""
        joined = self._known()
        if self._opened is not None and self._can("attempts"):
            data = msgspec.structs.replace(data, runner=self._opened.run)
        event = wire.Event(
            event=name,
            execution_id=joined.execution_id,
            timestamp=at or wire.timestamp(),
            happened_at=self._happened(at),
            data=data,
        )
        try:
            answer = self._call_webhook(joined, event)
        except (*REFUSALS, Conflict) as error:
            if strict or isinstance(error, InFlight):
                raise
            self.warnings.append(f"{name} was refused: {error}")
            return None
        self.execution_status = answer.execution_status or self.execution_status
        if answer.progress_interval:
            self.interval = answer.progress_interval / 1000
        return answer

    def _call_webhook(self, joined: Joined, event: wire.Event) -> wire.EventAccepted:
        """Send an event to the ``webhookUrl``; if that does not answer as a TMS, by the base URL."""

        def send(url: str) -> wire.EventAccepted:
            token = joined.webhook_token
            return self.client.send_event(event, webhook_url=url, webhook_token=token, key=self._key(event))

        own = f"{self.client.base_url}/webhooks/executions/{joined.execution_id}"
        try:
            return send(joined.webhook_url)
        except (Unreachable, NotTms, NotFound):
            if not joined.webhook_url or joined.webhook_url == own:
                raise
        answer = send("")
        self.joined = msgspec.structs.replace(joined, webhook_url="")
        return answer

    def _happened(self, at: str) -> str | None:
        return at or None if self.is_replay and self._can("replay") else None

    def _can(self, capability: str) -> bool:
        return self.joined is not None and capability in self.joined.capabilities

    def _name(self, shard: str) -> str:
        """The shard's name in the TMS."""
        return self.acks.names.get(shard, shard)

    def _known(self) -> Joined:
        if self.joined is None:
            raise ValueError("no execution is joined yet")
        return self.joined

    def _advance(self, position: int) -> None:
        """Go on behind a line; tests that still wait are looked for at their shard's end."""
        self._position = position
        self._acknowledge(upto=position, delivered=self.delivered)
        self.progress(position, self.journal.end)

    def _acknowledge(self, **changes: object) -> None:
        self.acks = msgspec.structs.replace(self.acks, **changes)
        self.journal.acknowledge(self.acks)

    def _key(self, message: object) -> str:
        """The same for the same message of the same run, however often it is sent."""
        run = self._opened.run if self._opened else ""
        return hashlib.sha256(run.encode() + msgspec.json.encode(message)).hexdigest()[:32]

    def _capabilities(self) -> Sequence[str]:
        try:
            return self.client.describe_service().capabilities
        except (ApiError, NotTms):  # a server that speaks only the document has none
            return ()

    def _report_url(self, execution_id: str) -> str:
        return f"{self.client.base_url.removesuffix('/api')}/reports/{execution_id}"


class RunProgress:
    """A run as its journal shows it: its shards, what they collected, what runs, and what has settled."""

    def __init__(self) -> None:
        self.begun: dict[str, str] = {}
        self.ended: set[str] = set()
        self.collected: dict[str, int] = {}
        self.has_timed_out = False
        self._settled: dict[str, set[object]] = {}
        self._running: dict[int, Begun] = {}
        self._workers: dict[int, OnWorker] = {}
        self._limits: dict[int, float] = {}
        self._numbers: dict[tuple[str, object, str], dict[object, int]] = {}

    @property
    def open_shards(self) -> list[str]:
        """The shards that run."""
        return [shard for shard in self.begun if shard not in self.ended]

    def note(self, line: AnyLine) -> None:
        """Follow one line."""
        if isinstance(line, Tested):
            self.count(line)
        elif isinstance(line, Begun):
            self._running[line.n] = line
        elif isinstance(line, OnWorker):
            self._workers[line.n] = line
        elif isinstance(line, TimeLimit):
            self._limits[line.n] = line.seconds
        elif isinstance(line, Collected):
            self.collected[line.shard] = line.tests
        elif isinstance(line, ShardStarted):
            self.begun[line.shard] = line.at
        elif isinstance(line, ShardEnded):
            self.ended.add(line.shard)

    def count(self, line: Tested) -> None:
        """Note that a test has settled."""
        self._settled.setdefault(line.shard, set()).add(_identity(line))
        for notes in (self._running, self._workers, self._limits):
            cast("dict[int, object]", notes).pop(line.n, None)

    def running_now(self, shard: str | None = None) -> list[wire.RunningTest]:
        """The tests in flight, of one shard or of all; a test whose shard is unknown is of the first one."""
        first = next(iter(self.begun), "")
        found = []
        for n, begun in self._running.items():
            on = self._workers.get(n)
            its_shard = on.shard if on else begun.shard or first
            if shard in (None, its_shard):
                since = wire.timestamp(wire.moment(begun.t)) if 0 < begun.t < 1 << 45 else None
                found.append(
                    wire.RunningTest(
                        node_id=begun.name,
                        shard_id=its_shard or None,
                        worker=on.worker if on else None,
                        started_at=since,
                    )
                )
        return found

    def closing_lines(self, opened: Opened, at: str) -> list[bytes]:
        """The lines that a run lacks which was killed at the time ``at``."""
        lines: list[Line] = []
        for shard in self.open_shards:
            for test in self._timed_out(shard, at):
                lines.append(test)
                self.count(test)
        for shard in self.open_shards:
            lines.append(self._end_of(shard, at))
        event: wire.EventName = "execution.cancelled" if self.has_timed_out else "execution.failed"
        if opened.request is None:
            lines.append(Closed(at=at))
        else:
            status = event.partition(".")[2]
            lines.append(Closed(at=at, event=event, status=status, reason=self._reason()))
        return [encode(line) for line in lines]

    def _timed_out(self, shard: str, at: str) -> list[Tested]:
        """The tests in flight that ran longer than their limit, as failed tests: nobody else reports them."""
        found = []
        ended = wire.parse_time(at).timestamp() * 1000
        for n, seconds in self._limits.items():
            begun = self._running.get(n)
            if begun is None or (begun.shard or shard) != shard or ended - begun.t < seconds * 950:
                continue
            file, _, title = begun.name.partition("::")
            result = wire.TestResult(
                title=title or file,
                file=file,
                status="failed",
                outcome="timeout",
                node_id=begun.name,
                duration=round(seconds * 1000),
                error=f"Timeout (>{seconds:g} s): pytest-timeout ended the process",
                started_at=wire.timestamp(wire.moment(begun.t)),
            )
            self.has_timed_out = True
            found.append(Tested(shard=shard, n=n, id=-n, test=msgspec.Raw(msgspec.json.encode(result))))
        return found

    def _reason(self) -> str:
        """Why a run ended without its end."""
        if self.has_timed_out:
            return "pytest-timeout ended the process"
        return "pytest ended without finishing its session: it was killed, crashed or ran out of memory"

    def _end_of(self, shard: str, at: str) -> ShardEnded:
        """The end of a shard that has none: what ran is settled, what did not is named."""
        running = [test.node_id for test in self.running_now(shard)]
        settled = len(self._settled.get(shard, ()))
        collected = self.collected.get(shard)
        not_run = max(len(running), (collected or 0) - settled)
        reason = self._reason()
        if running:
            reason += f"; running: {', '.join(running[:3])}"
        began = wire.parse_time(self.begun[shard]) if self.begun.get(shard) else None
        took = round((wire.parse_time(at) - began).total_seconds() * 1000) if began else 0
        return ShardEnded(
            at=at,
            shard=shard,
            status="cancelled" if self.has_timed_out else "error",
            results=wire.GivenCounts(),
            duration=max(0, took),
            reason=reason,
            collected=collected,
            not_run=not_run or None,
            not_run_reason=self._reason() if not_run else "",
            not_run_tests=running,
        )

    def number_of(self, line: Tested, file: object, title: str) -> int:
        """Which of the shard's tests of the same file and title a test is, from 1."""
        same = self._numbers.setdefault((line.shard, file, title), {})
        return same.setdefault(_identity(line), len(same) + 1)


def _identity(line: Tested) -> object:
    """What identifies a test within its shard; journals of version 1 have only its node id."""
    if line.id:
        return line.id
    fields = msgspec.json.decode(line.test)
    return fields.get("nodeId") or (fields.get("file"), fields.get("title"))


def advice(error: Exception) -> str:
    """Return an error as one sentence that also names the next step."""
    text = str(error).rstrip(".")
    if isinstance(error, Unauthorized):
        return f"{text}: set TMS_API_TOKEN to a valid token"
    if isinstance(error, Forbidden):
        return f"{text}: use a token with the scope executions:write"
    if isinstance(error, NotFound):
        return f"{text}: check --tms-url (it ends in /api) and --tms-execution"
    if isinstance(error, Unprocessable) and error.hint:
        return f"{text}; check --tms-suite and --tms-environment"
    if isinstance(error, Unprocessable):
        return (
            f"{text}: check --tms-suite and --tms-environment; the operator of the TMS allows others with "
            "TMS_SERVER_SUITES and TMS_SERVER_ENVIRONMENTS"
        )
    return text
