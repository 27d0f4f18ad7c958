"""The life of a run: open, collect outcomes, close. Only the process that reports has one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.journal.file import VERSION, Journal
from pytest_tms.journal.lines import (
    Closed,
    Line,
    Opened,
    ShardEnded,
    ShardStarted,
    as_json,
    encode,
    line_prefix,
)
from pytest_tms.masking import Masker
from pytest_tms.plugin import ci
from pytest_tms.plugin.hook_errors import Guard
from pytest_tms.plugin.offline import misled
from pytest_tms.plugin.results.attachments import REPORTING
from pytest_tms.plugin.results.outcomes import not_collected
from pytest_tms.plugin.results.recorder import Recorder
from pytest_tms.plugin.results.shard_counts import Shard
from pytest_tms.plugin.settings import Settings
from pytest_tms.plugin.shutdown import Stop, Timeouts
from pytest_tms.plugin.terminal import Summary, write_summary
from pytest_tms.plugin.xdist.sharding import ShardName, is_grouped, test_id
from pytest_tms.plugin.xdist.workers import Workers
from pytest_tms.text import clean

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient
    from pytest_tms.plugin.results.enrichment import Enricher
    from pytest_tms.sender.pacing import Courier

Message = TypeVar("Message", bound=msgspec.Struct)

LONGEST_OPENING = 3.0
"""Seconds that the start of a session waits for the execution's link."""
STOPPED_DEADLINE = 1.5
"""Seconds that a stopped session waits for the TMS: CI kills soon after it asks to stop."""
HOOK_ERRORS = (Exception, pytest.skip.Exception, pytest.fail.Exception)
"""What a user's hook may raise; pytest's own outcomes are no Exceptions."""
JOURNALS = Path(".tms") / "journal"
"""Where journals are, under pytest's rootdir."""


