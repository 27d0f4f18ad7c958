"""pytest's reports in, settled results out.

A test is open from its first report to its last teardown; the retry plugins differ in what they send in
between (docs/outcomes.md). Settling is a pure function from what was seen to one ``wire.TestResult``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from pytest_tms import wire
from pytest_tms.plugin.artifacts import of_properties
from pytest_tms.plugin.enrich import ATTRIBUTE
from pytest_tms.plugin.shards import test_id
from pytest_tms.plugin.text import clean, first_line

Clip = Callable[[str], str]
"""Makes a long text fit to send: masked and cut."""


class Phase(NamedTuple):
    """What one report said, copied at once: retry plugins change a report after it was logged."""

    when: str
    outcome: str
    duration: float
    start: float
    longrepr: Any
    wasxfail: str | None


@dataclass(slots=True)
class Try:
    """One run through setup, call and teardown, with the subtests on the way."""

    phases: list[Phase] = field(default_factory=list)
    subtests: list[wire.Subtest] = field(default_factory=list)
    artifacts: list[wire.Artifact] = field(default_factory=list)


@dataclass(slots=True)
class Open:
    """A test that has begun and not settled; ``tries`` are the finished ones, all unsuccessful."""

    current: Try = field(default_factory=Try)
    tries: list[Try] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)

    def attach(self, files: list[dict[str, Any]]) -> None:
        """Keep the files that no earlier try had; properties repeat those of earlier tries."""
        known = {file.path for attempt in (*self.tries, self.current) for file in attempt.artifacts}
        self.current.artifacts += [wire.Artifact(**file) for file in files if file["path"] not in known]


class Recorder:
    """Follows the tests of one shard; ``clip`` fits every long text before it is kept."""

    def __init__(self, clip: Clip, *, per_worker: bool = False) -> None:
        self._clip = clip
        self._per_worker = per_worker
        self._open: dict[tuple[str, str], Open] = {}

    def add(self, report: pytest.TestReport) -> wire.TestResult | None:
        """Take one report of a test; answers the test's result where this report settled it."""
        worker = worker_of(report)
        key = (worker, report.nodeid)
        test = self._open.get(key)
        if test is None:
            test = self._open[key] = Open()
        if (context := getattr(report, "context", None)) is not None:
            test.current.subtests.append(self._subtest(report, context))
            return None
        when: str = report.when or "???"
        outcome: str = report.outcome
        test.current.phases.append(
            Phase(
                when,
                outcome,
                report.duration,
                getattr(report, "start", 0.0),
                report.longrepr,
                getattr(report, "wasxfail", None),
            )
        )
        if when == "setup":
            if extra := getattr(report, ATTRIBUTE, None):
                test.extra = {**test.extra, **extra}
        elif outcome == "retried":  # pytest-retry: another call follows within this setup and teardown
            self._next_try(test, keep_setup=True)
        elif when == "teardown":
            self._gather(test, report)
            if is_final(test.current):
                return self._settle(key, report)
            self._next_try(test)
        elif when == "???":
            return self._settle(key, report)
        return None

    def unsettled(self) -> Iterator[wire.TestResult]:
        """Settle what never finished but has a verdict: a call that failed, a try that no other followed."""
        for (worker, nodeid), test in list(self._open.items()):
            if verdict_known(test):
                del self._open[worker, nodeid]
                yield settle(nodeid, test, self._clip, worker=worker, per_worker=self._per_worker)

    def in_flight(self) -> list[str]:
        """The node ids of tests that have begun and have no verdict."""
        return [nodeid for _, nodeid in self._open]

    def _settle(self, key: tuple[str, str], report: pytest.TestReport) -> wire.TestResult:
        test = self._open.pop(key)
        return settle(
            report.nodeid,
            test,
            self._clip,
            worker=key[0],
            per_worker=self._per_worker,
            sections=report.sections,
        )

    @staticmethod
    def _gather(test: Open, report: pytest.TestReport) -> None:
        """Take over the files and properties that a finished try left."""
        if kept := getattr(report, ATTRIBUTE, None):
            test.attach(kept.get("artifacts", []))
            test.properties.update(kept.get("properties", {}))
        if report.user_properties:
            files, properties = of_properties(report.user_properties)
            test.attach(files)
            test.properties.update(properties)

    def _next_try(self, test: Open, *, keep_setup: bool = False) -> None:
        test.tries.append(test.current)
        setup = [phase for phase in test.current.phases if keep_setup and phase.when == "setup"]
        test.current = Try(phases=setup)

    def _subtest(self, report: pytest.TestReport, context: Any) -> wire.Subtest:
        status = status_of(report)
        return wire.Subtest(
            title=clean(_subtest_title(context), limit=1000),
            status=status,
            duration=round(report.duration * 1000),
            error=_error(report.longrepr, getattr(report, "wasxfail", None)) if status != "passed" else None,
            longrepr=self._clip(report.longreprtext) if status == "failed" else None,
        )


