"""pytest's reports in, settled results out.

A test is open from its first report to its last teardown; the retry plugins differ in what they send in
between (docs/outcomes.md).
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.plugin.results.attachments import of_properties
from pytest_tms.plugin.results.enrichment_transfer import ATTRIBUTE, DESCRIPTION
from pytest_tms.plugin.results.error_text import reason, traceback
from pytest_tms.plugin.results.outcomes import (
    Clip,
    Open,
    Phase,
    Stamp,
    Try,
    Unlogged,
    identity,
    is_failure,
    is_final,
    output_of,
    phase_of,
    place,
    properties_of,
    sections_of,
    settle,
    verdict_known,
)
from pytest_tms.plugin.results.plain_values import MAX_SECONDS, milliseconds
from pytest_tms.plugin.xdist.sharding import test_id
from pytest_tms.text import clean, text_of

PLAIN = {"tags", "parameters", "marks", "id", "title", "owner", "group"}
"""What an enrichment may describe of a test that takes the short way."""
NOTHING: Mapping[str, Any] = {}


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
        self._held: dict[str, list[tuple[pytest.TestReport, Mapping[str, Any]]]] = {}
        self._crashed: dict[str, Open] = {}
        self._failed: set[tuple[str, str]] = set()

    def add(self, report: pytest.TestReport) -> wire.TestResult | None:
        """Take one report of a test; return the test's result if this report settled it.

        Its ``node_id`` is the test's identity: count by it, whatever a hook makes of the result afterwards.
        What passes is held, for each worker, until another report follows: nearly all tests only pass. The
        enrichment is taken off the report, since other plugins write down whatever a report has.
        """
        said = report.__dict__
        extra = said.pop(ATTRIBUTE, NOTHING)
        if report.outcome != "passed":
            worker = worker_of(report)
            held = self._held.pop(worker, ())
        else:  # asking a report for what it has not would cost more than all the rest
            worker = said.get("worker_id", "")
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
        for earlier, its in held:
            self._follow((worker, earlier.nodeid), earlier, its)
        return self._follow((worker, report.nodeid), report, extra)

    def _passed(
        self,
        worker: str,
        setup: tuple[pytest.TestReport, Mapping[str, Any]],
        call: tuple[pytest.TestReport, Mapping[str, Any]],
        teardown: pytest.TestReport,
    ) -> wire.TestResult | None:
        """Return what ``settle`` makes of a test that passed in one try; None if there is more to it."""
        extra = setup[1]
        first, second, last = setup[0].__dict__, call[0].__dict__, teardown.__dict__
        try:
            its, longest, rest = first["duration"], second["duration"], last["duration"]
            location = last["location"]
            if (
                second["when"] != "call"
                or first["when"] != "setup"
                or not first["location"] == second["location"] == location
                or "wasxfail" in second
                or "context" in second
                or call[1]
                or last["user_properties"]
                or (extra and not extra.keys() <= PLAIN)
                or not (its >= 0 and longest >= 0 and rest >= 0 and its + longest + rest <= MAX_SECONDS)
            ):
                return None
            milliseconds = round(1000 * (its + longest + rest))
            file = location[0]
        except (TypeError, KeyError, IndexError, ArithmeticError):  # a plugin made something else of it
            return None
        nodeid = teardown.nodeid
        if (self._open and (worker, nodeid) in self._open) or nodeid in self._crashed:
            return None
        if self._grouped:
            nodeid = _ungrouped(nodeid, extra)
        name, _, title = nodeid.partition("::")
        if name != file or not (title and nodeid.isascii() and nodeid.isprintable()):
            name, title = place(nodeid, location)
            nodeid = identity(nodeid, NOTHING)
        result = wire.TestResult(
            title=extra.get("title", title) if extra else title,
            file=name,
            status="passed",
            duration=milliseconds,
            node_id=f"{nodeid} @{worker}" if self._per_worker and worker else nodeid,
            outcome="passed",
            started_at=self._stamp.iso(first.get("start")),
            worker=worker or None,
            tags=extra.get("tags") if extra else None,
            parameters=extra.get("parameters") if extra else None,
            owner=extra.get("owner") if extra else None,
            properties=properties_of(extra, {}) if extra else None,
        )
        if last["sections"]:
            return msgspec.structs.replace(result, **output_of(sections_of(teardown), self._clip))
        return result

    def _follow(
        self, key: tuple[str, str], report: pytest.TestReport, extra: Mapping[str, Any]
    ) -> wire.TestResult | None:
        worker = key[0]
        test = self._open.get(key)
        if test is None:
            test = self._open[key] = self._crashed.pop(key[1]) if key[1] in self._crashed else Open()
        test.location = test.location or report.__dict__.get("location")
        if extra:
            test.extra = {**test.extra, **{name: extra[name] for name in DESCRIPTION if name in extra}}
        context = getattr(report, "context", None)
        if hasattr(context, "msg") and hasattr(context, "kwargs"):
            test.current.subtests.append(self._subtest(report, context, worker))
            return None
        phase = phase_of(report)
        when, outcome = phase.when, phase.outcome
        if when == "setup" and test.current.phases:  # the retry plugin kept the teardown to itself
            self._next_try(test)
        test.current.phases.append(phase)
        test.show(sections_of(report))
        if when != "setup" or outcome != "passed":
            self._gather(test, report, extra)
        if outcome == "retried":  # pytest-retry: another call follows within this setup and teardown
            self._next_try(test, keep_setup=True)
        elif when == "teardown":
            if is_final(test.current):
                return self._settle(key)
            self._next_try(test)
        elif when == "???" and outcome != "passed":
            if outcome == "rerun":  # any other worker may be the next to try it
                self._next_try(test)
                self._crashed[report.nodeid] = self._open.pop(key)
            else:
                return self._settle(key)
        return None

    def give_up(self, report: pytest.TestReport) -> wire.TestResult | None:
        """Return what is left if ``add`` raised: whether the test failed, and why, once it has ended."""
        worker, key = worker_of(report), (worker_of(report), report.nodeid)
        held = self._held.get(worker, ())
        self._held[worker] = [each for each in held if each[0].nodeid != report.nodeid]
        test = self._open.setdefault(key, Open())
        phases = test.current.phases
        if not phases or phases[-1].when != report.when:
            phases.append(phase_of(report))
        if report.when not in ("teardown", "???"):
            return None
        del self._open[key]
        return self._bare(report.nodeid, test, worker)

    def unsettled(self, in_flight: Collection[str] | None = None) -> Iterator[wire.TestResult]:
        """Settle what never finished but has a verdict: a call that was logged, a try that no other followed.

        ``in_flight`` are the node ids of the tests that were running when the session ended: unless they have
        failed they have no result. None means that they are not known: then the last test that each worker
        began counts as one, if all that is known of it is that it was set up.
        """
        last_begun = set()
        for worker, held in self._held.items():
            if held:
                last_begun.add((worker, held[-1][0].nodeid))
            for report, extra in held:
                self._follow((worker, report.nodeid), report, extra)
        self._held.clear()
        crashed = {("", nodeid): test for nodeid, test in self._crashed.items()}
        self._crashed.clear()
        for key, test in [*self._open.items(), *crashed.items()]:
            if in_flight is not None:
                is_over = key[1] not in in_flight
            else:
                is_over = key not in last_begun or (bool(test.current.phases) and is_final(test.current))
            if is_over or verdict_known(test):
                self._open.pop(key, None)
                result = self._settled_somehow(key[1], test, key[0])
                if not self._hides_failure(key, test, result):
                    yield result

    def _settle(self, key: tuple[str, str]) -> wire.TestResult | None:
        worker, nodeid = key
        test = self._open[key]
        result = self._settled(nodeid, test, worker)
        del self._open[key]
        return None if self._hides_failure(key, test, result) else result

    def _hides_failure(self, key: tuple[str, str], test: Open, result: wire.TestResult) -> bool:
        """Whether this is a late report of a test that has failed, and not another run of it."""
        if result.status == "failed":
            self._failed.add(key)
            return False
        phases = [phase for attempt in (*test.tries, test.current) for phase in attempt.phases]
        return key in self._failed and not any(phase.when == "setup" for phase in phases)

    def _settled(self, nodeid: str, test: Open, worker: str) -> wire.TestResult:
        return settle(
            _ungrouped(nodeid, test.extra) if self._grouped else nodeid,
            test,
            self._clip,
            worker=worker,
            per_worker=self._per_worker,
            stamp=self._stamp,
        )

    def _settled_somehow(self, nodeid: str, test: Open, worker: str) -> wire.TestResult:
        try:
            return self._settled(nodeid, test, worker)
        except Exception:  # one report that cannot be read must not cost the others theirs
            return self._bare(nodeid, test, worker)

    def _bare(self, nodeid: str, test: Open, worker: str) -> wire.TestResult:
        """A result without details: the worst phase and its error."""
        file, title = place(nodeid, test.location)
        phases = [phase for attempt in (*test.tries, test.current) for phase in attempt.phases]
        failed = [phase for phase in phases if is_failure(phase)]
        status: wire.TestStatus = "failed" if failed else "passed"
        if not failed and any(phase.outcome == "skipped" for phase in phases):
            status = "skipped"
        error = longrepr = None
        try:
            if failed:
                error = reason(failed[0].longrepr)
                longrepr = self._clip(traceback(failed[0].longrepr)) or None
                error = error and self._clip(error)
        except Exception:
            error = error or "the error has no text that can be read"
        return wire.TestResult(
            title=title,
            file=file,
            status=status,
            error=error,
            longrepr=longrepr,
            node_id=identity(nodeid, test.extra, worker if self._per_worker else ""),
            outcome=status,
            worker=worker or None,
        )

    @staticmethod
    def _gather(test: Open, report: pytest.TestReport, kept: Mapping[str, Any]) -> None:
        """Take over what a try left: files, properties, and failures that nobody logged."""
        if kept:
            for failure in kept.get("unlogged", ()):
                _insert(test, failure)
            test.keep(dict(kept))
        if report.__dict__.get("user_properties"):
            files, properties = of_properties(report.user_properties)
            test.attach(files)
            test.properties.update(properties)

    def _next_try(self, test: Open, *, keep_setup: bool = False) -> None:
        setup = [phase for phase in test.current.phases if keep_setup and phase.when == "setup"]
        test.end_try(Try(phases=setup))

    def _subtest(self, report: pytest.TestReport, context: Any, worker: str) -> wire.Subtest:
        phase = phase_of(report)
        status: wire.TestStatus = "failed" if is_failure(phase) else "passed"
        if phase.outcome == "skipped":
            status = "skipped"
        wasxfail = None if is_failure(phase) and phase.longrepr is not None else phase.wasxfail
        return wire.Subtest(
            title=clean(_subtest_title(context, worker), limit=1000),
            status=status,
            duration=milliseconds(phase.duration),
            error=reason(phase.longrepr, wasxfail) if status != "passed" else None,
            longrepr=self._clip(traceback(phase.longrepr)) if status == "failed" else None,
        )


def _ungrouped(nodeid: str, extra: Mapping[str, Any]) -> str:
    """A node id without the ``@group`` that xdist's loadgroup appended to it.

    The worker reports what it appended; of a test that crashed before its first report only the id is known.
    """
    group = extra.get("group")
    if group is None:
        return test_id(nodeid)
    return nodeid.removesuffix(group) if group else nodeid


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
        sections = [(name, text) for name, text in failure.get("sections", ())]
        test.tries.append(Try(phases=[phase], sections=test.fresh(sections)))
        test.seen = sections or test.seen
        test.current.sections = test.fresh(test.latest)
    else:
        test.current.phases.insert(-1, msgspec.structs.replace(phase, outcome="rerun"))
        test.keep(failure["kept"] or {})


def worker_of(report: pytest.TestReport) -> str:
    """Return the xdist worker of a report, or an empty text. A crash report has only its node."""
    said = vars(report)
    worker: str | None = said.get("worker_id")
    if worker is None and "node" in said:
        worker = said["node"].gateway.id
    return worker or ""


def _subtest_title(context: Any, worker: str) -> str:
    values = context.kwargs if isinstance(context.kwargs, Mapping) else {}
    shown = _shown_as_repr(context)
    kwargs = ", ".join(f"{text_of(name)}={_value(value, shown, worker)}" for name, value in values.items())
    message = "" if context.msg is None else text_of(context.msg)
    return f"{message} ({kwargs})" if message and kwargs else message or kwargs or "subtest"


def _shown_as_repr(context: Any) -> bool:
    """Whether this pytest keeps a subtest's values as their repr (9.2 does, 8.4 and 9.0 do not)."""
    try:
        return bool(type(context)(msg=None, kwargs={"x": ""}).kwargs["x"] == "''")
    except Exception:  # not pytest's class
        return False


def _value(value: Any, shown: bool, worker: str) -> str:
    """A subtest's value as its repr; over xdist, what was one already became the repr of that."""
    if not shown:
        try:
            return repr(value)[:200]
        except KeyboardInterrupt:
            raise
        except BaseException:  # whatever a user's repr raises
            return f"<{type(value).__name__}>"
    if worker:
        try:
            return text_of(ast.literal_eval(value))
        except (ValueError, SyntaxError, TypeError):  # cut by pytest
            pass
    return text_of(value)