class Run:
    """Follows one pytest session and reports it; without a client it only writes the journal."""

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        name: ShardName | None,
        client: TmsClient | None,
        masker: Masker,
        guard: Guard,
        enricher: Enricher,
    ) -> None:
        self._config = config
        self._enricher = enricher
        self._guard = guard
        self._settings = settings
        self._name = name
        self._client = client
        self._masker = masker
        self._metadata: dict[str, Any] = {}
        self._workers: Workers | None = None
        self._shards: dict[str, Shard] = {}
        self._changes_results = True
        self._recorder = Recorder(self._clip)
        self._grouped = False
        self._collected = 0
        self._items: list[pytest.Item] = []
        self._stop = Stop(config)
        self._courier: Courier | None = None
        self._summary: Summary | None = None
        self._is_delivered = False
        self._is_shown = False
        folder = config.rootpath / (settings.offline or JOURNALS)
        run = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}"
        self._journal = Journal.create(folder, run)

    # Opening ------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Begin the journal and its delivery, before xdist starts its workers."""
        self._stop.watch(session, self._journal.path.with_suffix(".cancel"))
        manager = self._config.pluginmanager
        if manager.hasplugin("dsession"):
            shard = self._name.id if self._name else ""
            self._workers = Workers(self._config, shard, self._told, self._guard.learn)
            manager.register(self._guard.watch(self._workers), "tms-workers")
        if manager.hasplugin("timeout"):
            manager.register(self._guard.watch(Timeouts(self._killed)), "tms-timeouts")
        self._metadata = {
            **ci.describe(self._config.rootpath),
            **{key: value for key, _, value in (word.partition("=") for word in self._settings.meta)},
        }
        self._write(self._opened())
        # In one shard, several workers can run the same test, and each run counts.
        per_worker = self._name is not None and self._workers is not None and self._workers.each
        self._grouped = is_grouped(self._config)
        self._recorder = Recorder(self._clip, per_worker=per_worker, grouped=self._grouped)
        for shard_id in self._shard_ids():
            self._shards[shard_id] = Shard(shard_id, time.time(), line_prefix(shard_id))
            self._write(ShardStarted(at=wire.timestamp(), shard=shard_id))
        if self._client is not None:
            self._courier = self._deliver(self._client)
            self._courier.start(LONGEST_OPENING)
        self._config.stash[REPORTING] = self._told(next(iter(self._shards)))

    def _deliver(self, client: TmsClient) -> Courier:
        from pytest_tms.sender.pacing import Courier
        from pytest_tms.sender.replay import Earlier
        from pytest_tms.sender.uploader import Delivery

        documented_only = self._settings.payload == "documented"
        delivery = Delivery(
            client,
            self._journal,
            documented_only=documented_only,
            webhook_token=self._settings.webhook_token.reveal(),
            pace=self._settings.progress_interval or None,
            running=self._running,
        )
        earlier = Earlier(self._journal.path.parent, client, documented_only=documented_only)
        return Courier(delivery, earlier, self._stop.cancel)

    def _opened(self) -> Opened:
        settings = self._settings
        opened = Opened(
            at=wire.timestamp(),
            version=VERSION,
            run=self._journal.path.stem,
            url=self._client.base_url if self._client else "",
            execution=settings.execution,
            provider=settings.provider,
        )
        if settings.execution:
            return opened
        workers = self._workers.count if self._workers else 0
        total = self._name.total or 1 if self._name else len(self._shard_ids())
        request = wire.ExecutionRequest(
            test_suite=settings.suite,
            environment=settings.environment,
            provider=settings.provider,
            trigger_source=settings.trigger,  # type: ignore[arg-type]  # checked against the choices
            configuration=wire.Configuration(
                parallel=max(total, workers) > 1, shards=total, timeout=settings.timeout * 1000
            ),
            metadata=self._metadata or None,
        )
        return msgspec.structs.replace(opened, request=self._changed_request(request))

    def _write(self, line: Line) -> None:
        self._journal.append(self._masker.line(encode(line)))

    def _shard_ids(self) -> list[str]:
        if self._name is not None:
            return [self._name.id]
        return [str(number) for number in range(1, max(self._workers.count if self._workers else 1, 1) + 1)]

    def _told(self, shard_id: str) -> dict[str, str]:
        """What the process that runs a shard's tests has to know."""
        joined = self._courier.delivery.joined if self._courier else None
        execution = joined.execution_id if joined else ""
        folder = self._config.rootpath / ".tms" / "artifacts" / (execution or self._journal.path.stem)
        return {
            "execution": execution,
            "shard": shard_id,
            "folder": str(folder),
            "cancel": str(self._journal.path.with_suffix(".cancel")),
        }

    def pytest_report_header(self) -> str:
        """Name the execution's page before the tests, or say why there is none yet."""
        if self._courier is None:
            lines = [f"offline, writing to {self._journal.path.parent}", misled(self._config)]
            return "\n".join(f"tms: {line}" for line in lines if line)
        joined = self._courier.delivery.joined
        if joined is None:
            problem = self._courier.problem or "it has not answered yet"
            return f"tms: not reporting yet: {problem}"
        where = f"suite {self._settings.suite}, environment {self._settings.environment}"
        shards = f"shard{'s' * (len(self._shards) > 1)} {', '.join(self._shards)}"
        return f"tms: {joined.report_url} ({where}, {shards})"

    # Collecting ---------------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep a file that cannot be collected, or is skipped as a whole, as a test with the file's name."""
        is_told = self._name is not None and self._name.total > 1 and self._name.id != "1"
        if report.failed or (report.skipped and not is_told):  # by the first of all that skip the same file
            shard = self._shard_of("")
            shard.broken = shard.broken or report.failed
            result = not_collected(report, self._clip)
            self._collected += result.node_id not in shard.settled
            self._keep(shard, self._changed_result(report, result))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note how many tests there are; xdist's controller has none of its own."""
        self._items = session.items
        self._collected += len(session.items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Look whether the user changes results, once every conftest.py is loaded."""
        self._changes_results = bool(self._config.hook.pytest_tms_result.get_hookimpls())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Follow a test, before others write the report down; keep its result once it has settled."""
        try:
            if report.when == "setup":
                self._enricher.enrich(report)
            result = self._recorder.add(report)
        except Exception as error:  # a defect of ours costs the test its details, not its outcome
            self._guard.note("pytest-tms in pytest_runtest_logreport", error)
            result = self._recorder.give_up(report)
        if result is None:
            return
        if self._workers is None:
            self._enricher.settled()
        else:
            self._workers.running.pop(report.nodeid, None)
        if self._changes_results:
            result = self._changed_result(report, result)
        self._keep(self._shard_of(result.worker or ""), result)

    def _running(self) -> list[str]:
        """The tests that run now."""
        running = self._enricher.running if self._workers is None else list(self._workers.running)
        return [clean(nodeid) for nodeid in running]

    def _shard_of(self, worker: str) -> Shard:
        if self._workers is not None and self._name is None:
            return self._shards[self._workers.shard_of(worker)]
        return next(iter(self._shards.values()))

    def _keep(self, shard: Shard, result: wire.TestResult) -> None:
        encoded = as_json(result)
        prefix = line_prefix(shard.id, again=True) if shard.count(result) else shard.prefix
        self._journal.append(self._masker.line(prefix + encoded + b"}\n"))

    # The user's hooks ---------------------------------------------------------------------------

    def _changed_request(self, request: wire.ExecutionRequest) -> wire.ExecutionRequest:
        body = msgspec.to_builtins(request)
        try:
            self._config.hook.pytest_tms_execution(config=self._config, request=body)
            return _checked(body, wire.ExecutionRequest)
        except HOOK_ERRORS as error:  # whatever a user's hook raises, or leaves behind
            self._guard.note("the hook pytest_tms_execution", error)
            return request

    def _changed_result(
        self, report: pytest.TestReport | pytest.CollectReport, result: wire.TestResult
    ) -> wire.TestResult:
        body = msgspec.to_builtins(result)
        try:
            self._config.hook.pytest_tms_result(report=report, result=body)
            return _checked(body, wire.TestResult)
        except HOOK_ERRORS as error:
            self._guard.note("the hook pytest_tms_result", error)
            return result

    # Closing ------------------------------------------------------------------------------------

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Close at once where the run was stopped: CI kills soon, and xdist may wait long for its workers."""
        self._stop.interrupted(excinfo.value)
        if self._stop.reason:
            self._finish(int(pytest.ExitCode.INTERRUPTED))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Close the shards and let the rest be delivered, after every worker has ended."""
        if self._summary is None:
            self._finish(exitstatus)
        session.exitstatus = self._stop.status or session.exitstatus
        if self._settings.required and not self._is_delivered and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _finish(self, exitstatus: int) -> None:
        for result in self._recorder.unsettled():
            self._keep(self._shard_of(result.worker or ""), result)
        ends = [self._end(shard, exitstatus) for shard in self._shards.values()]
        for end in ends:
            self._write(end)
        self._write(self._closed(ends))
        deadline = STOPPED_DEADLINE if self._stop.reason else self._settings.deadline
        done = self._is_delivered = self._courier.finish(deadline) if self._courier else False
        self._summary = self._sum_up(ends, done=done)
        if self._courier is None or done or self._courier.is_over:
            self._journal.close(delivered=done and not self._summary.refused)
        try:
            self._config.hook.pytest_tms_finished(config=self._config, summary=self._summary)
        except HOOK_ERRORS as error:
            self._guard.note("the hook pytest_tms_finished", error)

    def _killed(self, reason: str) -> None:
        """Close and show at once, from another thread than the tests': the process ends in a moment."""
        self._stop.killed(reason)
        self._finish(int(pytest.ExitCode.INTERRUPTED))
        manager = self._config.pluginmanager
        if (capture := manager.getplugin("capturemanager")) is not None:
            capture.suspend_global_capture(in_=True)
        if (terminal := manager.getplugin("terminalreporter")) is not None and self._summary is not None:
            terminal.ensure_newline()
            write_summary(terminal, self._summary, self._guard.take())

    def _end(self, shard: Shard, exitstatus: int) -> ShardEnded:
        now = time.time()
        return ShardEnded(
            at=_time(now),
            shard=shard.id,
            status=self._status(shard, exitstatus),
            results=shard.totals(),
            artifacts=wire.ArtifactNames(**shard.files) if shard.files else None,
            duration=round((now - shard.started) * 1000),
            metadata={**self._metadata, "startTime": _time(shard.started), "endTime": _time(now)},
        )

    def _closed(self, ends: list[ShardEnded]) -> Closed:
        """The end of the execution, where this run is all there is of it."""
        if self._settings.execution or (self._name and self._name.total > 1):
            return Closed(at=wire.timestamp())
        statuses = {end.status for end in ends}
        event: wire.EventName = "execution.completed"
        if "cancelled" in statuses:
            event = "execution.cancelled"
        elif "error" in statuses:
            event = "execution.failed"
        totals = [msgspec.structs.asdict(end.results) for end in ends]
        return Closed(
            at=wire.timestamp(),
            event=event,
            status=event.partition(".")[2],
            results=wire.GivenCounts(**{name: sum(each[name] for each in totals) for name in totals[0]}),
            duration=max(end.duration for end in ends),
        )

    def _sum_up(self, ends: list[ShardEnded], *, done: bool) -> Summary:
        delivery = self._courier.delivery if self._courier else None
        total = sum(end.results.total or 0 for end in ends)
        collected = self._collected + (self._workers.collected if self._workers else 0)
        trouble = list(delivery.trouble if delivery else ())
        earlier = self._courier.earlier if self._courier else None
        if earlier is not None:
            trouble += earlier.trouble
        if delivery and delivery.execution_status == "failed" and all(end.status != "error" for end in ends):
            trouble.append(
                "to the TMS the execution has failed, its page says why; tms_timeout is how long it may run"
            )
        if self._courier and self._courier.problem:
            trouble.append(self._courier.problem)
        if self._journal.trouble and not done:
            trouble.append(self._journal.trouble)
        joined = delivery.joined if delivery else None
        return Summary(
            report_url=joined.report_url if joined else "",
            shards=[(end.shard, end.status, end.results) for end in ends],
            collected=max(collected, total),
            delivered=min(total, delivery.delivered) if delivery else 0,
            refused=delivery.refused if delivery else [],
            results=total,
            kept_in=None if done or not self._journal.is_on_disk else self._journal.path.parent,
            earlier=(earlier.runs, earlier.tests) if earlier else (0, 0),
            stopped_by=self._why(),
            running=self._running(),
            left_out=self._left_out() if collected > total else [],
            trouble=trouble,
        )

    def _why(self) -> str:
        """Why tests were not run, where some were not."""
        if self._stop.why:
            return self._stop.why
        if self._workers is not None and self._workers.has_crashed:
            return "a worker crashed, and none took its place"
        return "the session ended before"

    def _left_out(self) -> list[str]:
        """The tests that never began, in their order; a test that several workers share is named once."""
        settled = {str(name) for shard in self._shards.values() for name in shard.settled}
        settled |= {name.rpartition(" ")[0] for name in settled}  # without " @gw0" and " #2"
        running = self._running()
        names = self._workers.names if self._workers else [item.nodeid for item in self._items]
        wanted = [name for name in (map(test_id, names) if self._grouped else names) if name not in settled]
        return [name for name in map(clean, wanted) if name not in running]

    def _status(self, shard: Shard, exitstatus: int) -> wire.SubmittedStatus:
        if self._stop.reason:
            return "cancelled"
        if shard.broken or exitstatus in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
            return "error"
        return "failed" if shard.counts["failed"] else "completed"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Show link, counts and ledger, after everything else where eyes come to rest."""
        yield
        self.after_pytest_terminal_summary(terminalreporter)

    def after_pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show it, where the session came to its end."""
        if self._summary is not None:
            self._is_shown = True
            write_summary(terminalreporter, self._summary, self._guard.take())

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """End what did not end, show what pytest did not show, and let a signal's former handler have it."""
        if self._summary is None and self._shards:  # the session broke before it could finish
            self._finish(int(pytest.ExitCode.INTERNAL_ERROR))
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if self._summary is not None and not self._is_shown and terminal is not None:
            write_summary(terminal, self._summary, self._guard.take())
        self._stop.hand_on()

    def _clip(self, text: str) -> str:
        return clean(self._masker.text(text), limit=self._settings.output_limit)


def _checked(body: dict[str, Any], kind: type[Message]) -> Message:
    """``body`` as the message that it was, where it still is one that can be sent."""
    message = msgspec.convert(body, kind)
    as_json(message)
    return message


def _time(seconds: float) -> str:
    return wire.timestamp(datetime.fromtimestamp(seconds, timezone.utc))
