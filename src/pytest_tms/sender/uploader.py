"""From a journal to the TMS: each line becomes the calls that say it, in order, acknowledged one by one.

The same code delivers a run while it goes on, what an earlier one left behind, and what was written offline.
It is synchronous and raises what the client raises: who calls it decides when to try again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import msgspec

from pytest_tms import wire
from pytest_tms.client import TmsClient
from pytest_tms.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InFlight,
    NotFound,
    TmsError,
    TooLarge,
    Unauthorized,
    Unprocessable,
)
from pytest_tms.journal.file import Journal
from pytest_tms.journal.lines import (
    TESTED,
    AnyLine,
    Closed,
    Opened,
    ShardEnded,
    ShardStarted,
    Tested,
    decode,
)

MOST_TESTS = 10_000
"""Tests of one message."""
MOST_BYTES = 8 << 20
"""Bytes of one message's tests, unless a single test is longer."""

DOCUMENTED_TEST_FIELDS = ("title", "file", "status", "duration", "error", "retries", "tags")


class Joined(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The execution that a run reports to. Its own token is never written to disk."""

    execution_id: str
    report_url: str = ""
    webhook_url: str = ""
    webhook_token: str = ""
    capabilities: Sequence[str] = ()


class Delivery:
    """Delivers one journal.

    ``delivered`` counts the tests that the TMS has, ``refused`` names those that it will not take, each with
    why. ``execution_status`` is the newest that the TMS told, ``interval`` the seconds that it asks to wait
    between two reports of progress (None where it does not say), ``pace`` the seconds that they are apart
    whatever it asks. With ``is_replay`` the TMS is told when each thing happened, where it knows the
    capability ``replay``. ``instead`` changes fields of the execution that is asked for.
    """

    def __init__(
        self,
        client: TmsClient,
        journal: Journal,
        *,
        documented_only: bool = False,
        webhook_token: str = "",
        is_replay: bool = False,
        instead: Mapping[str, str] | None = None,
        pace: float | None = None,
        running: Callable[[], list[str]] = list,
        progress: Callable[[int, int], None] = lambda position, end: None,
    ) -> None:
        self.client = client
        self.journal = journal
        self.documented_only = documented_only
        self.webhook_token = webhook_token
        self.is_replay = is_replay
        self.instead = instead or {}
        self.pace = pace
        self.running = running
        self.progress = progress
        self.delivered = 0
        self.trouble: list[str] = []
        self.execution_status = ""
        self.interval: float | None = None
        self._acks = journal.acks()
        self._position = self._acks.upto
        self.refused = list(self._acks.refused)
        self._opened: Opened | None = None
        self._begun: dict[str, None] = {}
        # How far each shard's tests are through, where those of another are not yet.
        self._ahead: dict[str, int] = {}
        self.joined = msgspec.convert(self._acks.joined, Joined) if self._acks.joined else None

    @property
    def is_live(self) -> bool:
        """Whether tests travel while their shard runs."""
        return self.joined is not None and "live-tests" in self.joined.capabilities

    @property
    def is_done(self) -> bool:
        """Whether every line so far is delivered."""
        return self._position >= self.journal.end

    def step(self) -> None:
        """Deliver what the journal has by now. Raises TmsError where the TMS is in trouble: call again."""
        opened = self._open()
        batches: dict[str, list[Tested]] = {}
        behind = tests = size = 0
        for after, raw in self.journal.lines(self._position):
            line = decode(raw)
            # What one message names twice counts twice, so a test that settles again waits for the next.
            joins = isinstance(line, Tested) and not line.again and tests < MOST_TESTS and size <= MOST_BYTES
            if batches and not joins:
                self._send_tests(batches, behind)
                batches, tests, size = {}, 0, 0
            if not isinstance(line, Tested):
                self._say(opened, line)
                self._advance(after)
                continue
            behind = after
            if after > self._ahead.get(line.shard, 0):
                batches.setdefault(line.shard, []).append(line)
                tests, size = tests + 1, size + len(raw)
        if behind > self._position:
            self._send_tests(batches, behind)

    def heartbeat(self) -> None:
        """Tell that the run goes on, and learn whether it is cancelled. Raises TmsError."""
        if self.joined is not None:
            self._event("execution.progress", self._progress())

    def close_orphan(self) -> None:
        """End what a killed run left open: its shards broke. Raises TmsError."""
        opened = self._open()
        begun: set[str] = set()
        closed = False
        for _, raw in self.journal.lines():
            line = decode(raw)
            if isinstance(line, ShardStarted):
                begun.add(line.shard)
            elif isinstance(line, ShardEnded):
                begun.discard(line.shard)
            closed = closed or isinstance(line, Closed)
        last = self.journal.written_at
        for shard in sorted(begun):
            end = ShardEnded(shard=shard, status="error", results=wire.GivenCounts(), at=last)
            self._end_shard(opened, end)
        if not closed and opened.request is not None:
            self._event("execution.failed", wire.EventData(status="failed"), last)

    # Lines --------------------------------------------------------------------------------------

    def _open(self) -> Opened:
        if self._opened is None:
            first = next((decode(line) for _, line in self.journal.lines()), None)
            if not isinstance(first, Opened):
                raise ValueError(f"{self.journal.path} does not begin as a journal does")
            if first.version != 1:
                raise ValueError(f"{self.journal.path} was written by a newer version: update pytest-tms")
            self._opened = first
        if self.joined is None:
            self.joined = self._join(self._opened)
            self.client.compress = "gzip" in self.joined.capabilities
            self._note(joined=msgspec.to_builtins(msgspec.structs.replace(self.joined, webhook_token="")))
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
        request = msgspec.structs.replace(opened.request, **self.instead)
        created = self.client.create_execution(request, key=self._key(request))
        return Joined(
            execution_id=created.execution_id,
            report_url=created.report_url or self._report_url(created.execution_id),
            webhook_url=created.webhook_url,
            webhook_token=created.webhook_token,
            capabilities=created.capabilities,
        )

    def _say(self, opened: Opened, line: AnyLine) -> None:
        if isinstance(line, Opened):
            if line.request is not None:
                self._event("execution.started", wire.EventData(status="running"), line.at)
        elif isinstance(line, ShardStarted):
            self._event("shard.started", wire.EventData(shard_id=line.shard, status="running"), line.at)
            self._begun[line.shard] = None
        elif isinstance(line, ShardEnded):
            self._end_shard(opened, line)
            self._begun.pop(line.shard, None)
        elif isinstance(line, Closed) and line.event is not None:
            data = wire.EventData(status=line.status, results=line.results, duration=line.duration)
            self._event(line.event, data, line.at)

    def _end_shard(self, opened: Opened, line: ShardEnded) -> None:
        if line.shard not in self._acks.shards:
            kept = [] if self.is_live else list(self._tests_of(line.shard))
            self._submit(opened, line, kept)
            self._note(shards=[*self._acks.shards, line.shard])
            self.delivered += len(kept)
        data = wire.EventData(
            shard_id=line.shard, status=line.status, results=line.results, duration=line.duration
        )
        self._event("shard.completed", data, line.at)

    # Tests --------------------------------------------------------------------------------------

    def _send_tests(self, batches: Mapping[str, Sequence[Tested]], behind: int) -> None:
        """Deliver tests, one message a shard, where the TMS takes them by and by; else they wait."""
        if self.is_live:
            for shard, batch in batches.items():
                self.delivered += self._send_halving(batch)
                self._ahead[shard] = behind
        self._advance(behind)

    def _send_halving(self, batch: Sequence[Tested]) -> int:
        """How many the TMS took. A refused batch is halved until the bad test is found, alone."""
        tests = [self._fit(line.test) for line in batch]
        data = msgspec.structs.replace(
            self._progress(),
            shard_id=batch[0].shard,
            tests=cast("list[wire.TestResult]", tests),  # encoded already
        )
        began = self._opened.at if self._opened else ""
        try:
            self._event("execution.progress", data, began if self.is_replay else "", strict=True)
        except (BadRequest, Unprocessable, TooLarge) as error:
            if len(batch) == 1:
                self._refuse(batch[0], error)
                return 0
            middle = len(batch) // 2
            return self._send_halving(batch[:middle]) + self._send_halving(batch[middle:])
        return len(batch)

    def _submit(self, opened: Opened, line: ShardEnded, tests: Sequence[Tested]) -> None:
        """POST /results: one where it is not too large, as the document has it, or several."""
        joined = self._known()
        # Only servers that announce it know a shard that was cancelled.
        status = line.status if line.status != "cancelled" or "control" in joined.capabilities else "error"
        submission = wire.ResultsSubmission[msgspec.Raw](
            execution_id=joined.execution_id,
            shard_id=line.shard,
            provider=opened.provider,
            status=status,
            results=line.results,
            tests=[self._fit(each.test) for each in tests] or None,
            artifacts=line.artifacts,
            metadata=line.metadata,
            happened_at=self._happened(line.at),
        )
        try:
            self.client.submit_results(submission, key=self._key(submission))
        except (BadRequest, Unprocessable, TooLarge) as error:
            if len(tests) < 2:
                if not tests:
                    raise
                self._refuse(tests[0], error)
                self.delivered -= 1
                return
            middle = len(tests) // 2
            self._submit(opened, line, tests[:middle])
            self._submit(opened, line, tests[middle:])

    def _tests_of(self, shard: str) -> list[Tested]:
        lines = (decode(raw) for _, raw in self.journal.lines() if raw.startswith(TESTED))
        kept = [line for line in lines if isinstance(line, Tested) and line.shard == shard]
        if any(line.again for line in kept):
            newest = {msgspec.json.decode(line.test, type=wire.TestResult).node_id: line for line in kept}
            kept = list(newest.values())
        return kept

    def _fit(self, test: msgspec.Raw) -> msgspec.Raw:
        if not self.documented_only:
            return test
        fields = msgspec.json.decode(test)
        kept = {name: fields[name] for name in DOCUMENTED_TEST_FIELDS if name in fields}
        return msgspec.Raw(msgspec.json.encode(kept))

    def _refuse(self, line: Tested, error: TmsError) -> None:
        title = msgspec.json.decode(line.test, type=wire.TestResult).title
        name = f"{title} (shard {line.shard}): {error}"
        if name not in self.refused:
            self.refused.append(name)
            self._note(refused=self.refused)

    # Calls --------------------------------------------------------------------------------------

    def _progress(self) -> wire.EventData:
        """What runs now; a TMS that follows live learns which shards it will hear of again, and when."""
        tells = self.is_live and not self.is_replay
        return wire.EventData(
            status="running",
            running=list(self.running()[:100]) or None,
            shards=list(self._begun)[:1000] or None if tells else None,
            interval=self.pace * 1000 if tells and self.pace else None,
        )

    def _event(
        self, name: wire.EventName, data: wire.EventData, at: str = "", *, strict: bool = False
    ) -> None:
        joined = self._known()
        event = wire.Event(
            event=name,
            execution_id=joined.execution_id,
            timestamp=at or wire.timestamp(),
            happened_at=self._happened(at),
            data=data,
        )
        try:
            answer = self.client.send_event(
                event,
                webhook_url=joined.webhook_url,
                webhook_token=joined.webhook_token,
                key=self._key(event),
            )
        except (BadRequest, Unprocessable, Conflict) as error:
            if strict or isinstance(error, InFlight):
                raise
            self.trouble.append(f"{name} was refused: {error}")
            return
        self.execution_status = answer.execution_status or self.execution_status
        if answer.progress_interval:
            self.interval = answer.progress_interval / 1000

    def _happened(self, at: str) -> str | None:
        return at or None if self.is_replay and "replay" in self._known().capabilities else None

    def _known(self) -> Joined:
        if self.joined is None:
            raise ValueError("nothing is joined yet")
        return self.joined

    def _advance(self, position: int) -> None:
        """Go on behind a line; tests that still wait are looked for at their shard's end."""
        self._position = position
        self._note(upto=position)
        self.progress(position, self.journal.end)

    def _note(self, **changes: object) -> None:
        self._acks = msgspec.structs.replace(self._acks, **changes)
        self.journal.acknowledge(self._acks)

    def _key(self, message: object) -> str:
        """The same for the same message of the same run, however often it is sent."""
        run = self._opened.run if self._opened else ""
        return hashlib.sha256(run.encode() + msgspec.json.encode(message)).hexdigest()[:32]

    def _capabilities(self) -> Sequence[str]:
        try:
            return self.client.describe_service().capabilities
        except TmsError:  # a server that speaks only the document has none
            return ()

    def _report_url(self, execution_id: str) -> str:
        return f"{self.client.base_url.removesuffix('/api')}/reports/{execution_id}"


def advice(error: Exception) -> str:
    """An error as one sentence that also says what to do next."""
    text = str(error).rstrip(".")
    if isinstance(error, Unauthorized):
        return f"{text}: set TMS_API_TOKEN to a valid token"
    if isinstance(error, Forbidden):
        return f"{text}: use a token with the scope executions:write"
    if isinstance(error, NotFound):
        return f"{text}: check --tms-url (it ends in /api) and --tms-execution"
    if isinstance(error, Unprocessable):
        return f"{text}: check --tms-suite and --tms-environment"
    return text
