"""Builds results from the collected reports of a test. Pure functions.

docs/outcomes.md describes the mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from pytest_tms.plugin.results.captured_output import Clip, split_output
from pytest_tms.plugin.results.error_text import reason, text_message, traceback
from pytest_tms.plugin.results.naming import file_and_title, identity_in_shard
from pytest_tms.plugin.results.observed_tests import (
    FAILED_OUTCOMES,
    KNOWN_OUTCOMES,
    AttemptReports,
    OpenTest,
    Phase,
    is_failure,
    outcome_of,
)
from pytest_tms.plugin.results.timestamps import TimestampWriter
from pytest_tms.text import clean
from pytest_tms.wire.base import TestStatus
from pytest_tms.wire.results import Attempt, Frame, Phases, TestResult

PHASES = ("setup", "call", "teardown")
"""The phases whose durations are sent."""


class AttemptVerdict(NamedTuple):
    """How an attempt ended: pytest's outcome, the phase that decided it, the protocol's status."""

    outcome: str
    phase: Phase
    status: TestStatus


def build_result(
    nodeid: str,
    test: OpenTest,
    clip: Clip,
    *,
    worker: str = "",
    per_worker: bool = False,
    timestamps: TimestampWriter,
) -> TestResult:
    """Return the result of a test from everything that was observed of it."""
    last = test.current if test.current.phases or not test.attempts else test.attempts[-1]
    earlier = test.attempts if last is test.current else test.attempts[:-1]
    outcome, decisive, status = attempt_verdict(last)
    extra = test.extra
    file, title = file_and_title(nodeid, test.location)
    retries = extra.get("attempt", 1) - 1
    if earlier:
        retries = max(retries, len(earlier)) if any(map(_has_failed, earlier)) else 0
    error = longrepr = None
    if status != "passed" or outcome == "xpassed":
        error = _error_of(last, decisive)
        error = error and clip(error)
        longrepr = clip(_traceback(last)) or None if status == "failed" else None
    return TestResult(
        title=extra.get("title") or title,
        file=file,
        status=status,
        duration=_duration(last),
        error=error,
        retries=retries or None,
        tags=extra.get("tags"),
        node_id=identity_in_shard(nodeid, extra, worker if per_worker else ""),
        outcome=outcome,
        started_at=timestamps.iso(last.phases[0].start) if last.phases else None,
        worker=worker or None,
        owner=extra.get("owner"),
        longrepr=longrepr,
        parameters=extra.get("parameters"),
        properties=collect_properties(extra, test.properties),
        artifacts=last.artifacts or None,
        attempts=[_attempt(attempt, clip, timestamps) for attempt in (*earlier, last)] if earlier else None,
        subtests=last.subtests or None,
        phases=_phases(last),
        shared_setups=last.setups or None,
        **(_failure(decisive) if status == "failed" else {}),
        **split_output(last.sections, clip),
    )


def collect_properties(extra: Mapping[str, Any], properties: dict[str, Any]) -> dict[str, Any] | None:
    """Return a test's properties: the arguments of its markers, the recorded values, and its id."""
    if marks := extra.get("marks"):
        properties = {**marks, **properties}
    if "id" in extra:
        properties = {**properties, "id": extra["id"]}
    return properties or None


def not_collected(report: pytest.CollectReport, clip: Clip, owner: str = "") -> TestResult:
    """Return a file that could not be collected, or was skipped as a whole, as a test with its name."""
    name = clean(report.nodeid) or "collection"
    is_skipped = report.outcome == "skipped"
    outcome = outcome_of(report.outcome)
    text = traceback(report.longrepr)
    return TestResult(
        title=name,
        file=name.partition("::")[0],
        status="skipped" if is_skipped else "failed",
        outcome="skipped" if is_skipped else "error" if outcome in KNOWN_OUTCOMES else outcome,
        node_id=name,
        error=reason(report.longrepr) if is_skipped else clip(text_message(text) or "collection failed"),
        longrepr=None if is_skipped else clip(text),
        owner=owner or None,
    )


def is_final(attempt: AttemptReports) -> bool:
    """Return whether no other attempt follows: none requested a rerun, and a setup was followed by a call.

    The plugin ``flaky`` leaves out the setup or call of an attempt that it will repeat, so that a teardown
    alone decides nothing unless it failed.
    """
    decided = not any(phase.when == "setup" for phase in attempt.phases) and any(
        phase.when != "teardown" or is_failure(phase) for phase in attempt.phases
    )
    for phase in attempt.phases:
        if phase.outcome == "rerun":
            return False
        if phase.when == "call" or (phase.when == "setup" and phase.outcome != "passed"):
            decided = True
    return decided


def has_failure(test: OpenTest) -> bool:
    """Return whether an unfinished test has failed, in this attempt or an earlier one."""
    return any(
        is_failure(phase) for attempt in (*test.attempts, test.current) for phase in attempt.phases
    ) or any(part.status == "failed" for part in test.current.subtests)


