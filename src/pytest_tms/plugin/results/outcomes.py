"""What was seen of a test becomes one ``wire.TestResult``: functions of nothing but their arguments.

docs/outcomes.md describes the mapping.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.plugin.results.error_text import reason as reason
from pytest_tms.plugin.results.error_text import text_message, traceback
from pytest_tms.plugin.results.plain_values import seconds
from pytest_tms.text import clean, text_of

FAILED = ("failed", "rerun", "retried")
"""The outcomes of a report whose phase failed: the retry plugins have their own words."""
KNOWN = (*FAILED, "passed", "skipped")
"""The outcomes that pytest and the retry plugins write; a hook may write any other."""
MAX_WORD = 100
"""Characters of an outcome that is kept."""
MAX_SECTIONS = 100
"""Report sections of other plugins that are kept of a test."""
MAX_START = 253_402_300_800
"""The end of the year 9999, in seconds since 1970."""
UNTITLED = "(a test without a name)"

Clip = Callable[[str], str]
"""Makes a long text fit to send: masked and cut."""
Sections = list[tuple[str, str]]
"""Headings and texts, as in ``report.sections``."""


class Phase(msgspec.Struct):
    """One report, copied at once: retry plugins change a report after it was logged.

    ``duration`` is in seconds, None if the report has none that can be; ``start`` is anything.
    """

    when: str
    outcome: str
    duration: float | None
    start: Any
    longrepr: Any
    wasxfail: str | None


def is_failure(phase: Phase) -> bool:
    """Return whether a phase failed, or ended in a word that pytest does not have.

    A function: a property of the struct keeps every object of the session alive until the interpreter ends.
    """
    return phase.outcome not in ("passed", "skipped")


class Unlogged(msgspec.Struct, frozen=True):
    """A failure whose report was never logged, in the shape of pytest's own longrepr."""

    message: str
    text: str

    @property
    def reprcrash(self) -> Unlogged:
        """Where ``message`` is."""
        return self

    def __str__(self) -> str:
        return self.text


class Try(msgspec.Struct):
    """One run through setup, call and teardown, with the subtests on the way."""

    phases: list[Phase] = []
    subtests: list[wire.Subtest] = []
    artifacts: list[wire.Artifact] = []
    sections: Sections = []


class Open(msgspec.Struct):
    """A test that has begun and not settled; ``tries`` are the finished ones, all unsuccessful.

    ``seen`` are the report sections of finished tries: pytest repeats them in the reports that follow.
    """

    location: Any = None
    current: Try = msgspec.field(default_factory=Try)
    tries: list[Try] = []
    extra: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    seen: Sections = []
    latest: Sections = []

    def keep(self, kept: dict[str, Any]) -> None:
        """Take over what the current try attached."""
        self.attach(kept.get("artifacts", []))
        self.properties.update(kept.get("properties", {}))

    def attach(self, files: list[dict[str, Any]]) -> None:
        """Keep the files that no earlier try had; properties repeat those of earlier tries."""
        known = {file.path for attempt in (*self.tries, self.current) for file in attempt.artifacts}
        self.current.artifacts += [wire.Artifact(**file) for file in files if file["path"] not in known]

    def show(self, sections: Sections) -> None:
        """Note the sections of the latest report: what earlier tries had is theirs."""
        if sections:
            self.latest = sections
            self.current.sections = self.fresh(sections)

    def fresh(self, sections: Sections) -> Sections:
        """The sections that no earlier try had."""
        known = len(self.seen)
        return sections[known:] if sections[:known] == self.seen else sections

    def end_try(self, following: Try) -> None:
        """Begin another try."""
        self.tries.append(self.current)
        self.seen = self.latest
        self.current = following


class Verdict(NamedTuple):
    """How an attempt ended: the word for it, the phase that decided it, the protocol's status."""

    outcome: str
    phase: Phase
    status: wire.TestStatus


def settle(
    nodeid: str, test: Open, clip: Clip, *, worker: str = "", per_worker: bool = False, stamp: Stamp
) -> wire.TestResult:
    """Return the result of a test from everything that was seen of it; see "From pytest to the protocol"."""
    last = test.current if test.current.phases or not test.tries else test.tries[-1]
    earlier = test.tries if last is test.current else test.tries[:-1]
    outcome, decisive, status = verdict(last)
    extra = test.extra
    file, title = place(nodeid, test.location)
    retries = extra.get("attempt", 1) - 1
    if earlier:
        retries = max(retries, len(earlier)) if any(map(_has_failed, earlier)) else 0
    error = longrepr = None
    if status != "passed" or outcome == "xpassed":
        error = _error_of(last, decisive)
        error = error and clip(error)
        longrepr = clip(_traceback(last)) or None if status == "failed" else None
    return wire.TestResult(
        title=extra.get("title") or title,
        file=file,
        status=status,
        duration=_duration(last),
        error=error,
        retries=retries or None,
        tags=extra.get("tags"),
        node_id=identity(nodeid, extra, worker if per_worker else ""),
        outcome=outcome,
        started_at=stamp.iso(last.phases[0].start) if last.phases else None,
        worker=worker or None,
        owner=extra.get("owner"),
        longrepr=longrepr,
        parameters=extra.get("parameters"),
        properties=properties_of(extra, test.properties),
        artifacts=last.artifacts or None,
        attempts=[_attempt(attempt, clip, stamp) for attempt in (*earlier, last)] if earlier else None,
        subtests=last.subtests or None,
        **output_of(last.sections, clip),
    )


