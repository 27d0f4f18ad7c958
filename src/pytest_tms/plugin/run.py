"""The life of a run: open, collect outcomes, close. Only the process that reports has one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.plugin import recorder as recording
from pytest_tms.plugin.courier import Courier, Joined, ShardReport
from pytest_tms.plugin.recorder import Recorder
from pytest_tms.plugin.settings import Settings
from pytest_tms.plugin.shards import ShardName, Slots
from pytest_tms.plugin.terminal import Off, Summary, write_summary
from pytest_tms.plugin.text import clean


@dataclass
class Shard:
    """One shard while it runs."""

    id: str
    recorder: Recorder
    started: float
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("passed", "failed", "skipped"), 0))
    flaky: int = 0
    tests: list[bytes] = field(default_factory=list)
    broken: bool = False

    def keep(self, result: wire.TestResult) -> None:
        """Count a settled test and keep it, encoded, to be sent."""
        self.counts[result.status] += 1
        if result.retries and result.status == "passed":
            self.flaky += 1
        self.tests.append(encode(result))

    def totals(self) -> wire.Counts:
        """The documented counts."""
        return wire.Counts(total=sum(self.counts.values()), flaky=self.flaky, **self.counts)


class Run:
    """Follows one pytest session and reports it; its hooks never raise into pytest."""

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
        self._slots = Slots()
        self._shards: dict[str, Shard] = {}
        self._collected: dict[str, int] = {}
        self._joined: Joined | None = None
        self._stopped_by: str | None = None
        self._summary: Summary | None = None

    # Opening ------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Create or join the execution and start its shards (the only process, or xdist's controller)."""
        workers = _worker_count(self._config)
        joined = self._join(workers)
        if joined is None:
            self._config.pluginmanager.unregister(self)
            self._config.pluginmanager.register(Off("; ".join(self._courier.trouble)), "tms-off")
            return
        self._joined = joined
        if joined.created:
            self._courier.event(
                joined,
                "execution.started",
                wire.EventData(status="running", metadata=self._metadata() or None),
            )
        each = workers > 0 and self._config.getoption("dist") == "each"
        ids = [self._name.id] if self._name else [str(number) for number in range(1, max(workers, 1) + 1)]
        for shard_id in ids:
            per_worker = each and self._name is not None
            recorder = Recorder(self._clip, per_worker=per_worker)
            self._shards[shard_id] = Shard(shard_id, recorder, time.time())
            self._courier.event(joined, "shard.started", wire.EventData(shard_id=shard_id, status="running"))

    def _join(self, workers: int) -> Joined | None:
        settings = self._settings
        if settings.execution:
            return self._courier.attach(settings.execution, settings.webhook_token.reveal())
        total = (self._name.total or 1) if self._name else max(workers, 1)
        return self._courier.create(
            wire.ExecutionRequest(
                test_suite=settings.suite,
                environment=settings.environment,
                provider=settings.provider,
                trigger_source=settings.trigger,  # type: ignore[arg-type]  # checked against the choices
                configuration=wire.Configuration(
                    parallel=total > 1 or workers > 1 or None, shards=total, timeout=settings.timeout * 1000
                ),
                metadata=self._metadata(),
            )
        )

    def _metadata(self) -> dict[str, Any]:
        pairs = (word.partition("=") for word in self._settings.meta)
        return {clean(key): clean(value) for key, _, value in pairs}

    def pytest_report_header(self) -> str | None:
        """Name the execution's page before the tests."""
        if self._joined is None:
            return None
        where = f"suite {self._settings.suite}, environment {self._settings.environment}"
        shards = ", ".join(self._shards)
        return f"tms: {self._joined.report_url} ({where}, shard {shards})"

    # Collecting ---------------------------------------------------------------------------------

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep a collection error as a failed test that is named after its file."""
        if report.failed:
            shard = self._shards[self._name.id if self._name else "1"]
            shard.broken = True
            shard.keep(recording.collection_error(report, self._clip))
            self._collected["errors"] = self._collected.get("errors", 0) + 1

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note how many tests there are (without xdist)."""
        self._collected["tests"] = len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: list[object]) -> None:
        """Note the workers that are about to start (xdist's controller)."""
        self._slots.start(specs)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_newgateway(self, gateway: Any) -> None:
        """Note which slot a worker runs in (xdist's controller)."""
        self._slots.join(gateway.id, gateway.spec)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Note how many tests there are (xdist's controller); ``--dist each`` runs them on every worker."""
        each = self._config.getoption("dist") == "each"
        self._collected[self._slots.slot(node.gateway.id) if each else "tests"] = len(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Follow a test; keep its result once it has settled (the only process, or xdist's controller)."""
        shard = self._shard_of(recording.worker_of(report))
        result = shard.recorder.add(report)
        if result is not None:
            shard.keep(result)

    def _shard_of(self, worker: str) -> Shard:
        if self._name is not None or not worker:
            return next(iter(self._shards.values()))
        return self._shards[self._slots.slot(worker)]

    # Closing ------------------------------------------------------------------------------------

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that somebody stopped the run; pytest's own stops (``-x``) come here too."""
        if not isinstance(excinfo.value, pytest.Session.Interrupted):
            self._stopped_by = type(excinfo.value).__name__

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Submit what was collected and close the shards, after every worker has ended."""
        joined = self._joined
        if joined is None:
            return
        delivered = undelivered = 0
        reports = []
        for shard in self._shards.values():
            for result in shard.recorder.unsettled():
                shard.keep(result)
            report = ShardReport(
                shard_id=shard.id,
                status=self._status(shard, exitstatus),
                counts=shard.totals(),
                tests=shard.tests,
                duration=round((time.time() - shard.started) * 1000),
                metadata={
                    "startTime": _time(shard.started),
                    "endTime": _time(time.time()),
                    **self._metadata(),
                },
            )
            reports.append(report)
            if self._courier.results(joined, report):
                delivered += report.counts.total
            else:
                undelivered += report.counts.total
            self._courier.shard_completed(joined, report)
        if joined.created and not (self._name and self._name.total > 1):
            self._courier.execution_completed(joined, reports)
        self._courier.client.close()
        self._summary = Summary(
            report_url=joined.report_url,
            shards=[(report.shard_id, report.status, report.counts) for report in reports],
            collected=sum(self._collected.values()),
            delivered=delivered,
            undelivered=undelivered,
            trouble=self._courier.trouble,
        )

    def _status(self, shard: Shard, exitstatus: int) -> wire.SubmittedStatus:
        if self._stopped_by:
            return "cancelled"
        if shard.broken or exitstatus in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
            return "error"
        return "failed" if shard.counts["failed"] else "completed"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show link, counts and ledger."""
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


def _worker_count(config: pytest.Config) -> int:
    """How many xdist workers this process controls; 0 without xdist."""
    if not config.pluginmanager.hasplugin("dsession"):
        return 0
    from xdist.workermanage import parse_tx_spec_config  # type: ignore[import-untyped]

    return len(parse_tx_spec_config(config))


def _time(seconds: float) -> str:
    return wire.timestamp(datetime.fromtimestamp(seconds, timezone.utc))