def attempt_verdict(attempt: AttemptReports) -> AttemptVerdict:
    """Return how an attempt ended, and the phase that decided it."""
    skipped = passed = None
    fixture_failure: Phase | None = None
    unknown: Phase | None = None
    last = attempt.phases[-1] if attempt.phases else _NOTHING
    for phase in attempt.phases:
        if phase.outcome in FAILED_OUTCOMES:
            if phase.when == "???":
                return AttemptVerdict("crashed", phase, "failed")
            if phase.when == "call":
                strict = isinstance(phase.longrepr, str) and phase.longrepr.startswith("[XPASS(strict)]")
                return AttemptVerdict("xpassed" if strict else "failed", phase, "failed")
            fixture_failure = fixture_failure or phase
        elif phase.outcome == "skipped":
            skipped = skipped or phase
        elif phase.outcome != "passed":
            unknown = unknown or phase
        elif phase.when == "call":
            passed = phase
    if unknown is not None:  # no proof that it passed
        return AttemptVerdict(unknown.outcome, unknown, "failed")
    if fixture_failure is not None:
        return AttemptVerdict("error", fixture_failure, "failed")
    if any(part.status == "failed" for part in attempt.subtests):
        return AttemptVerdict("failed", passed or last, "failed")
    if passed is not None:
        return AttemptVerdict("xpassed" if passed.wasxfail is not None else "passed", passed, "passed")
    if skipped is not None:
        return AttemptVerdict("xfailed" if skipped.wasxfail is not None else "skipped", skipped, "skipped")
    # A plugin repeated a test that had not failed (flaky's min_passes), or its call was not logged.
    return AttemptVerdict("passed", last, "passed")


_NOTHING = Phase("call", "passed", 0.0, 0.0, None, None)


def _has_failed(attempt: AttemptReports) -> bool:
    return attempt_verdict(attempt).status == "failed"


def _duration(attempt: AttemptReports) -> int | None:
    """Return milliseconds over all phases; None if one of them has no valid duration."""
    total = 0.0
    for phase in attempt.phases:
        if phase.duration is None:
            return None
        total += phase.duration
    return round(1000 * total)


def _phases(attempt: AttemptReports) -> Phases | None:
    """Return the milliseconds of each phase; None if none has a valid duration."""
    totals: dict[str, float] = {}
    for phase in attempt.phases:
        if phase.when in PHASES and phase.duration is not None:
            totals[phase.when] = totals.get(phase.when, 0.0) + phase.duration
    return Phases(**{when: round(1000 * total) for when, total in totals.items()}) if totals else None


def _failure(phase: Phase) -> dict[str, Any]:
    """Return the exception of a phase as fields of the result; empty if it was not read."""
    failure = phase.failure
    if not failure:
        return {}
    frames = [
        Frame(path=path, line=line, function=function, is_own=is_own)
        for path, line, function, is_own in failure["frames"]
    ]
    return {"exception_type": failure["type"], "frames": frames or None}


def _attempt(attempt: AttemptReports, clip: Clip, timestamps: TimestampWriter) -> Attempt:
    outcome, decisive, status = attempt_verdict(attempt)
    return Attempt(
        outcome=outcome,
        duration=_duration(attempt),
        error=clip(_error_of(attempt, decisive) or "") or None if outcome != "passed" else None,
        longrepr=clip(_traceback(attempt)) or None if status == "failed" else None,
        started_at=timestamps.iso(attempt.phases[0].start) if attempt.phases else None,
        artifacts=attempt.artifacts or None,
        phases=_phases(attempt),
        **(_failure(decisive) if status == "failed" else {}),
        **split_output(attempt.sections, clip),
    )


def _error_of(attempt: AttemptReports, decisive: Phase) -> str | None:
    """Return why an attempt ended as it did; if only subtests failed, how many."""
    hidden = is_failure(decisive) and decisive.longrepr is not None
    error = reason(decisive.longrepr, None if hidden else decisive.wasxfail)
    failed = [part for part in attempt.subtests if part.status == "failed"]
    if failed and (not error or error.startswith("contains ")):  # as pytest 9 writes it
        return f"{len(failed)} of {len(attempt.subtests)} subtests failed"
    return error


def _traceback(attempt: AttemptReports) -> str:
    """Return the tracebacks of all phases that failed, in their order."""
    return "\n\n".join(
        traceback(phase.longrepr)
        for phase in attempt.phases
        if is_failure(phase) and phase.longrepr is not None
    )


def bare_result(nodeid: str, test: OpenTest, worker: str, identity_of_test: str, clip: Clip) -> TestResult:
    """Return a result without details, whose parts may be broken: the worst phase and its error."""
    file, title = file_and_title(nodeid, test.location)
    phases = [phase for attempt in (*test.attempts, test.current) for phase in attempt.phases]
    failed = [phase for phase in phases if is_failure(phase)]
    status: TestStatus = "failed" if failed else "passed"
    if not failed and any(phase.outcome == "skipped" for phase in phases):
        status = "skipped"
    error = longrepr = None
    try:
        if failed:
            error = reason(failed[0].longrepr)
            longrepr = clip(traceback(failed[0].longrepr)) or None
            error = error and clip(error)
    except Exception:
        error = error or "the error has no text that can be read"
    return TestResult(
        title=title,
        file=file,
        status=status,
        error=error,
        longrepr=longrepr,
        node_id=identity_of_test,
        outcome=status,
        worker=worker or None,
    )
