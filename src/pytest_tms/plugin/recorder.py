"""pytest's reports in, settled results out.

A test is open from its first report to its last teardown; the retry plugins differ in what they send in
between (docs/outcomes.md). Settling is a pure function from what was seen to one ``wire.TestResult``.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.plugin.artifacts import of_properties
from pytest_tms.plugin.enrich import ATTRIBUTE
from pytest_tms.plugin.shards import test_id
from pytest_tms.plugin.text import clean, first_line

FAILED = ("failed", "rerun", "retried")
"""The outcomes of a report whose phase failed: the retry plugins have their own words."""

Clip = Callable[[str], str]
"""Makes a long text fit to send: masked and cut."""


class Phase(msgspec.Struct):
    """What one report said, copied at once: retry plugins change a report after it was logged."""

    when: str
    outcome: str
    duration: float
    start: float
    longrepr: Any
    wasxfail: str | None


@dataclass(frozen=True)
class Unlogged:
    """What a failure said whose report was never logged, in the shape of pytest's own longrepr."""

    message: str
    text: str

    @property
    def reprcrash(self) -> Unlogged:
        """Where ``message`` stands."""
        return self

    def __str__(self) -> str:
        return self.text


class Try(msgspec.Struct):
    """One run through setup, call and teardown, with the subtests on the way."""

    phases: list[Phase] = []
    subtests: list[wire.Subtest] = []
    artifacts: list[wire.Artifact] = []


PLAIN = {"tags", "parameters"}
"""What an enrichment may say of a test that takes the short way."""


class Open(msgspec.Struct):
    """A test that has begun and not settled; ``tries`` are the finished ones, all unsuccessful."""

    current: Try = msgspec.field(default_factory=Try)
    tries: list[Try] = []
    extra: dict[str, Any] = {}
    properties: dict[str, Any] = {}

    def keep(self, kept: dict[str, Any]) -> None:
        """Take over what the current try attached."""
        self.attach(kept.get("artifacts", []))
        self.properties.update(kept.get("properties", {}))

    def attach(self, files: list[dict[str, Any]]) -> None:
        """Keep the files that no earlier try had; properties repeat those of earlier tries."""
        known = {file.path for attempt in (*self.tries, self.current) for file in attempt.artifacts}
        self.current.artifacts += [wire.Artifact(**file) for file in files if file["path"] not in known]