def identity(nodeid: str, extra: Mapping[str, Any], worker: str = "") -> str:
    """Return what identifies a test in its shard: its node id, and which worker or copy of it ran."""
    if worker:
        nodeid = f"{nodeid} @{worker}"
    if "copy" in extra:
        nodeid = f"{nodeid} #{extra['copy']}"
    return clean(nodeid) or UNTITLED


def place(nodeid: str, location: Any) -> tuple[str, str]:
    """Return the file and the title of a test.

    Other plugins make node ids that are not paths: then the file is that of the report's ``location``.
    """
    file, separator, title = nodeid.partition("::")
    try:
        real = location[0].replace(os.sep, "/")
    except (TypeError, IndexError, KeyError, AttributeError):
        real = ""
    if real and file != real and not (separator and _FILE.fullmatch(file)):
        file, title = real, nodeid
    title = title or file
    if "\n" in title or "\r" in title:
        title = " ".join(title.split())
    return clean(file), clean(title) if title.strip() else UNTITLED


_FILE = re.compile(r"[^\r\n]*\.\w{1,10}")


def properties_of(extra: Mapping[str, Any], properties: dict[str, Any]) -> dict[str, Any] | None:
    """Return a test's properties: the arguments of its markers, what it recorded, and its id."""
    if marks := extra.get("marks"):
        properties = {**marks, **properties}
    if "id" in extra:
        properties = {**properties, "id": extra["id"]}
    return properties or None


def not_collected(report: pytest.CollectReport, clip: Clip) -> wire.TestResult:
    """Return a file that could not be collected, or was skipped as a whole, as a test with its name."""
    name = clean(report.nodeid) or "collection"
    is_skipped = report.outcome == "skipped"
    word = word_of(report.outcome)
    text = traceback(report.longrepr)
    return wire.TestResult(
        title=name,
        file=name.partition("::")[0],
        status="skipped" if is_skipped else "failed",
        outcome="skipped" if is_skipped else "error" if word in KNOWN else word,
        node_id=name,
        error=reason(report.longrepr) if is_skipped else clip(text_message(text) or "collection failed"),
        longrepr=None if is_skipped else clip(text),
    )


def word_of(outcome: object) -> str:
    """Return a report's outcome as text, also if a hook made it something else."""
    if type(outcome) is str and outcome in KNOWN:
        return outcome
    return clean(" ".join(text_of(outcome).split()))[:MAX_WORD] if outcome else "unknown"


def phase_of(report: pytest.TestReport) -> Phase:
    """Return a copy of what a report says of its phase."""
    said = report.__dict__
    wasxfail = said.get("wasxfail")
    return Phase(
        text_of(said["when"]) if said.get("when") is not None else "unknown",
        word_of(said.get("outcome")),
        seconds(said.get("duration", 0.0)),
        said.get("start"),
        said.get("longrepr"),
        text_of(wasxfail if wasxfail is not None else "") if "wasxfail" in said else None,
    )


def sections_of(report: pytest.TestReport) -> Sections:
    """Return the sections of a report that are a heading and a text."""
    sections: Sections = []
    for section in report.__dict__.get("sections") or ():
        if isinstance(section, (tuple, list)) and len(section) == 2:
            sections.append((text_of(section[0]), text_of(section[1])))
    return sections


