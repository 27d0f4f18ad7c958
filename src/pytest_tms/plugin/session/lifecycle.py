"""The hooks of one reporting session, from its start to its summary."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tms.ci.metadata import build_metadata
from pytest_tms.journal.lines import Collected, ShardStarted
from pytest_tms.journal.writer import JournalWriter
from pytest_tms.masking.masker import Masker
from pytest_tms.masking.urls import without_credentials
from pytest_tms.plugin.hook_errors import HookErrors
from pytest_tms.plugin.offline_option import misread_folder
from pytest_tms.plugin.results.attachments import REPORTING, STORE
from pytest_tms.plugin.results.outcomes import not_collected
from pytest_tms.plugin.results.recorded_properties import suite_properties
from pytest_tms.plugin.results.recorder import Recorder
from pytest_tms.plugin.session.delivery import STOPPED_DEADLINE, ResultDelivery
from pytest_tms.plugin.session.ending import NotRun, closing_line, not_started, shard_ends
from pytest_tms.plugin.session.further_files import further_files
from pytest_tms.plugin.session.job_summary import JobSummary
from pytest_tms.plugin.session.opening import (
    ci_attempt,
    execution_request,
    find_run_key,
    journal_folders,
    left_out,
    lone_shard_warning,
    opening_line,
    quarantine_file,
)
from pytest_tms.plugin.session.quarantine import LIST_TIMEOUT, ExitStatus, SessionQuarantine
from pytest_tms.plugin.session.run_journal import RunJournal
from pytest_tms.plugin.session.shard_tests import ShardTests
from pytest_tms.plugin.session.shards import SessionShards
from pytest_tms.plugin.session.summary import Summary, queue_sentence, summarise
from pytest_tms.plugin.shutdown import Shutdown
from pytest_tms.plugin.terminal import Notices, write_summary
from pytest_tms.plugin.time_limits import TimeLimits
from pytest_tms.plugin.user_hooks import UserHooks
from pytest_tms.plugin.xdist.sharding import ShardName, is_grouped, test_id
from pytest_tms.plugin.xdist.workers import Workers
from pytest_tms.sender.launch import SenderState
from pytest_tms.settings.table import Settings
from pytest_tms.text import clean
from pytest_tms.wire.base import timestamp

if TYPE_CHECKING:
    from pytest_tms.plugin.github_actions import GitHubActions
    from pytest_tms.plugin.results.enrichment import Enricher
    from pytest_tms.plugin.session.repeated_tests import RepeatedTests

REORDERED = ("load", "worksteal")
"""Ways in which xdist distributes tests one by one: those that take the longest begin first."""
CANCEL_CHECK_INTERVAL = 0.5
"""Seconds between two checks whether the run has to stop, while tests run."""


class ReportingSession:
    """Follows one pytest session and writes its journal.

    ``problem`` is why results cannot be sent; they are kept on disk then.
    """

    _shutdown: Shutdown
    _journal: RunJournal
    _shards: SessionShards
    _delivery: ResultDelivery
    _tests: ShardTests
    _quarantine: SessionQuarantine
    _recorder: Recorder

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        shard: ShardName | None,
        masker: Masker,
        errors: HookErrors,
        enricher: Enricher,
        *,
        problem: str = "",
        github: GitHubActions | None = None,
    ) -> None:
        self._config = config
        self._settings = settings
        self._shard_name = shard
        self._masker = masker
        self._errors = errors
        self._enricher = enricher
        self._problem = problem
        self._job_summary = JobSummary(github, settings, errors)
        self._notices = Notices(config, without_credentials(settings.url))
        self._user_hooks = UserHooks(config, errors)
        self._changes_results = True
        self._workers: Workers | None = None
        self._metadata: dict[str, Any] = {}
        self._is_grouped = False
        self._lone_shard = ""
        self._has_started = False
        self._collected = 0
        self._items: list[pytest.Item] = []
        self._is_delivered = False
        self._is_passed_by_quarantine = False
        self._repeated: RepeatedTests | None = None
        self._selection = ""
        self._summary: Summary | None = None
        self._is_summary_shown = False
        # Bound here: tests and their plugins replace the functions of the module.
        self._time: Callable[[], float] = time.time
        self._clock: Callable[[], float] = time.monotonic
        self._next_check = 0.0
        self._ends_at = 0.0

    # Start --------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Begin the journal and start its sender, before xdist starts its workers."""
        settings, config = self._settings, self._config
        self._is_grouped = is_grouped(config)
        run = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}-{os.urandom(6).hex()}"
        writer = JournalWriter.create(journal_folders(config, settings.offline), run)
        self._journal = RunJournal(writer, self._masker, is_grouped=self._is_grouped)
        self._shutdown = Shutdown(session, writer.path.with_suffix(".cancel"))
        if settings.timeout:
            self._ends_at = self._clock() + settings.timeout
        self._register_observers()
        metadata = dict(word.partition("=")[::2] for word in settings.meta)
        self._metadata = {
            **build_metadata(config.rootpath, project=settings.project),
            **metadata,
        }
        run_key = "" if settings.execution else find_run_key(settings)
        self._prepare_delivery(is_shared=bool(run_key or settings.execution))
        self._shards = SessionShards(self._shard_name, self._workers, self._time())
        # In one shard, several workers can run the same test, and each run counts.
        per_worker = self._shard_name is not None and self._workers is not None and self._workers.each
        self._recorder = Recorder(self._clip, per_worker=per_worker, grouped=self._is_grouped)
        request = None
        if not settings.execution:
            self._lone_shard = lone_shard_warning(settings, self._shards, run_key)
            request = self._user_hooks.change_request(
                execution_request(settings, self._shards, self._metadata, run_key)
            )
        self._journal.write(opening_line(settings, run, self._metadata, request))
        for shard_id in self._shards.ids:
            self._journal.write(ShardStarted(at=timestamp(), shard=shard_id))
        self._has_started = True
        self._delivery.start()
        self._detect_flaky_tests()
        config.stash[REPORTING] = self._context(self._shards.first.id)

    def _prepare_delivery(self, *, is_shared: bool) -> None:
        """Prepare the delivery, which also fetches the tests in quarantine and the durations of tests.

        ``is_shared`` is whether other jobs report to the same execution.
        """
        settings, writer = self._settings, self._journal.writer
        path: Path | None = None
        if settings.quarantine != "off":
            project = self._metadata.get("project", "")
            path = quarantine_file(self._config, writer.path, settings, project)
        known = writer.path.with_suffix(".known").absolute() if settings.detect_flaky > 1 else None
        self._tests = ShardTests(
            self._config,
            settings,
            self._shard_name,
            journal=writer.path,
            attempt=ci_attempt(self._metadata),
            is_shared=is_shared,
            is_each=self._workers is not None and self._workers.each,
            problem=self._problem,
        )
        self._delivery = ResultDelivery(
            settings, writer, self._problem, quarantine=path, known_tests=known, plan=self._tests.request
        )
        self._tests.connect(
            self._delivery,
            mask=lambda nodeid: self._masker.node_id(clean(nodeid)),
            check=self._must_stop,
            notify=self._notices.write,
            notify_of_wait=lambda seconds: self._notices.write_wait(
                seconds, "to select the tests of this shard"
            ),
        )
        self._quarantine = SessionQuarantine(
            path,
            is_offline=bool(settings.offline or self._problem),
            read_state=self._delivery.read,
            mask=self._masker.node_id,
            clock=self._time,
        )
        hooks = self._errors.protect(ExitStatus(self._decide_exit_status))
        self._config.pluginmanager.register(hooks, "tms-exit-status")

    def _detect_flaky_tests(self) -> None:
        """Select the tests that are run several times, in this process or in xdist's workers."""
        settings, config = self._settings, self._config
        if settings.detect_flaky < 2:
            return
        from pytest_tms.plugin.flaky_detection import FlakyDetection
        from pytest_tms.plugin.session.repeated_tests import RepeatedTests, select

        path = self._journal.path.with_suffix(".known").absolute() if self._delivery.is_running else None
        selection = select(settings, config.rootpath, path)
        self._repeated = RepeatedTests()
        if self._workers is None:
            config.pluginmanager.register(FlakyDetection(selection), "tms-flaky-detection")
        else:
            self._selection = selection.to_json()

    def _must_stop(self) -> bool:
        """Stop the run if that is due, while no test runs; return whether it stops."""
        self._check_cancelled(self._clock())
        return bool(self._shutdown.reason)

    def _register_observers(self) -> None:
        """Register what observes other plugins of the run: the workers of xdist, and pytest-timeout."""
        manager = self._config.pluginmanager
        if manager.hasplugin("dsession"):
            shard = self._shard_name.id if self._shard_name else ""
            self._workers = Workers(self._config, shard, self._context, self._errors, self._write_collected)
            manager.register(self._errors.protect(self._workers), "tms-workers")
        if manager.hasplugin("timeout"):
            limits = TimeLimits(self._journal.write_time_limit)
            manager.register(self._errors.protect(limits), "tms-timeouts")

    def _context(self, shard_id: str) -> dict[str, str]:
        """Return what the process that runs a shard's tests needs: see ``attachments.REPORTING``."""
        path = self._journal.path
        return {
            "execution": self._settings.execution,
            "shard": shard_id,
            "journal": str(path) if self._delivery.is_running else "",
            "folder": str(path.parent.parent / "artifacts" / path.stem),
            "cancel": str(path.with_suffix(".cancel")),
            "flaky": self._selection,
            "plan": self._tests.plan.file() if self._workers is not None else "",
            "order": "longest first" if self._config.getoption("dist", default="no") in REORDERED else "",
        }

    def pytest_report_header(self) -> list[str]:
        """Show where results are kept if they are not sent, or why they are not."""
        folder = self._journal.path.parent
        if self._problem:
            return [f"tms: not reporting: {self._problem}; results are kept in {folder}"]
        if self._settings.offline:
            lines = [f"offline, writing to {folder}", misread_folder(self._config)]
            return [f"tms: {line}" for line in lines if line]
        return []

    def pytest_report_collectionfinish(self) -> list[str]:
        """Show the execution's page, if it is known by now."""
        return self._link()

    def _link(self) -> list[str]:
        """Return the line with the link: none if it is not known yet, or with ``-q`` and ``--no-header``."""
        option = self._config.getoption
        if option("verbose") < 0 or option("no_header", default=False):
            return []
        url = self._delivery.read().report_url
        ids = self._shards.ids
        details = f"suite {self._settings.suite}, environment {self._settings.environment}"
        shards = f"shard{'s' * (len(ids) > 1)} {', '.join(ids)}"
        lines = [f"{url} ({details}, {shards})"] if url else []
        plan = self._tests.plan.get()
        if plan is not None and plan.settled:
            lines.append(left_out(len(plan.settled), ids[0]))
        return [f"tms: {line}" for line in lines]

    # Collection ---------------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Report a file that cannot be collected, or is skipped as a whole, as a test with its name."""
        # All shards collect the same files: the first one reports those that are skipped.
        if report.failed or (report.skipped and self._shards.has_first):
            shard = self._shards.of_worker("")
            shard.has_broken_files = shard.has_broken_files or report.failed
            owner = self._enricher.owner_of(self._config.rootpath / report.nodeid.partition("::")[0])
            result = not_collected(report, self._clip, owner)
            self._collected += result.node_id not in shard.results
            changed = self._user_hooks.change_result(report, result)
            self._journal.write_result(shard, result.node_id, changed)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Report how many tests there are; xdist's controller has none of its own."""
        self._items = list(session.items)
        if not self._tests.plan.is_queued():
            self._collected += len(session.items)
            self._write_collected(0)

    def _write_collected(self, by_workers: int) -> None:
        """Report how many tests there are; over xdist, all count for the first shard until they have run.

        Nothing is reported if the shard takes its tests from a queue, which has not assigned them yet.
        """
        if self._tests.plan.is_queued():
            return
        self._journal.write(Collected(shard=self._shards.first.id, tests=self._collected + by_workers))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Check whether the user changes results, once every conftest.py is loaded."""
        self._changes_results = self._user_hooks.has_result_hook()
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if self._workers is not None and terminal is not None:
            for line in self._link():
                terminal.write_line(line)

    # Tests --------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note the test that starts."""
        self._journal.write_start(nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Follow a test, before others write the report down; keep its result once it is complete."""
        if report.outcome == "failed" and "wasxfail" not in report.__dict__:
            self._quarantine.count_report(report.nodeid)
        if self._repeated is not None:
            self._repeated.add(report)
        try:
            self._enricher.enrich(report)
            if report.when == "setup" and self._workers is not None:
                self._write_worker(report)
            result = self._recorder.add(report)
        except Exception as error:  # a defect of the plugin costs the test its details, not its outcome
            self._errors.record("pytest-tms in pytest_runtest_logreport", error)
            result = self._recorder.fallback_result(report)
        if result is None:
            return
        self._enricher.finish_test()
        identity = result.node_id
        if self._changes_results:
            result = self._user_hooks.change_result(report, result)
        if result.status == "failed":
            result = self._quarantine.mark(report.nodeid, result)
        self._journal.write_result(
            self._shards.of_worker(result.worker or ""), identity, result, report.nodeid
        )
        now = self._clock()
        if now >= self._next_check:
            self._next_check = now + CANCEL_CHECK_INTERVAL
            self._check_cancelled(now)

    def _write_worker(self, report: pytest.TestReport) -> None:
        worker = getattr(report, "worker_id", "")
        if worker:
            self._journal.write_worker(report.nodeid, worker, self._shards.of_worker(worker).id)

    def _check_cancelled(self, now: float) -> None:
        """Stop the run if its time is over, or if it was cancelled in the TMS."""
        if not self._journal.writer.is_own:
            return
        if self._ends_at and now > self._ends_at:
            self._shutdown.cancel(f"tms_timeout: the run took longer than {self._settings.timeout} s")
        if reason := self._delivery.read().stop:
            self._shutdown.cancel(reason)

    # End ----------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """End at once if the run was cancelled: CI kills soon, and xdist may wait long for its workers.

        The terminal comes later: it reads the source of every frame, which may take a second.
        """
        if not self._has_started:
            return
        self._shutdown.record_interrupt(excinfo.value)
        if self._shutdown.cancel_reason:
            self._finish(int(pytest.ExitCode.INTERRUPTED))

    def _decide_exit_status(self, session: pytest.Session) -> None:
        """Set the exit status to 0 if only tests in quarantine failed, and all tests ran."""
        if not self._has_started or self._summary is not None or not self._journal.writer.is_own:
            return
        self._write_unfinished()
        if self._quarantine.is_due:
            if not self._shutdown.cancel_reason:
                self._quarantine.wait_for_list(
                    self._delivery,
                    min(LIST_TIMEOUT, self._settings.deadline),
                    lambda seconds: self._notices.write_wait(seconds, "to name the tests in quarantine"),
                )
            self._quarantine.load()
        if names := self._quarantine.take_unmarked():
            self._journal.mark_quarantined(names)
        self._is_passed_by_quarantine = (
            session.exitstatus == pytest.ExitCode.TESTS_FAILED
            and self._quarantine.covers(session.testsfailed)
            and not self._shutdown.reason
            and not self._not_run().tests
        )
        if self._is_passed_by_quarantine:
            session.exitstatus = pytest.ExitCode.OK

    def _write_unfinished(self) -> None:
        """Write the results of tests whose last report is missing."""
        in_flight = self._enricher.running if self._workers is None else None
        for result in self._recorder.flush(in_flight):
            shard = self._shards.of_worker(result.worker or "")
            nodeid = result.node_id or ""
            if result.status == "failed":
                result = self._quarantine.mark(nodeid, result)
            self._journal.write_result(shard, result.node_id, result, nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End the shards and have the rest delivered, after every worker has ended."""
        if self._has_started:
            if not self._journal.writer.is_own:
                return
            self._finish(int(session.exitstatus))
        if self._settings.required and not self._is_delivered and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """End what did not end, and show what pytest did not show."""
        if not self._has_started or not self._journal.writer.is_own:
            return
        self._finish(int(pytest.ExitCode.INTERNAL_ERROR))  # unless the session came to its end
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if self._summary is not None and not self._is_summary_shown and terminal is not None:
            self.after_pytest_terminal_summary(terminal)

    def _finish(self, exit_status: int) -> None:
        """Write the end of the session and have the rest delivered, once."""
        journal, settings = self._journal, self._settings
        if self._summary is not None or not journal.writer.is_own:
            return
        self._write_unfinished()
        cancel_reason, now = self._shutdown.cancel_reason, self._time()
        not_run = self._not_run()
        ends = shard_ends(
            self._shards,
            not_run,
            now=now,
            exit_status=exit_status,
            cancel_reason=cancel_reason,
            metadata={**suite_properties(self._config), **self._metadata},
            files=further_files(settings, self._config.rootpath, self._config.stash[STORE].warn),
            division=self._tests.division,
        )
        for end in ends:
            journal.write(end)
        # The sender leaves out the end of an execution that it shares with other jobs.
        ends_execution = not settings.execution
        journal.write(closing_line(ends, now=now, wait=settings.deadline, ends_execution=ends_execution))
        journal.writer.close()
        if settings.offline or self._problem:
            self._keep_copies()
        self._job_summary.read_failures(ends, journal.writer.lines)
        state = self._deliver(
            min(STOPPED_DEADLINE, settings.deadline) if cancel_reason else settings.deadline
        )
        self._is_delivered = state.is_done and not state.refused
        masked = not_run._replace(
            running=[self._masker.node_id(name) for name in not_run.running],
            not_started=[self._masker.node_id(name) for name in not_run.not_started],
        )
        self._tests.close()
        queue = self._tests.queue
        warnings = self._tests.warnings(self._lone_shard)
        warnings += [*self._config.stash[STORE].warnings, *self._quarantine.warnings()]
        self._summary = summarise(
            ends,
            state,
            masked,
            settings,
            journal.writer,
            warnings,
            quarantined=self._quarantine.failures(),
            repeated=self._repeated.masked(self._masker.node_id) if self._repeated else None,
            is_passed_by_quarantine=self._is_passed_by_quarantine,
            queue=queue_sentence(queue, is_stopped=bool(self._shutdown.reason)) if queue is not None else "",
        )
        self._shutdown.close()
        self._job_summary.write(self._summary)
        self._user_hooks.notify_finished(self._summary)

    def _keep_copies(self) -> None:
        """Keep the files that are to be uploaded beside the journal, which may be sent from elsewhere."""
        from pytest_tms.sender.artifacts import keep_copies

        for warning in keep_copies(self._journal.path):
            self._config.stash[STORE].warn(warning)

    def _not_run(self) -> NotRun:
        """Return the collected tests that have no result by now."""
        workers = self._workers
        names = self._tests.begun(workers.names if workers else [item.nodeid for item in self._items])
        collected = self._collected + (workers.collected if workers else 0)
        if self._tests.queue is not None:
            collected = self._collected + len(names)
        reason = self._shutdown.reason
        if not reason and workers is not None and workers.has_crashed:
            reason = "a worker crashed, and none took its place"
        running = self._journal.running
        return NotRun(
            tests=max(0, collected - self._shards.result_count),
            reason=reason or "the session ended before",
            running=[self._ungrouped(name) for name in running],
            not_started=not_started(names, self._shards, running, self._ungrouped),
        )

    def _ungrouped(self, nodeid: str) -> str:
        """Return a node id as it is reported: without the group that xdist's loadgroup appends."""
        return clean(test_id(nodeid) if self._is_grouped else nodeid)

    def _deliver(self, seconds: float) -> SenderState:
        """Have the remaining results delivered within ``seconds``; a line shows what a longer wait is for."""
        try:
            if self._delivery.wait_briefly(seconds):
                self._notices.write_wait(self._settings.deadline, "to accept the last results")
            return self._delivery.finish(seconds)
        except KeyboardInterrupt:
            return self._delivery.abort()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Show the summary after everything else, next to pytest's last line."""
        yield
        self.after_pytest_terminal_summary(terminalreporter)

    def after_pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the summary, if the session came to its end."""
        if self._summary is not None:
            self._is_summary_shown = True
            verbosity = self._config.getoption("verbose")
            write_summary(terminalreporter, self._summary, self._errors.take(), verbosity=verbosity)
            for command in self._job_summary.annotations():
                terminalreporter.write_line(command)

    def _clip(self, text: str) -> str:
        """Return a long text as it is kept: masked, and cut to ``tms_output_limit``."""
        return clean(self._masker.text(text), limit=self._settings.output_limit)