class Recorder:
    """Follows the tests of one run; ``clip`` fits every long text before it is kept.

    ``per_worker`` tells the same test of several workers apart, ``grouped`` takes off the group that xdist's
    loadgroup appends to node ids.
    """

    def __init__(self, clip: Clip, *, per_worker: bool = False, grouped: bool = False) -> None:
        self._clip = clip
        self._per_worker = per_worker
        self._grouped = grouped
        self._stamp = Stamp()
        self._open: dict[tuple[str, str], Open] = {}
        self._held: dict[tuple[str, str], list[pytest.TestReport]] = {}
        self._crashed: dict[str, Open] = {}

    def add(self, report: pytest.TestReport) -> wire.TestResult | None:
        """Take one report of a test; answers the test's result where this report settled it.

        What passes is held until a report tells more: nearly all tests do nothing but pass.
        """
        if report.outcome != "passed":
            key = (worker_of(report), report.nodeid)
            held = self._held.pop(key, [])
        else:  # asking a report for what it has not would cost more than all the rest
            key = (vars(report).get("worker_id", ""), report.nodeid)
            if report.when != "teardown":
                self._held.setdefault(key, []).append(report)
                return None
            held = self._held.pop(key, [])
            if self._is_plain(key, held, report):
                return self._passed(key, held[0], held[1], report)
        for earlier in held:
            self._follow(key, earlier)
        return self._follow(key, report)

    def _is_plain(
        self, key: tuple[str, str], held: list[pytest.TestReport], teardown: pytest.TestReport
    ) -> bool:
        """Whether a test passed in one try, and nothing more is told of it than ``_passed`` says."""
        if len(held) != 2 or held[0].when != "setup" or held[1].when != "call" or key in self._open:
            return False
        extra = vars(held[0]).get(ATTRIBUTE)
        call = vars(held[1])
        return not (
            "wasxfail" in call
            or "context" in call
            or ATTRIBUTE in vars(teardown)
            or teardown.user_properties
            or (extra and not extra.keys() <= PLAIN)
            or key[1] in self._crashed
        )

    def _passed(
        self,
        key: tuple[str, str],
        setup: pytest.TestReport,
        call: pytest.TestReport,
        teardown: pytest.TestReport,
    ) -> wire.TestResult:
        """What ``settle`` makes of a test that passed and has nothing more to tell."""
        worker, nodeid = key
        if self._grouped:
            nodeid = test_id(nodeid)
        file, _, title = nodeid.partition("::")
        said = vars(setup)
        extra = said.get(ATTRIBUTE) or {}
        start = said.get("start")
        result = wire.TestResult(
            title=title or file,
            file=file,
            status="passed",
            duration=round(1000 * (setup.duration + call.duration + teardown.duration)),
            tags=extra.get("tags"),
            node_id=f"{nodeid} @{worker}" if self._per_worker and worker else nodeid,
            outcome="passed",
            started_at=self._stamp(start) if start else None,
            worker=worker or None,
            parameters=extra.get("parameters"),
        )
        if teardown.sections:
            return msgspec.structs.replace(result, **_output(teardown.sections, self._clip))
        return result

    def _follow(self, key: tuple[str, str], report: pytest.TestReport) -> wire.TestResult | None:
        worker = key[0]
        test = self._open.get(key)
        if test is None:
            test = self._open[key] = self._crashed.pop(key[1]) if key[1] in self._crashed else Open()
        if (context := getattr(report, "context", None)) is not None:
            test.current.subtests.append(self._subtest(report, context, worker))
            return None
        when: str = report.when or "???"
        outcome: str = report.outcome
        if when == "setup" and test.current.phases:  # the retry plugin kept the teardown to itself
            self._next_try(test)
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
            return None
        if when == "teardown" or outcome != "passed":
            self._gather(test, report)
        if outcome == "retried":  # pytest-retry: another call follows within this setup and teardown
            self._next_try(test, keep_setup=True)
        elif when == "teardown":
            if is_final(test.current):
                return self._settle(key, report)
            self._next_try(test)
        elif when == "???":
            if outcome == "rerun":  # any other worker may be the next to try it
                self._next_try(test)
                self._crashed[report.nodeid] = self._open.pop(key)
            else:
                return self._settle(key, report)
        return None

    def give_up(self, report: pytest.TestReport) -> wire.TestResult | None:
        """What is left where ``add`` raised: whether the test failed, once it has ended."""
        worker, nodeid = worker_of(report), clean(report.nodeid)
        self._held.pop((worker, report.nodeid), None)
        test = self._open.setdefault((worker, report.nodeid), Open())
        phases = test.current.phases
        if not phases or phases[-1].when != report.when:
            phases.append(Phase(str(report.when), str(report.outcome), 0.0, 0.0, None, None))
        if report.when not in ("teardown", "???"):
            return None
        del self._open[worker, report.nodeid]
        seen = {phase.outcome for phase in phases}
        status: wire.TestStatus = "failed" if seen - {"passed", "skipped"} else "passed"
        if seen == {"passed", "skipped"}:
            status = "skipped"
        return wire.TestResult(
            title=nodeid.partition("::")[2] or nodeid,
            file=nodeid.partition("::")[0],
            status=status,
            node_id=nodeid,
            outcome=status,
            worker=worker or None,
        )

    def unsettled(self) -> Iterator[wire.TestResult]:
        """Settle what never finished but has a verdict: a call that failed, a try that no other followed."""
        for key, held in self._held.items():
            for report in held:
                self._follow(key, report)
        crashed = ((("", nodeid), test) for nodeid, test in self._crashed.items())
        for (worker, nodeid), test in [*self._open.items(), *crashed]:
            if verdict_known(test):
                self._open.pop((worker, nodeid), None)
                yield self._settled(nodeid, test, worker)
        self._crashed.clear()

    def _settle(self, key: tuple[str, str], report: pytest.TestReport) -> wire.TestResult:
        worker, nodeid = key
        result = self._settled(nodeid, self._open[key], worker, report.sections)
        del self._open[key]
        return result

    def _settled(
        self, nodeid: str, test: Open, worker: str, sections: list[tuple[str, str]] | None = None
    ) -> wire.TestResult:
        return settle(
            test_id(nodeid) if self._grouped else nodeid,
            test,
            self._clip,
            worker=worker,
            per_worker=self._per_worker,
            sections=sections,
            stamp=self._stamp,
        )

    @staticmethod
    def _gather(test: Open, report: pytest.TestReport) -> None:
        """Take over what a finished try left: files, properties, and failures that nobody logged."""
        if kept := getattr(report, ATTRIBUTE, None):
            for failure in kept.get("unlogged", ()):
                _insert(test, failure)
            test.keep(kept)
        if report.user_properties:
            files, properties = of_properties(report.user_properties)
            test.attach(files)
            test.properties.update(properties)

    def _next_try(self, test: Open, *, keep_setup: bool = False) -> None:
        test.tries.append(test.current)
        setup = [phase for phase in test.current.phases if keep_setup and phase.when == "setup"]
        test.current = Try(phases=setup)

    def _subtest(self, report: pytest.TestReport, context: Any, worker: str) -> wire.Subtest:
        status = status_of(report)
        return wire.Subtest(
            title=clean(_subtest_title(context, worker), limit=1000),
            status=status,
            duration=round(report.duration * 1000),
            error=_error(report.longrepr, getattr(report, "wasxfail", None)) if status != "passed" else None,
            longrepr=self._clip(str(report.longrepr)) if status == "failed" else None,
        )