def is_final(attempt: Try) -> bool:
    """Whether no other attempt follows: none asked for a rerun, and what was set up was also called.

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


def verdict_known(test: Open) -> bool:
    """Whether an unfinished test has failed, now or in an earlier try: leaving it out would lose that."""
    return any(
        is_failure(phase) for attempt in (*test.tries, test.current) for phase in attempt.phases
    ) or any(part.status == "failed" for part in test.current.subtests)


def verdict(attempt: Try) -> Verdict:
    """Return how an attempt ended, in pytest's own word, and the phase that decided it."""
    skipped = passed = None
    torn_down: Phase | None = None
    foreign: Phase | None = None
    last = attempt.phases[-1] if attempt.phases else _NOTHING
    for phase in attempt.phases:
        if phase.outcome in FAILED:
            if phase.when == "???":
                return Verdict("crashed", phase, "failed")
            if phase.when == "call":
                strict = isinstance(phase.longrepr, str) and phase.longrepr.startswith("[XPASS(strict)]")
                return Verdict("xpassed" if strict else "failed", phase, "failed")
            torn_down = torn_down or phase
        elif phase.outcome == "skipped":
            skipped = skipped or phase
        elif phase.outcome != "passed":
            foreign = foreign or phase
        elif phase.when == "call":
            passed = phase
    if foreign is not None:  # nothing says that it passed
        return Verdict(foreign.outcome, foreign, "failed")
    if torn_down is not None:
        return Verdict("error", torn_down, "failed")
    if any(part.status == "failed" for part in attempt.subtests):
        return Verdict("failed", passed or last, "failed")
    if passed is not None:
        return Verdict("xpassed" if passed.wasxfail is not None else "passed", passed, "passed")
    if skipped is not None:
        return Verdict("xfailed" if skipped.wasxfail is not None else "skipped", skipped, "skipped")
    # A plugin repeated a test that had not failed (flaky's min_passes), or its call was not logged.
    return Verdict("passed", last, "passed")


_NOTHING = Phase("call", "passed", 0.0, 0.0, None, None)


def _has_failed(attempt: Try) -> bool:
    return verdict(attempt).status == "failed"


def _duration(attempt: Try) -> int | None:
    """Milliseconds over all phases; None if one of them has a duration that cannot be."""
    total = 0.0
    for phase in attempt.phases:
        if phase.duration is None:
            return None
        total += phase.duration
    return round(1000 * total)


def _attempt(attempt: Try, clip: Clip, stamp: Stamp) -> wire.Attempt:
    outcome, decisive, status = verdict(attempt)
    return wire.Attempt(
        outcome=outcome,
        duration=_duration(attempt),
        error=clip(_error_of(attempt, decisive) or "") or None if outcome != "passed" else None,
        longrepr=clip(_traceback(attempt)) or None if status == "failed" else None,
        started_at=stamp.iso(attempt.phases[0].start) if attempt.phases else None,
        artifacts=attempt.artifacts or None,
        **output_of(attempt.sections, clip),
    )


def _error_of(attempt: Try, decisive: Phase) -> str | None:
    """Why an attempt ended as it did; if only parts of it failed, how many."""
    hidden = is_failure(decisive) and decisive.longrepr is not None
    error = reason(decisive.longrepr, None if hidden else decisive.wasxfail)
    failed = [part for part in attempt.subtests if part.status == "failed"]
    if failed and (not error or error.startswith("contains ")):  # as pytest 9 says it
        return f"{len(failed)} of {len(attempt.subtests)} subtests failed"
    return error


def _traceback(attempt: Try) -> str:
    """The tracebacks of every phase that failed, teardown's after the call's."""
    return "\n\n".join(
        traceback(phase.longrepr)
        for phase in attempt.phases
        if is_failure(phase) and phase.longrepr is not None
    )


def output_of(sections: Sections, clip: Clip) -> dict[str, Any]:
    """Return captured output by stream, its phases one after another, and the sections of other plugins."""
    streams: dict[str, Any] = {}
    foreign: list[wire.Section] = []
    for name, text in sections:
        stream = _STREAMS.get(name) or _stream(name)
        if stream is None:
            foreign.append(wire.Section(name=clean(name)[:200], text=clip(text)))
        elif stream in streams:
            streams[stream].append(text)
        else:
            streams[stream] = [text]
    for stream, texts in streams.items():
        streams[stream] = clip("\n".join(texts) if len(texts) > 1 else texts[0])
    if foreign:
        streams["sections"] = foreign[:MAX_SECTIONS]
    return streams


_STREAMS = {
    f"Captured {stream} {when}": stream
    for stream in ("stdout", "stderr", "log")
    for when in ("setup", "call", "teardown")
}


def _stream(name: str) -> str | None:
    found = re.fullmatch(r"Captured (stdout|stderr|log)(?: \S+)?", name)
    return found and found[1]


class Stamp:
    """Writes seconds since 1970 as ISO 8601; most tests begin in the same second as the one before."""

    def __init__(self) -> None:
        # Bound now: a test may patch the names of the module.
        self._strftime = time.strftime
        self._gmtime = time.gmtime
        self._second = 0
        self._text = ""
        self._ends = [
            f"{millisecond:03}Z" for millisecond in range(1000)
        ]  # to format each costs twice as much

    def iso(self, seconds: Any) -> str | None:
        """Return milliseconds and ``Z`` included; None for what is not a time of the years 1970 to 9999."""
        if type(seconds) is not float and type(seconds) is not int:
            return None
        if not 0 < seconds < MAX_START:
            return None
        whole = int(seconds)
        if whole != self._second:
            text = self._strftime("%Y-%m-%dT%H:%M:%S.", self._gmtime(whole))
            self._second, self._text = whole, text
        return self._text + self._ends[int((seconds - whole) * 1000)]
