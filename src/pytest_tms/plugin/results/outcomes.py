"""What was seen of a test becomes one ``wire.TestResult``: functions of nothing but what they are given.

docs/outcomes.md says what becomes of what.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.text import clean, first_line

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


class Unlogged(msgspec.Struct, frozen=True):
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
    output = output_of(sections, clip) if sections else {}
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
        started_at=stamp.iso(start) if start else None,
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
        error=clip(_collection_message(text)) if has_failed else reason(report.longrepr, None),
        longrepr=clip(text) if has_failed else None,
    )


def _collection_message(text: str) -> str:
    """The line that names the exception: of the last in a chain, the first that pytest marks so."""
    lines = [line for line in re.split(_CHAINED, text)[-1].splitlines() if line.strip()]
    marked = [line[1:] for line in lines if line.startswith("E ")]
    named = [line for line in marked if re.match(_EXCEPTION, line)]
    return first_line((named[:1] or marked[-1:] or lines[-1:] or ["collection failed"])[0])


_EXCEPTION = r" {3}[^\W\d][\w.]*(:|$)"
_CHAINED = r"(?m)^(?:The above exception was|During handling of the above).*:$"


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


def _status(outcome: str, decided_by: str) -> wire.TestStatus:
    """The protocol's word for an outcome; an unexpected pass failed where its phase did."""
    if outcome == "passed" or (outcome == "xpassed" and decided_by == "passed"):
        return "passed"
    return "skipped" if outcome in ("skipped", "xfailed") else "failed"


def _has_failed(attempt: Try) -> bool:
    outcome, decisive = verdict(attempt)
    return _status(outcome, decisive.outcome) == "failed"


def _attempt(attempt: Try, clip: Clip, stamp: Stamp) -> wire.Attempt:
    outcome, decisive = verdict(attempt)
    failed = outcome not in ("passed", "xpassed", "skipped", "xfailed")
    return wire.Attempt(
        outcome=outcome,
        duration=round(1000 * sum(phase.duration for phase in attempt.phases)),
        error=clip(_error_of(attempt, decisive) or "") or None if outcome != "passed" else None,
        longrepr=clip(_traceback(attempt)) or None if failed else None,
        started_at=stamp.iso(attempt.phases[0].start) if attempt.phases else None,
        artifacts=attempt.artifacts or None,
    )


def _error_of(attempt: Try, decisive: Phase) -> str | None:
    """Why an attempt ended as it did; where only parts of it failed, how many."""
    error = reason(decisive.longrepr, decisive.wasxfail)
    failed = [part for part in attempt.subtests if part.status == "failed"]
    if failed and (not error or error.startswith("contains ")):  # as pytest 9 says it
        return f"{len(failed)} of {len(attempt.subtests)} subtests failed"
    return error


def reason(longrepr: Any, wasxfail: str | None) -> str | None:
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


def output_of(sections: list[tuple[str, str]], clip: Clip) -> dict[str, str]:
    """Captured output by stream, its phases one after another."""
    streams: dict[str, list[str]] = {}
    for name, text in sections:
        for stream in ("stdout", "stderr", "log"):
            if name.startswith(f"Captured {stream}"):
                streams.setdefault(stream, []).append(text)
    return {stream: clip("\n".join(texts)) for stream, texts in streams.items()}


class Stamp:
    """Writes seconds since 1970 as ISO 8601; most tests begin in the same second as the one before."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""
        self._ends = [
            f"{millisecond:03}Z" for millisecond in range(1000)
        ]  # to format each costs twice as much

    def iso(self, seconds: float) -> str:
        """Milliseconds and ``Z`` included."""
        whole = int(seconds)
        if whole != self._second:
            self._second, self._text = whole, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(whole))
        return self._text + self._ends[int((seconds - whole) * 1000)]