def _insert(test: Open, failure: dict[str, Any]) -> None:
    """Put a failure that a retry plugin kept to itself where it belongs.

    It is this try's own where this try shows no verdict (``flaky``), else a try before this one
    (``pytest-retry``, of which only the first and the last are logged).
    """
    phase = Phase(
        failure["when"],
        "failed",
        failure["duration"],
        failure["start"],
        Unlogged(failure["message"], failure["text"]),
        None,
    )
    if is_final(test.current):
        test.tries.append(Try(phases=[phase]))
    else:
        test.current.phases.insert(-1, msgspec.structs.replace(phase, outcome="rerun"))
        test.keep(failure["kept"] or {})


def worker_of(report: pytest.TestReport) -> str:
    """The xdist worker that a report comes from, or an empty text. A crash report has only its node."""
    said = vars(report)
    worker: str | None = said.get("worker_id")
    if worker is None and "node" in said:
        worker = said["node"].gateway.id
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
    """Whether an unfinished test has failed, now or in an earlier try: leaving it out would lose that."""
    return any(
        phase.outcome in FAILED for attempt in (*test.tries, test.current) for phase in attempt.phases
    ) or any(part.status == "failed" for part in test.current.subtests)


def _status(outcome: str, decided_by: str) -> wire.TestStatus:
    """The protocol's word for an outcome; an unexpected pass failed where its phase did."""
    if outcome == "passed" or (outcome == "xpassed" and decided_by == "passed"):
        return "passed"
    return "skipped" if outcome in ("skipped", "xfailed") else "failed"


def _has_failed(attempt: Try) -> bool:
    outcome, decisive = verdict(attempt)
    return _status(outcome, decisive.outcome) == "failed"


def settle(
    nodeid: str,
    test: Open,
    clip: Clip,
    *,
    worker: str = "",
    per_worker: bool = False,
    sections: list[tuple[str, str]] | None = None,
    stamp: Stamp,
) -> wire.TestResult:
    """The result of a test from everything that was seen of it; see "From pytest to the protocol"."""
    last = test.current if test.current.phases or not test.tries else test.tries[-1]
    earlier = test.tries if last is test.current else test.tries[:-1]
    outcome, decisive = verdict(last)
    status = _status(outcome, decisive.outcome)
    extra = test.extra
    file, _, title = nodeid.partition("::")
    if per_worker and worker:
        nodeid = f"{nodeid} @{worker}"
    if "copy" in extra:
        nodeid = f"{nodeid} #{extra['copy']}"
    retries = extra.get("attempt", 1) - 1
    if earlier:
        retries = max(retries, len(earlier)) if any(map(_has_failed, earlier)) else 0
    output = _output(sections, clip) if sections else {}
    properties = {**test.properties, "id": extra["id"]} if "id" in extra else test.properties
    start = last.phases[0].start if last.phases else 0.0
    error = longrepr = None
    if status != "passed" or outcome == "xpassed":
        error = _error_of(last, decisive)
        error = error and clip(error)
        longrepr = clip(_traceback(last)) or None if status == "failed" else None
    return wire.TestResult(
        title=extra.get("title") or title or file,
        file=file,
        status=status,
        duration=round(1000 * sum(phase.duration for phase in last.phases)),
        error=error,
        retries=retries or None,
        tags=extra.get("tags"),
        node_id=nodeid,
        outcome=outcome,
        started_at=stamp(start) if start else None,
        worker=worker or None,
        longrepr=longrepr,
        parameters=extra.get("parameters"),
        properties=properties or None,
        artifacts=last.artifacts or None,
        attempts=[_attempt(attempt, clip, stamp) for attempt in (*earlier, last)] if earlier else None,
        subtests=last.subtests or None,
        **output,
    )


def not_collected(report: pytest.CollectReport, clip: Clip) -> wire.TestResult:
    """A file that could not be collected, or was skipped as a whole, as a test with the file's name."""
    name = clean(report.nodeid) or "collection"
    text = report.longreprtext
    has_failed = report.outcome == "failed"
    return wire.TestResult(
        title=name,
        file=name.partition("::")[0],
        status="failed" if has_failed else "skipped",
        outcome="error" if has_failed else "skipped",
        node_id=name,
        error=clip(_collection_message(text)) if has_failed else _error(report.longrepr, None),
        longrepr=clip(text) if has_failed else None,
    )