def worker_of(report: pytest.TestReport) -> str:
    """The xdist worker that a report comes from, or an empty text. A crash report has only its node."""
    worker = getattr(report, "worker_id", None)
    if worker is None and (node := getattr(report, "node", None)) is not None:
        worker = node.gateway.id
    return worker or ""


def status_of(report: pytest.TestReport) -> wire.TestStatus:
    """A report's outcome as the protocol's word."""
    if report.outcome == "passed":
        return "passed"
    return "skipped" if report.outcome == "skipped" else "failed"


def is_final(attempt: Try) -> bool:
    """Whether no other attempt follows: none asked for a rerun, and what was set up was also called.

    The plugin ``flaky`` leaves out the failed setup or call of an attempt that it will repeat.
    """
    decided = False
    for phase in attempt.phases:
        if phase.outcome == "rerun":
            return False
        if phase.when == "call" or (phase.when == "setup" and phase.outcome != "passed"):
            decided = True
    return decided


def verdict_known(test: Open) -> bool:
    """Whether an unfinished test has failed or has finished tries: leaving it out would lose them."""
    return bool(test.tries) or any(phase.outcome == "failed" for phase in test.current.phases)


def settle(
    nodeid: str,
    test: Open,
    clip: Clip,
    *,
    worker: str = "",
    per_worker: bool = False,
    sections: list[tuple[str, str]] | None = None,
) -> wire.TestResult:
    """The result of a test from everything that was seen of it; see "From pytest to the protocol"."""
    last = test.current if test.current.phases or not test.tries else test.tries[-1]
    earlier = test.tries if last is test.current else test.tries[:-1]
    outcome, decisive = verdict(last)
    status: wire.TestStatus = (
        "passed"
        if outcome == "passed" or (outcome == "xpassed" and decisive.outcome == "passed")
        else "skipped"
        if outcome in ("skipped", "xfailed")
        else "failed"
    )
    extra = test.extra
    nodeid = test_id(nodeid)
    file, _, title = nodeid.partition("::")
    retries = max(len(earlier), extra.get("attempt", 1) - 1)
    output: dict[str, str] = {}
    if sections:
        output = _output(sections, clip)
    properties = {**test.properties, "id": extra["id"]} if "id" in extra else test.properties
    start = last.phases[0].start if last.phases else 0.0
    error = longrepr = None
    if status != "passed" or outcome == "xpassed":
        error = _error(decisive.longrepr, decisive.wasxfail)
        error = error and clip(error)
        longrepr = clip(_traceback(last)) or None if status == "failed" else None
        if status == "failed" and not error:
            failed = [part for part in last.subtests if part.status == "failed"]
            error = f"{len(failed)} of {len(last.subtests)} subtests failed" if failed else None
    return wire.TestResult(
        title=extra.get("title") or title or file,
        file=file,
        status=status,
        duration=round(1000 * sum(phase.duration for phase in last.phases)),
        error=error,
        retries=retries or None,
        tags=extra.get("tags"),
        node_id=f"{nodeid} @{worker}" if per_worker and worker else nodeid,
        outcome=outcome,
        started_at=_iso(start) if start else None,
        worker=worker or None,
        longrepr=longrepr,
        parameters=extra.get("parameters"),
        properties=properties or None,
        artifacts=last.artifacts or None,
        attempts=[_attempt(attempt, clip) for attempt in (*earlier, last)] if earlier else None,
        subtests=last.subtests or None,
        **output,
    )


