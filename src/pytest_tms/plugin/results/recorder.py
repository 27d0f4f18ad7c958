"""Turns the reports of pytest into complete results.

A test is open from its first report to its last teardown. Retry plugins log different
reports in between (docs/outcomes.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from pytest_tms.plugin.results.captured_output import Clip, split_output
from pytest_tms.plugin.results.enrichment_transfer import ATTRIBUTE, DESCRIPTION, FAILURE, SETUPS
from pytest_tms.plugin.results.json_values import MAX_SECONDS
from pytest_tms.plugin.results.naming import file_and_title, identity_in_shard, ungrouped
from pytest_tms.plugin.results.observed_tests import (
    AttemptReports,
    OpenTest,
    Phase,
    UnloggedFailure,
    phase_of,
    sections_of,
)
from pytest_tms.plugin.results.outcomes import (
    bare_result,
    build_result,
    collect_properties,
    has_failure,
    is_final,
)
from pytest_tms.plugin.results.recorded_properties import split_properties
from pytest_tms.plugin.results.subtests import build_subtest
from pytest_tms.plugin.results.timestamps import TimestampWriter
from pytest_tms.wire.results import Phases, SharedSetup, TestResult

PASSED_FIELDS = {"tags", "parameters", "marks", "id", "title", "owner", "group"}
"""Keys of an enrichment with which ``_passed`` builds the result."""
NO_ENRICHMENT: Mapping[str, Any] = {}


class Recorder:
    """Follows the tests of one run; ``clip`` is applied to every long text.

    ``per_worker`` distinguishes the same test on several workers, ``grouped`` removes the group that xdist's
    loadgroup appends to node ids.
    """

    def __init__(self, clip: Clip, *, per_worker: bool = False, grouped: bool = False) -> None:
        self._clip = clip
        self._per_worker = per_worker
        self._grouped = grouped
        self._timestamps = TimestampWriter()
        self._open: dict[tuple[str, str], OpenTest] = {}
        self._held: dict[str, list[tuple[pytest.TestReport, Mapping[str, Any]]]] = {}
        self._last_begun: dict[str, str] = {}
        self._crashed: dict[str, OpenTest] = {}
        self._failed: set[tuple[str, str]] = set()

    def add(self, report: pytest.TestReport) -> TestResult | None:
        """Take one report of a test; return the test's result if this report completes it.

        Its ``node_id`` is the test's identity: count by it, since a hook may change the result afterwards.
        A phase that passes is held, for each worker, until another report follows: most tests only pass.
        The enrichment is removed from the report, since other plugins write its attributes to files.
        """
        values = report.__dict__
        extra = values.pop(ATTRIBUTE, NO_ENRICHMENT)
        if report.outcome != "passed":
            worker = worker_of(report)
            held = self._held.pop(worker, ())
        else:  # looking up a missing attribute takes longer than everything else here
            worker = values.get("worker_id", "")
            if report.when != "teardown":
                if worker in self._held:
                    self._held[worker].append((report, extra))
                else:
                    self._held[worker] = [(report, extra)]
                return None
            held = self._held.pop(worker, ())
            if len(held) == 2 and not extra:
                result = self._passed(worker, held[0], held[1], report)
                if result is not None:
                    return result
        for earlier, its_extra in held:
            self._follow((worker, earlier.nodeid), earlier, its_extra)
        return self._follow((worker, report.nodeid), report, extra)

    def _passed(
        self,
        worker: str,
        setup: tuple[pytest.TestReport, Mapping[str, Any]],
        call: tuple[pytest.TestReport, Mapping[str, Any]],
        teardown: pytest.TestReport,
    ) -> TestResult | None:
        """Return the result of a test that passed in one attempt; None for any other."""
        extra = setup[1]
        first, second, last = setup[0].__dict__, call[0].__dict__, teardown.__dict__
        try:
            begin, body, end = first["duration"], second["duration"], last["duration"]
            duration = begin + body + end
            location = last["location"]
            if (
                second["when"] != "call"
                or first["when"] != "setup"
                or not first["location"] == second["location"] == location
                or "wasxfail" in second
                or "context" in second
                or call[1]
                or last["user_properties"]
                or (extra and not extra.keys() <= PASSED_FIELDS)
                or not (begin >= 0 and body >= 0 and end >= 0 and duration <= MAX_SECONDS)
            ):
                return None
            milliseconds = round(1000 * duration)
            file = location[0]
        except (TypeError, KeyError, IndexError, ArithmeticError):  # a plugin changed the report
            return None
        nodeid = teardown.nodeid
        if (self._open and (worker, nodeid) in self._open) or nodeid in self._crashed:
            return None
        if self._grouped:
            nodeid = ungrouped(nodeid, extra)
        name, _, title = nodeid.partition("::")
        if name != file or not (title and nodeid.isascii() and nodeid.isprintable()):
            name, title = file_and_title(nodeid, location)
            nodeid = identity_in_shard(nodeid, NO_ENRICHMENT)
        result = TestResult(
            title=extra.get("title", title) if extra else title,
            file=name,
            status="passed",
            duration=milliseconds,
            node_id=f"{nodeid} @{worker}" if self._per_worker and worker else nodeid,
            outcome="passed",
            started_at=self._timestamps.iso(first.get("start")),
            worker=worker or None,
            tags=extra.get("tags") if extra else None,
            parameters=extra.get("parameters") if extra else None,
            owner=extra.get("owner") if extra else None,
            properties=collect_properties(extra, {}) if extra else None,
            phases=Phases(setup=round(1000 * begin), call=round(1000 * body), teardown=round(1000 * end)),
        )
        if last["sections"]:
            return msgspec.structs.replace(result, **split_output(sections_of(teardown), self._clip))
        return result

    def _follow(
        self, key: tuple[str, str], report: pytest.TestReport, extra: Mapping[str, Any]
    ) -> TestResult | None:
        worker = key[0]
        test = self._open.get(key)
        if test is None:
            test = self._open[key] = self._crashed.pop(key[1]) if key[1] in self._crashed else OpenTest()
        test.location = test.location or report.__dict__.get("location")
        if extra:
            test.extra = {**test.extra, **{name: extra[name] for name in DESCRIPTION if name in extra}}
        context = getattr(report, "context", None)
        if hasattr(context, "msg") and hasattr(context, "kwargs"):
            test.current.subtests.append(build_subtest(report, context, worker, self._clip))
            return None
        phase = phase_of(report)
        phase.failure = extra.get(FAILURE)
        when, outcome = phase.when, phase.outcome
        if when == "setup" and test.current.phases:  # the retry plugin did not log the teardown
            self._next_attempt(test)
        test.current.phases.append(phase)
        test.set_sections(sections_of(report))
        if SETUPS in extra:
            test.current.setups += [SharedSetup(**setup) for setup in extra[SETUPS]]
        if when != "setup" or outcome != "passed":
            self._add_details(test, report, extra)
        if outcome == "retried":  # pytest-retry: another call follows within this setup and teardown
            self._next_attempt(test, keep_setup=True)
        elif when == "teardown":
            if is_final(test.current):
                return self._build_result(key)
            self._next_attempt(test)
        elif when == "???" and outcome != "passed":
            if outcome == "rerun":  # any other worker may run the next attempt
                self._next_attempt(test)
                self._crashed[report.nodeid] = self._open.pop(key)
            else:
                return self._build_result(key)
        return None

    def fallback_result(self, report: pytest.TestReport) -> TestResult | None:
        """Return a result without details if ``add`` raised, once the test has ended."""
        worker, key = worker_of(report), (worker_of(report), report.nodeid)
        held = self._held.get(worker, ())
        self._held[worker] = [each for each in held if each[0].nodeid != report.nodeid]
        test = self._open.setdefault(key, OpenTest())
        phases = test.current.phases
        if not phases or phases[-1].when != report.when:
            phases.append(phase_of(report))
        if report.when not in ("teardown", "???"):
            return None
        del self._open[key]
        return self._bare(report.nodeid, test, worker)

    def flush(self, in_flight: Collection[str] | None = None) -> Iterator[TestResult]:
        """Complete tests that did not finish but have an outcome: a logged call, or a last attempt.

        ``in_flight`` are the node ids of the tests that were running when the session ended: unless they have
        failed they have no result. None means that they are unknown: then the last test that each worker
        started counts as one, if it was only set up. A later call completes what was reported meanwhile.
        """
        for worker, held in self._held.items():
            if held:
                self._last_begun[worker] = held[-1][0].nodeid
            for report, extra in held:
                self._follow((worker, report.nodeid), report, extra)
        self._held.clear()
        crashed = {("", nodeid): test for nodeid, test in self._crashed.items()}
        self._crashed.clear()
        for key, test in [*self._open.items(), *crashed.items()]:
            if in_flight is not None:
                is_over = key[1] not in in_flight
            else:
                is_over = self._last_begun.get(key[0]) != key[1] or (
                    bool(test.current.phases) and is_final(test.current)
                )
            if is_over or has_failure(test):
                self._open.pop(key, None)
                result = self._build_or_bare(key[1], test, key[0])
                if not self._hides_failure(key, test, result):
                    yield result

    def _build_result(self, key: tuple[str, str]) -> TestResult | None:
        worker, nodeid = key
        test = self._open[key]
        result = self._build(nodeid, test, worker)
        del self._open[key]
        return None if self._hides_failure(key, test, result) else result

    def _hides_failure(self, key: tuple[str, str], test: OpenTest, result: TestResult) -> bool:
        """Return whether this is a late report of a test that has failed, and not another run of it."""
        if result.status == "failed":
            self._failed.add(key)
            return False
        phases = [phase for attempt in (*test.attempts, test.current) for phase in attempt.phases]
        return key in self._failed and not any(phase.when == "setup" for phase in phases)

    def _build(self, nodeid: str, test: OpenTest, worker: str) -> TestResult:
        return build_result(
            ungrouped(nodeid, test.extra) if self._grouped else nodeid,
            test,
            self._clip,
            worker=worker,
            per_worker=self._per_worker,
            timestamps=self._timestamps,
        )

    def _build_or_bare(self, nodeid: str, test: OpenTest, worker: str) -> TestResult:
        try:
            return self._build(nodeid, test, worker)
        except Exception:  # one invalid report must not prevent the results of the others
            return self._bare(nodeid, test, worker)

    def _bare(self, nodeid: str, test: OpenTest, worker: str) -> TestResult:
        identity = identity_in_shard(nodeid, test.extra, worker if self._per_worker else "")
        return bare_result(nodeid, test, worker, identity, self._clip)

    @staticmethod
    def _add_details(test: OpenTest, report: pytest.TestReport, kept: Mapping[str, Any]) -> None:
        """Add the files and properties of an attempt, and failures that were not logged."""
        if kept:
            for failure in kept.get("unlogged", ()):
                _insert(test, failure)
            test.add_attached(dict(kept))
        if report.__dict__.get("user_properties"):
            files, properties = split_properties(report.user_properties)
            test.attach(files)
            test.properties.update(properties)

    def _next_attempt(self, test: OpenTest, *, keep_setup: bool = False) -> None:
        setup = [phase for phase in test.current.phases if keep_setup and phase.when == "setup"]
        test.end_attempt(AttemptReports(phases=setup))


def _insert(test: OpenTest, failure: dict[str, Any]) -> None:
    """Insert an attempt that was not logged: a failure under a retry plugin, or a repeat.

    It is of this attempt if this one has no outcome (``flaky``), else an attempt before this one
    (``pytest-retry``, which logs only the first and the last).
    """
    phase = Phase(
        failure["when"],
        failure.get("outcome", "failed"),
        failure["duration"],
        failure["start"],
        UnloggedFailure(failure["message"], failure["text"]),
        None,
    )
    if is_final(test.current):
        sections = [(name, text) for name, text in failure.get("sections", ())]
        test.attempts.append(AttemptReports(phases=[phase], sections=test.new_sections(sections)))
        test.seen = sections or test.seen
        test.current.sections = test.new_sections(test.latest)
    else:
        test.current.phases.insert(-1, msgspec.structs.replace(phase, outcome="rerun"))
        test.add_attached(failure["kept"] or {})


def worker_of(report: pytest.TestReport) -> str:
    """Return the xdist worker of a report, or an empty text. A crash report has only its node."""
    values = vars(report)
    worker: str | None = values.get("worker_id")
    if worker is None and "node" in values:
        worker = values["node"].gateway.id
    return worker or ""
