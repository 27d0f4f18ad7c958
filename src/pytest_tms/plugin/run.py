"""The life of a run: open, collect outcomes, close. Only the process that reports has one."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.plugin import ci
from pytest_tms.plugin import recorder as recording
from pytest_tms.plugin.artifacts import REPORTING
from pytest_tms.plugin.courier import Courier, Joined, ShardReport
from pytest_tms.plugin.recorder import Recorder
from pytest_tms.plugin.settings import Settings
from pytest_tms.plugin.shards import ShardName
from pytest_tms.plugin.terminal import Off, Summary, write_summary
from pytest_tms.plugin.text import clean
from pytest_tms.plugin.workers import Workers


@dataclass
class Shard:
    """One shard while it runs; ``tests`` are encoded results."""

    id: str
    recorder: Recorder
    started: float
    counts: dict[str, int] = field(default_factory=lambda: {"passed": 0, "failed": 0, "skipped": 0})
    flaky: int = 0
    tests: list[bytes] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    broken: bool = False

    def keep(self, result: wire.TestResult) -> None:
        """Count a settled test and keep it, to be sent."""
        self.counts[result.status] += 1
        if result.retries and result.status == "passed":
            self.flaky += 1
        for attempt in (result, *(result.attempts or ())):
            for file in attempt.artifacts or ():
                self.files.setdefault(f"{file.kind}s", []).append(file.path)
        self.tests.append(encode(result))

    def totals(self) -> wire.Counts:
        """The documented counts."""
        return wire.Counts(total=sum(self.counts.values()), flaky=self.flaky, **self.counts)


class Run:
    """Follows one pytest session and reports it."""

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        name: ShardName | None,
        courier: Courier,
        secrets: list[str],
    ) -> None:
        self._config = config
        self._settings = settings
        self._name = name
        self._courier = courier
        self._secrets = secrets
        self._metadata: dict[str, Any] = {}
        self._workers: Workers | None = None
        self._shards: dict[str, Shard] = {}
        self._collected = 0
        self._joined: Joined | None = None
        self._stopped = False
        self._summary: Summary | None = None
        self._result_hooks = config.hook.pytest_tms_result.get_hookimpls()

    # Opening ------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Create or join the execution and start its shards, before xdist starts its workers."""
        manager = self._config.pluginmanager
        if manager.hasplugin("dsession"):
            self._workers = Workers(self._config, self._name.id if self._name else "", self._told)
            manager.register(self._workers, "tms-workers")
        self._metadata = {
            **ci.describe(self._config.rootpath),
            **{key: value for key, _, value in (word.partition("=") for word in self._settings.meta)},
        }
        self._joined = self._join()
        if self._joined is None:
            manager.unregister(self)
            manager.register(Off("; ".join(self._courier.trouble)), "tms-off")
            return
        if self._joined.created:
            self._courier.event(self._joined, "execution.started", wire.EventData(status="running"))
        for shard_id in self._shard_ids():
            # In one shard, several workers can run the same test, and each run counts.
            per_worker = self._name is not None and self._workers is not None and self._workers.each
            recorder = Recorder(self._clip, per_worker=per_worker)
            self._shards[shard_id] = Shard(shard_id, recorder, time.time())
            self._courier.event(
                self._joined, "shard.started", wire.EventData(shard_id=shard_id, status="running")
            )
        self._config.stash[REPORTING] = self._told(next(iter(self._shards)))

    def _join(self) -> Joined | None:
        settings = self._settings
        if settings.execution:
            return self._courier.attach(settings.execution, settings.webhook_token.reveal())
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
        return self._courier.create(self._changed_request(request))

    def _shard_ids(self) -> list[str]:
        if self._name is not None:
            return [self._name.id]
        return [str(number) for number in range(1, max(self._workers.count if self._workers else 1, 1) + 1)]

    def _told(self, shard_id: str) -> dict[str, str]:
        """What the process that runs a shard's tests has to know."""
        execution = self._joined.execution_id if self._joined else ""
        folder = self._config.rootpath / ".tms" / "artifacts" / (execution or "none")
        return {"execution": execution, "shard": shard_id, "folder": str(folder)}

    def pytest_report_header(self) -> str | None:
        """Name the execution's page before the tests."""
        if self._joined is None:
            return None
        where = f"suite {self._settings.suite}, environment {self._settings.environment}"
        shards = f"shard{'s' * (len(self._shards) > 1)} {', '.join(self._shards)}"
        return f"tms: {self._joined.report_url} ({where}, {shards})"

    # Collecting ---------------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep a collection error as a failed test that is named after its file."""
        if report.failed:
            shard = next(iter(self._shards.values()))
            shard.broken = True
            self._collected += 1
            self._keep(shard, report, recording.collection_error(report, self._clip))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note how many tests there are; xdist's controller has none of its own."""
        self._collected += len(session.items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Follow a test; keep its result once it has settled."""
        shard = self._shard_of(report)
        result = shard.recorder.add(report)
        if result is not None:
            self._keep(shard, report, result)

    def _shard_of(self, report: pytest.TestReport) -> Shard:
        if self._workers is not None and self._name is None:
            return self._shards[self._workers.shard_of(recording.worker_of(report))]
        return next(iter(self._shards.values()))

    def _keep(
        self, shard: Shard, report: pytest.TestReport | pytest.CollectReport, result: wire.TestResult
    ) -> None:
        shard.keep(self._changed_result(report, result) if self._result_hooks else result)

    # The user's hooks ---------------------------------------------------------------------------

    def _changed_request(self, request: wire.ExecutionRequest) -> wire.ExecutionRequest:
        body = msgspec.to_builtins(request)
        try:
            self._config.hook.pytest_tms_execution(config=self._config, request=body)
            return msgspec.convert(body, wire.ExecutionRequest)
        except Exception as error:  # whatever a user's hook raises
            self._blame("pytest_tms_execution", error)
            return request

    def _changed_result(
        self, report: pytest.TestReport | pytest.CollectReport, result: wire.TestResult
    ) -> wire.TestResult:
        body = msgspec.to_builtins(result)
        try:
            self._config.hook.pytest_tms_result(report=report, result=body)
            return msgspec.convert(body, wire.TestResult)
        except Exception as error:  # whatever a user's hook raises
            self._blame("pytest_tms_result", error)
            return result

    def _blame(self, hook: str, error: Exception) -> None:
        """Name a user's hook that raised, the first time."""
        blamed = f"the hook {hook} raised "
        if not any(sentence.startswith(blamed) for sentence in self._courier.trouble):
            said = self._clip(f"{blamed}{type(error).__name__}: {error}")
            self._courier.trouble.append(said.partition("\n")[0])

    # Closing ------------------------------------------------------------------------------------

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that somebody stopped the run; pytest's own stops, as for ``-x``, come here too."""
        self._stopped = not isinstance(excinfo.value, pytest.Session.Interrupted)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Submit what was collected and close the shards, after every worker has ended."""
        joined = self._joined
        if joined is None:
            return
        reports = [self._close(shard, exitstatus) for shard in self._shards.values()]
        delivered = 0
        for report in reports:
            if self._courier.results(joined, report):
                delivered += report.counts.total
            self._courier.shard_completed(joined, report)
        if joined.created and not (self._name and self._name.total > 1):
            self._courier.execution_completed(joined, reports)
        self._courier.client.close()
        collected = self._collected + (self._workers.collected if self._workers else 0)
        total = sum(report.counts.total for report in reports)
        self._summary = Summary(
            report_url=joined.report_url,
            shards=[(report.shard_id, report.status, report.counts) for report in reports],
            collected=max(collected, total),
            delivered=delivered,
            undelivered=total - delivered,
            trouble=self._courier.trouble,
        )
        try:
            self._config.hook.pytest_tms_finished(config=self._config, summary=self._summary)
        except Exception as error:  # whatever a user's hook raises
            self._blame("pytest_tms_finished", error)

    def _close(self, shard: Shard, exitstatus: int) -> ShardReport:
        for result in shard.recorder.unsettled():
            shard.keep(result)
        now = time.time()
        return ShardReport(
            shard_id=shard.id,
            status=self._status(shard, exitstatus),
            counts=shard.totals(),
            tests=shard.tests,
            artifacts=wire.ArtifactNames(**shard.files) if shard.files else None,
            duration=round((now - shard.started) * 1000),
            metadata={**self._metadata, "startTime": _time(shard.started), "endTime": _time(now)},
        )

    def _status(self, shard: Shard, exitstatus: int) -> wire.SubmittedStatus:
        if self._stopped:
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
        if self._summary is not None:
            write_summary(terminalreporter, self._summary)

    def _clip(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "********")
        return clean(text, limit=self._settings.output_limit)


def encode(result: wire.TestResult) -> bytes:
    """A result as JSON; text that is not Unicode is written as escapes."""
    try:
        return msgspec.json.encode(result)
    except UnicodeEncodeError:
        return msgspec.json.encode(_cleaned(msgspec.to_builtins(result)))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def _time(seconds: float) -> str:
    return wire.timestamp(datetime.fromtimestamp(seconds, timezone.utc))