def _collection_message(text: str) -> str:
    """The line that names the exception: of the last in a chain, the first that pytest marks so."""
    lines = [line for line in _CHAINED.split(text)[-1].splitlines() if line.strip()]
    marked = [line[1:] for line in lines if line.startswith("E ")]
    named = [line for line in marked if _EXCEPTION.match(line)]
    return first_line((named[:1] or marked[-1:] or lines[-1:] or ["collection failed"])[0])


_EXCEPTION = re.compile(r" {3}[^\W\d][\w.]*(:|$)")
_CHAINED = re.compile(r"^(?:The above exception was|During handling of the above).*:$", re.MULTILINE)


def verdict(attempt: Try) -> tuple[str, Phase]:
    """How an attempt ended, in pytest's own word, and the phase that decided it."""
    skipped = passed = None
    torn_down: Phase | None = None
    last = attempt.phases[-1] if attempt.phases else _NOTHING
    for phase in attempt.phases:
        if phase.outcome in FAILED:
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
        return "failed", passed or last
    if passed is not None:
        return ("xpassed" if passed.wasxfail is not None else "passed"), passed
    if skipped is not None:
        return ("xfailed" if skipped.wasxfail is not None else "skipped"), skipped
    # A plugin repeated a test that had not failed (flaky's min_passes), or nothing is known at all.
    return "passed", last


_NOTHING = Phase("call", "passed", 0.0, 0.0, None, None)


def _attempt(attempt: Try, clip: Clip, stamp: Stamp) -> wire.Attempt:
    outcome, decisive = verdict(attempt)
    failed = outcome not in ("passed", "xpassed", "skipped", "xfailed")
    return wire.Attempt(
        outcome=outcome,
        duration=round(1000 * sum(phase.duration for phase in attempt.phases)),
        error=clip(_error_of(attempt, decisive) or "") or None if outcome != "passed" else None,
        longrepr=clip(_traceback(attempt)) or None if failed else None,
        started_at=stamp(attempt.phases[0].start) if attempt.phases else None,
        artifacts=attempt.artifacts or None,
    )


def _error_of(attempt: Try, decisive: Phase) -> str | None:
    """Why an attempt ended as it did; where only parts of it failed, how many."""
    error = _error(decisive.longrepr, decisive.wasxfail)
    failed = [part for part in attempt.subtests if part.status == "failed"]
    if failed and (not error or error.startswith("contains ")):  # as pytest 9 says it
        return f"{len(failed)} of {len(attempt.subtests)} subtests failed"
    return error


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
        if phase.outcome in FAILED and phase.longrepr is not None
    )


def _output(sections: list[tuple[str, str]], clip: Clip) -> dict[str, str]:
    """Captured output by stream, its phases one after another."""
    streams: dict[str, list[str]] = {}
    for name, text in sections:
        for stream in ("stdout", "stderr", "log"):
            if name.startswith(f"Captured {stream}"):
                streams.setdefault(stream, []).append(text)
    return {stream: clip("\n".join(texts)) for stream, texts in streams.items()}


def _subtest_title(context: Any, worker: str) -> str:
    shown = _shown_as_repr(context)
    kwargs = ", ".join(
        f"{name}={_value(value, shown, worker)}" for name, value in (context.kwargs or {}).items()
    )
    message = "" if context.msg is None else str(context.msg)
    return f"{message} ({kwargs})" if message and kwargs else message or kwargs or "subtest"


def _shown_as_repr(context: Any) -> bool:
    """Whether this pytest keeps a subtest's values as their repr (9.2 does, 8.4 and 9.0 do not)."""
    try:
        return bool(type(context)(msg=None, kwargs={"x": ""}).kwargs["x"] == "''")
    except TypeError:
        return False


def _value(value: Any, shown: bool, worker: str) -> str:
    """A subtest's value as its repr; over xdist, what was one already became the repr of that."""
    if not shown:
        try:
            return repr(value)[:200]
        except Exception:  # whatever a user's repr raises
            return f"<{type(value).__name__}>"
    if worker:
        try:
            return str(ast.literal_eval(value))
        except (ValueError, SyntaxError):  # cut by pytest
            pass
    return str(value)


class Stamp:
    """Writes seconds since 1970 as ISO 8601; most tests begin in the same second as the one before."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def __call__(self, seconds: float) -> str:
        """Milliseconds and ``Z`` included."""
        whole = int(seconds)
        if whole != self._second:
            self._second, self._text = whole, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(whole))
        padded = str(1000 + int((seconds - whole) * 1000))  # a format would cost three times as much
        return f"{self._text}{padded[1:]}Z"
