"""One reporting session: from pytest's hooks to the lines of a journal; only the reporting process has one.

While tests run, a hook here appends to the journal and does nothing else: no network, no thread, no signal
handler, no environment. The sender process delivers the journal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.ci import detection
from pytest_tms.journal.file import JournalWriter, read_acks
from pytest_tms.journal.lines import (
    VERSION,
    Closed,
    Collected,
    Line,
    OnWorker,
    Opened,
    ShardEnded,
    ShardStarted,
    TimeLimit,
    as_json,
    encode,
    encode_tested,
    text_as_json,
)
from pytest_tms.masking import Masker
from pytest_tms.plugin.hook_errors import Guard
from pytest_tms.plugin.offline_option import misled
from pytest_tms.plugin.results.attachments import REPORTING, STORE
from pytest_tms.plugin.results.outcomes import not_collected
from pytest_tms.plugin.results.recorded_properties import suite_properties
from pytest_tms.plugin.results.recorder import Recorder
from pytest_tms.plugin.results.shard_counts import Shard
from pytest_tms.plugin.results.user_hooks import restore_identity, result_hook
from pytest_tms.plugin.settings import Settings
from pytest_tms.plugin.shutdown import Shutdown, TimeLimits
from pytest_tms.plugin.terminal import Summary, write_summary
from pytest_tms.plugin.xdist.sharding import ShardName, is_grouped, test_id
from pytest_tms.plugin.xdist.workers import Workers
from pytest_tms.sender.launch import SenderProcess, Start, State
from pytest_tms.text import clean

if TYPE_CHECKING:
    from pytest_tms.plugin.results.enrichment import Enricher

Message = TypeVar("Message", bound=msgspec.Struct)

STOPPED_DEADLINE = 3.0
"""Seconds that a stopped session waits for the TMS, which CI kills soon; its sender goes on without it."""
GRACE = 1.0
"""Seconds that the sender has beyond its deadline before it is ended."""
LOOK = 0.5
"""Seconds between two looks for a cancel while tests run."""
HOOK_ERRORS = (Exception, pytest.skip.Exception, pytest.fail.Exception)
"""What a user's hook may raise; pytest's own outcomes are not subclasses of Exception."""
JOURNALS = Path(".tms") / "journal"
"""The folder of journals, under pytest's rootdir."""
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class ReportingSession:
    """Follows one pytest session and writes its journal.

    ``problem`` is why it cannot be sent; its results are kept on disk then.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        name: ShardName | None,
        masker: Masker,
        guard: Guard,
        enricher: Enricher,
        *,
        problem: str = "",
        warnings: list[str] | None = None,
    ) -> None:
        self._config = config
        self._enricher = enricher
        self._guard = guard
        self._settings = settings
        self._name = name
        self._masker = masker
        self._problem = problem
        self._warnings = warnings or []
        self._metadata: dict[str, Any] = {}
        self._workers: Workers | None = None
        self._shards: dict[str, Shard] = {}
        self._shard_json: dict[str, bytes] = {}
        self._changes_results = True
        self._recorder = Recorder(self._clip)
        self._grouped = False
        self._collected = 0
        self._items: list[pytest.Item] = []
        self._begun = 0
        self._running: dict[str, int] = {}
        self._journal: JournalWriter | None = None
        self._sender: SenderProcess | None = None
        self._shutdown: Shutdown | None = None
        self._summary: Summary | None = None
        self._is_delivered = False
        self._is_shown = False
        # Bound now: tests and their plugins replace the functions of the module.
        self._time: Callable[[], float] = time.time
        self._clock: Callable[[], float] = time.monotonic
        self._next_look = 0.0
        self._time_limit = 0.0
        self._ends_at = 0.0

    # Opening ------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Begin the journal and start its sender, before xdist starts its workers."""
        now = datetime.now(timezone.utc)
        run = f"{now:%Y%m%dT%H%M%S%f}-{os.urandom(6).hex()}"
        self._journal = JournalWriter.create(self._folders(), run)
        self._shutdown = Shutdown(session, self._journal.path.with_suffix(".cancel"))
        if self._settings.timeout:
            self._ends_at = self._clock() + self._settings.timeout
        manager = self._config.pluginmanager
        if manager.hasplugin("dsession"):
            shard = self._name.id if self._name else ""
            self._workers = Workers(
                self._config, shard, self._told, self._guard.learn, self._collected_by_workers
            )
            manager.register(self._guard.watch(self._workers), "tms-workers")
        if manager.hasplugin("timeout"):
            manager.register(self._guard.watch(TimeLimits(self._note_time_limit)), "tms-timeouts")
        self._metadata = {
            **detection.describe(self._config.rootpath),
            **{key: value for key, _, value in (word.partition("=") for word in self._settings.meta)},
        }
        self._append(self._opened(run))
        # In one shard, several workers can run the same test, and each run counts.
        per_worker = self._name is not None and self._workers is not None and self._workers.each
        self._grouped = is_grouped(self._config)
        self._recorder = Recorder(self._clip, per_worker=per_worker, grouped=self._grouped)
        for shard_id in self._shard_ids():
            self._shards[shard_id] = Shard(shard_id, time.time())
            self._shard_json[shard_id] = text_as_json(shard_id)
            self._append(ShardStarted(at=wire.timestamp(), shard=shard_id))
        if not self._settings.offline and not self._problem and self._journal.is_on_disk:
            sender = SenderProcess(self._start())
            if sender.start():
                self._sender = sender
        self._config.stash[REPORTING] = self._told(next(iter(self._shards)))

    def _folders(self) -> list[Path]:
        """Where the journal may be written: in the project, else in the folder for temporary files."""
        import tempfile

        base = self._config.rootpath
        if base == base.parent:  # a rootdir of / says only that the tests have nothing in common
            base = self._config.invocation_params.dir
        if self._settings.offline:
            return [base / self._settings.offline]
        return [base / JOURNALS, Path(tempfile.gettempdir()) / "pytest-tms" / "journal"]

    def _start(self) -> Start:
        settings = self._settings
        return Start(
            journal=str(self._writer.path.absolute()),
            pid=os.getpid(),
            url=settings.url,
            token=settings.token.reveal(),
            webhook_token=settings.webhook_token.reveal(),
            pace=settings.progress_interval,
            deadline=settings.deadline,
            mask=list(settings.mask),
        )

    def _opened(self, run: str) -> Opened:
        settings = self._settings
        attempt = str(self._metadata.get("attempt", ""))
        opened = Opened(
            at=wire.timestamp(),
            version=VERSION,
            run=run,
            url=without_login(settings.url),
            execution=settings.execution,
            provider=settings.provider,
            attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 7 else 0,
            documented=settings.payload == "documented",
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
                parallel=max(total, workers) > 1,
                shards=total,
                timeout=settings.timeout * 1000 if settings.timeout else None,
            ),
            metadata=self._metadata or None,
        )
        return msgspec.structs.replace(opened, request=self._changed_request(request))

    @property
    def _writer(self) -> JournalWriter:
        if self._journal is None:
            raise RuntimeError("the session has not started")
        return self._journal

    def _append(self, line: Line) -> None:
        self._writer.append(self._masker.line(encode(line)))

    def _shard_ids(self) -> list[str]:
        if self._name is not None:
            return [self._name.id]
        return [str(number) for number in range(1, max(self._workers.count if self._workers else 1, 1) + 1)]

    def _told(self, shard_id: str) -> dict[str, str]:
        """What the process that runs a shard's tests has to know."""
        path = self._writer.path
        return {
            "execution": self._settings.execution,
            "shard": shard_id,
            "journal": str(path) if self._sender is not None else "",
            "folder": str(path.parent.parent / "artifacts" / path.stem),
            "cancel": str(path.with_suffix(".cancel")),
        }

    def pytest_report_header(self) -> list[str]:
        """Show where results go if they are not sent, or why not."""
        if self._problem:
            return [f"tms: not reporting: {self._problem}; results are kept in {self._writer.path.parent}"]
        if self._settings.offline:
            lines = [f"offline, writing to {self._writer.path.parent}", misled(self._config)]
            return [f"tms: {line}" for line in lines if line]
        return []

    def pytest_report_collectionfinish(self) -> list[str]:
        """Show the execution's page, if it is known by now."""
        return self._link()

    def _link(self) -> list[str]:
        """The line with the link: none if it is not known yet, or with ``-q`` and ``--no-header``."""
        option = self._config.getoption
        if self._sender is None or option("verbose") < 0 or option("no_header", default=False):
            return []
        self._sender.read()
        url = self._sender.state.report_url
        where = f"suite {self._settings.suite}, environment {self._settings.environment}"
        shards = f"shard{'s' * (len(self._shards) > 1)} {', '.join(self._shards)}"
        return [f"tms: {url} ({where}, {shards})"] if url else []

    # Collecting ---------------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep a file that cannot be collected, or is skipped as a whole, as a test with the file's name."""
        is_told = self._name is not None and self._name.total > 1 and self._name.id != "1"
        if report.failed or (report.skipped and not is_told):  # by the first of all that skip the same file
            shard = self._shard_of("")
            shard.broken = shard.broken or report.failed
            result = not_collected(report, self._clip)
            self._collected += result.node_id not in shard.settled
            self._keep(shard, result.node_id, self._changed_result(report, result))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note how many tests there are; xdist's controller has none of its own."""
        self._items = session.items
        self._collected += len(session.items)
        self._append(Collected(shard=next(iter(self._shards)), tests=self._collected))

    def _collected_by_workers(self, tests: int) -> None:
        """Note how many tests there are over xdist: the first shard stands for all until they have run."""
        self._append(Collected(shard=next(iter(self._shards)), tests=self._collected + tests))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Look whether the user changes results, once every conftest.py is loaded."""
        self._changes_results = bool(self._config.hook.pytest_tms_result.get_hookimpls())
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if self._workers is not None and terminal is not None:
            for line in self._link():
                terminal.write_line(line)

    # Tests --------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note the test that begins: if the process is killed, it is the one that people look for."""
        number = self._running.get(nodeid)
        if number is None:
            self._begun += 1
            number = self._running[nodeid] = self._begun
        name = test_id(nodeid) if self._grouped else nodeid
        line = b'{"is":"begin","n":%d,"name":%b,"t":%d}\n' % (
            number,
            text_as_json(name),
            int(self._time() * 1000),
        )
        self._writer.append(self._masker.line(line))

        if self._time_limit:
            self._append(TimeLimit(n=number, seconds=self._time_limit))
            self._time_limit = 0.0

    def _note_time_limit(self, nodeid: str, seconds: float) -> None:
        """Note a test's limit, which pytest-timeout sets before the test begins or when its call does."""
        if (number := self._running.get(nodeid)) is not None:
            self._append(TimeLimit(n=number, seconds=seconds))
        else:
            self._time_limit = seconds

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Follow a test, before others write the report down; keep its result once it has settled."""
        try:
            self._enricher.enrich(report)
            if report.when == "setup" and self._workers is not None:
                self._note_worker(report)
            result = self._recorder.add(report)
        except Exception as error:  # a defect of ours costs the test its details, not its outcome
            self._guard.note("pytest-tms in pytest_runtest_logreport", error)
            result = self._recorder.give_up(report)
        if result is None:
            return
        self._enricher.settled()
        identity = result.node_id
        if self._changes_results:
            result = self._changed_result(report, result)
        number = self._running.pop(report.nodeid, 0)
        self._keep(self._shard_of(result.worker or ""), identity, result, number)
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK
            self._look(now)

    def _note_worker(self, report: pytest.TestReport) -> None:
        number = self._running.get(report.nodeid)
        worker = getattr(report, "worker_id", "")
        if number is not None and worker:
            self._append(OnWorker(n=number, worker=worker, shard=self._shard_of(worker).id))

    def _look(self, now: float) -> None:
        """Stop the run if its time is over, or if the TMS asks for it."""
        if self._shutdown is None or not self._writer.is_own:
            return
        if self._ends_at and now > self._ends_at:
            self._shutdown.stop(f"tms_timeout: the run took longer than {self._settings.timeout} s")
        if self._sender is not None:
            self._sender.read()
            if reason := self._sender.state.stop:
                self._shutdown.stop(reason)

    def _shard_of(self, worker: str) -> Shard:
        if self._workers is not None and self._name is None:
            return self._shards[self._workers.shard_of(worker)]
        return next(iter(self._shards.values()))

    def _keep(self, shard: Shard, identity: object, result: wire.TestResult, number: int = 0) -> None:
        which, again = shard.count(identity, result)
        line = encode_tested(
            self._shard_json[shard.id], as_json(result), n=number, identity=which, again=again
        )
        self._writer.append(self._masker.line(line))

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
            result_hook(self._config, result.file)(report=report, result=body)
            return restore_identity(result, _checked(body, wire.TestResult))
        except HOOK_ERRORS as error:
            self._guard.note("the hook pytest_tms_result", error)
            return result

    # Closing ------------------------------------------------------------------------------------

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Close at once if the run was stopped: CI kills soon, and xdist may wait long for its workers."""
        if self._shutdown is None:
            return
        self._shutdown.interrupted(excinfo.value)
        if self._shutdown.reason and self._summary is None:
            self._finish(int(pytest.ExitCode.INTERRUPTED))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Close the shards and let the rest be delivered, after every worker has ended."""
        if self._journal is not None and not self._journal.is_own:
            return
        if self._summary is None and self._journal is not None:
            self._finish(int(session.exitstatus))
        if self._settings.required and not self._is_delivered and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _finish(self, exitstatus: int) -> None:
        if not self._writer.is_own:
            return
        in_flight = self._enricher.running if self._workers is None else None
        for result in self._recorder.unsettled(in_flight):
            number = self._running.pop(result.node_id or "", 0)
            self._keep(self._shard_of(result.worker or ""), result.node_id, result, number)
        ends = self._ends(exitstatus)
        for end in ends:
            self._append(end)
        is_stopped = self._shutdown is not None and bool(self._shutdown.reason)
        wait = min(STOPPED_DEADLINE, self._settings.deadline) if is_stopped else self._settings.deadline
        self._append(self._closed(ends, self._settings.deadline))
        self._writer.close()
        state = self._deliver(wait)
        self._is_delivered = state.is_done and not state.refused
        self._summary = self._sum_up(ends, state)
        if self._shutdown is not None:
            self._shutdown.forget()
        try:
            self._config.hook.pytest_tms_finished(config=self._config, summary=self._summary)
        except HOOK_ERRORS as error:
            self._guard.note("the hook pytest_tms_finished", error)

    def _deliver(self, wait: float) -> State:
        """Have the rest delivered, for at most ``wait`` seconds, and return how far that came."""
        if self._settings.offline or self._problem:
            return State(problem=self._problem)
        sender = self._sender
        try:
            if (
                sender is not None
                and not self._writer.memory
                and sender.wait(wait + GRACE, self._announce_wait)
            ):
                sender.forget()
                return sender.state
            if sender is not None and not sender.is_over:
                if wait < self._settings.deadline and not self._writer.memory:
                    sender.forget()
                    limit = f"{self._settings.deadline:g} s"
                    return self._reached(f"what is left is being sent in the background, for at most {limit}")
                sender.stop()
                if not self._writer.memory:
                    return self._reached(f"the TMS did not take everything within {wait:g} s")
            return self._deliver_in_foreground(wait)
        except KeyboardInterrupt:
            if sender is not None:
                sender.stop()
            return self._reached("the wait for the TMS was interrupted")

    def _announce_wait(self) -> None:
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(
                f"tms: waiting for {without_login(self._settings.url)} to take the last results, "
                f"at most {self._settings.deadline:g} s; Ctrl-C skips this"
            )

    def _deliver_in_foreground(self, wait: float) -> State:
        """Deliver here: no sender could be started, it has died, or it cannot read what is in memory."""
        from pytest_tms.sender.process import deliver_in_foreground

        start = self._start()
        start.deadline = wait
        state = deliver_in_foreground(start, self._writer.memory)
        return state or self._reached("another process delivers the results")

    def _reached(self, problem: str) -> State:
        """How far the TMS has a journal whose delivery was ended."""
        acks = read_acks(self._writer.path)
        return State(
            report_url=str(acks.joined.get("report_url", "")),
            delivered=acks.delivered,
            refused=acks.refused,
            problem=(self._sender.state.problem if self._sender else "") or problem,
        )

    def _ends(self, exitstatus: int) -> list[ShardEnded]:
        """The ends of the shards; what did not run over xdist is of the first one."""
        results = sum(sum(shard.counts.values()) for shard in self._shards.values())
        not_run = max(0, self._all_collected() - results)
        ends = []
        for shard in self._shards.values():
            total = sum(shard.counts.values())
            ends.append(self._end(shard, exitstatus, total, not_run))
            not_run = 0
        return ends

    def _end(self, shard: Shard, exitstatus: int, total: int, not_run: int) -> ShardEnded:
        now = self._time()
        status = self._status(shard, exitstatus)
        duration = max(0, round((now - shard.started) * 1000))
        return ShardEnded(
            at=_iso(now),
            shard=shard.id,
            status=status,
            results=shard.totals(),
            artifacts=wire.ArtifactNames(**shard.files) if shard.files else None,
            duration=duration,
            metadata={
                **suite_properties(self._config),
                **self._metadata,
                "startTime": _iso(shard.started),
                "endTime": _iso(now),
            },
            reason=self._shutdown.reason if self._shutdown is not None and status == "cancelled" else "",
            collected=total + not_run,
            not_run=not_run,
            not_run_reason=self._why() if not_run else "",
            not_run_tests=[*self._in_flight(), *self._left_out()][: wire.MAX_NOT_RUN_TESTS]
            if not_run
            else [],
            exit_status=exitstatus,
        )

    def _closed(self, ends: list[ShardEnded], wait: float) -> Closed:
        """The end of the execution, if this run is all there is of it."""
        at = _iso(self._time())
        if self._settings.execution or (self._name and self._name.total > 1):
            return Closed(at=at, wait=wait)
        statuses = {end.status for end in ends}
        event: wire.EventName = "execution.completed"
        if "cancelled" in statuses:
            event = "execution.cancelled"
        elif "error" in statuses:
            event = "execution.failed"
        totals = [msgspec.structs.asdict(end.results) for end in ends]
        return Closed(
            at=at,
            event=event,
            status=event.partition(".")[2],
            results=wire.GivenCounts(**{name: sum(each[name] for each in totals) for name in totals[0]}),
            duration=max(end.duration for end in ends),
            reason=next((end.reason for end in ends if end.reason), ""),
            wait=wait,
        )

    def _all_collected(self) -> int:
        return self._collected + (self._workers.collected if self._workers else 0)

    def _sum_up(self, ends: list[ShardEnded], state: State) -> Summary:
        total = sum(end.results.total or 0 for end in ends)
        warnings = [*self._warnings, *self._config.stash[STORE].warnings, *state.warnings]
        writer = self._writer
        if writer.problem and not state.is_done:
            warnings.append(writer.problem)
        kept_in = None
        if not state.is_done or state.refused:
            kept_in = writer.path if writer.is_on_disk else None
        required = ""
        if self._settings.required and not (state.is_done and not state.refused):
            offline = "--tms-offline sends nothing" if self._settings.offline else ""
            required = f"required, but not everything was reported: {offline or state.problem or 'refused'}"
        return Summary(
            report_url=state.report_url,
            shards=[(state.names.get(end.shard, end.shard), end.status, end.results) for end in ends],
            collected=max(self._all_collected(), total),
            delivered=min(total, state.delivered),
            refused=state.refused,
            results=total,
            kept_in=kept_in.parent if kept_in is not None and self._settings.offline else kept_in,
            backlog=state.backlog,
            waiting=state.waiting,
            stopped_by=self._why(),
            running=[self._masker.node_id(name) for name in self._in_flight()],
            left_out=[self._masker.node_id(name) for name in self._left_out()],
            problem=state.problem,
            warnings=warnings,
            is_offline=bool(self._settings.offline),
            required=required,
        )

    def _why(self) -> str:
        """Why tests did not run."""
        if self._shutdown is not None and self._shutdown.why:
            return self._shutdown.why
        if self._workers is not None and self._workers.has_crashed:
            return "a worker crashed, and none took its place"
        return "the session ended before"

    def _in_flight(self) -> list[str]:
        """The tests that were running."""
        return [self._plain(name) for name in self._running]

    def _left_out(self) -> list[str]:
        """The tests that never began, in their order; a test that several workers share is named once."""
        settled = {str(name) for shard in self._shards.values() for name in shard.settled}
        settled |= {name.rpartition(" ")[0] for name in settled}  # without " @gw0" and " #2"
        running = set(self._running)
        names = self._workers.names if self._workers else [item.nodeid for item in self._items]
        return [
            self._plain(name)
            for name in names
            if name not in running and (test_id(name) if self._grouped else name) not in settled
        ]

    def _plain(self, nodeid: str) -> str:
        """A node id without the group that xdist's loadgroup appends."""
        return clean(test_id(nodeid) if self._grouped else nodeid)

    def _status(self, shard: Shard, exitstatus: int) -> wire.SubmittedStatus:
        if self._shutdown is not None and self._shutdown.reason:
            return "cancelled"
        if shard.broken or exitstatus in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
            return "error"
        return "failed" if shard.counts["failed"] else "completed"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Show the outcome after everything else, next to pytest's last line."""
        yield
        self.after_pytest_terminal_summary(terminalreporter)

    def after_pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show it, if the session came to its end."""
        if self._summary is not None:
            self._is_shown = True
            verbosity = self._config.getoption("verbose")
            write_summary(terminalreporter, self._summary, self._guard.take(), verbosity=verbosity)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """End what did not end, and show what pytest did not show."""
        if self._journal is None or not self._journal.is_own:
            return
        if self._summary is None and self._shards:  # the session broke before it could finish
            self._finish(int(pytest.ExitCode.INTERNAL_ERROR))
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if self._summary is not None and not self._is_shown and terminal is not None:
            self.after_pytest_terminal_summary(terminal)

    def _clip(self, text: str) -> str:
        return clean(self._masker.text(text), limit=self._settings.output_limit)


def _checked(body: dict[str, Any], kind: type[Message]) -> Message:
    """``body`` as the message that it was, if it still can be sent as one."""
    message = msgspec.convert(body, kind)
    as_json(message)
    return message


def without_login(url: str) -> str:
    """Return a URL without the user and password that it may hold."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def _iso(seconds: float) -> str:
    return wire.timestamp(EPOCH + timedelta(seconds=seconds))