def collection_error(report: pytest.CollectReport, clip: Clip) -> wire.TestResult:
    """A file that could not be collected, as a failed test with the file's name."""
    text = report.longreprtext
    return wire.TestResult(
        title=report.nodeid or "collection",
        file=report.nodeid.partition("::")[0],
        status="failed",
        outcome="error",
        node_id=report.nodeid or "collection",
        error=clip(_collection_message(text)),
        longrepr=clip(text),
    )


def _collection_message(text: str) -> str:
    """The line that names the exception: the last one that pytest marks with an E, else the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line[1:] for line in lines if line.startswith("E ")]
    return first_line((marked or lines or ["collection failed"])[-1])


def verdict(attempt: Try) -> tuple[str, Phase]:
    """How an attempt ended, in pytest's own word, and the phase that decided it."""
    skipped = passed = None
    torn_down: Phase | None = None
    for phase in attempt.phases:
        if phase.outcome in ("failed", "rerun", "retried"):
            if phase.when == "???":
                return "crashed", phase
            if phase.when == "call":
                strict = isinstance(phase.longrepr, str) and phase.longrepr.startswith("[XPASS(strict)]")
                return ("xpassed" if strict else "failed"), phase
            torn_down = torn_down or phase
        elif phase.outcome == "skipped":
            skipped = skipped or phase
        elif phase.when == "call":
            passed = phase
    if torn_down is not None:
        return "error", torn_down
    if any(part.status == "failed" for part in attempt.subtests):
        return "failed", passed or attempt.phases[-1]
    if passed is not None:
        return ("xpassed" if passed.wasxfail is not None else "passed"), passed
    if skipped is not None:
        return ("xfailed" if skipped.wasxfail is not None else "skipped"), skipped
    return "failed", attempt.phases[-1] if attempt.phases else _NOTHING


_NOTHING = Phase("call", "failed", 0.0, 0.0, "the test was retried and never ended", None)


def _attempt(attempt: Try, clip: Clip) -> wire.Attempt:
    outcome, decisive = verdict(attempt)
    failed = outcome not in ("passed", "xpassed", "skipped", "xfailed")
    return wire.Attempt(
        outcome=outcome,
        duration=round(1000 * sum(phase.duration for phase in attempt.phases)),
        error=_error(decisive.longrepr, decisive.wasxfail) if outcome != "passed" else None,
        longrepr=clip(_traceback(attempt)) if failed else None,
        started_at=_iso(attempt.phases[0].start) if attempt.phases else None,
        artifacts=attempt.artifacts or None,
    )


def _error(longrepr: Any, wasxfail: str | None) -> str | None:
    """One line that says why: the reason of a skip or xfail, else the exception's message."""
    if wasxfail is not None:
        return first_line(wasxfail.removeprefix("reason: ")) or None
    if isinstance(longrepr, tuple):
        return first_line(str(longrepr[2]).removeprefix("Skipped: ")) or None
    crash = getattr(longrepr, "reprcrash", None)
    if crash is not None:
        return first_line(crash.message) or None
    return first_line(str(longrepr)) or None if longrepr is not None else None


def _traceback(attempt: Try) -> str:
    """The tracebacks of every phase that failed, teardown's after the call's."""
    return "\n\n".join(
        str(phase.longrepr)
        for phase in attempt.phases
        if phase.outcome in ("failed", "rerun", "retried") and phase.longrepr is not None
    )


def _output(sections: list[tuple[str, str]], clip: Clip) -> dict[str, str]:
    """Captured output by stream, its phases one after another."""
    streams: dict[str, list[str]] = {}
    for name, text in sections:
        for stream in ("stdout", "stderr", "log"):
            if name.startswith(f"Captured {stream}"):
                streams.setdefault(stream, []).append(text)
    return {stream: clip("\n".join(texts)) for stream, texts in streams.items()}


def _subtest_title(context: Any) -> str:
    kwargs = ", ".join(f"{name}={value}" for name, value in (context.kwargs or {}).items())
    message = "" if context.msg is None else str(context.msg)
    return f"{message} ({kwargs})" if message and kwargs else message or kwargs or "subtest"


def _iso(start: float) -> str:
    whole = int(start)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((start - whole) * 1000):03d}Z"
