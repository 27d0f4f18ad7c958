"""pytest's reports in, settled results out.

A test is open from its first report to its last teardown; the retry plugins differ in what they send in
between (docs/outcomes.md).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from pytest_tms import wire
from pytest_tms.plugin.results.attachments import of_properties
from pytest_tms.plugin.results.enrichment import ATTRIBUTE
from pytest_tms.plugin.results.outcomes import (
    Clip,
    Open,
    Phase,
    Stamp,
    Try,
    Unlogged,
    is_final,
    output_of,
    reason,
    settle,
    verdict_known,
)
from pytest_tms.plugin.xdist.sharding import test_id
from pytest_tms.text import clean

PLAIN = {"tags", "parameters"}
"""What an enrichment may say of a test that takes the short way."""


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
        self._held: dict[str, list[pytest.TestReport]] = {}
        self._crashed: dict[str, Open] = {}

    def add(self, report: pytest.TestReport) -> wire.TestResult | None:
        """Take one report of a test; answers the test's result where this report settled it.

        What passes is held, for each worker, until a report tells more: nearly all tests do nothing but pass.
        """
        if report.outcome != "passed":
            worker = worker_of(report)
        else:  # asking a report for what it has not would cost more than all the rest
            worker = report.__dict__.get("worker_id", "")
            if report.when != "teardown":
                if worker in self._held:
                    self._held[worker].append(report)
                else:
                    self._held[worker] = [report]
                return None
        held = self._held.pop(worker, ())
        if len(held) == 2 and (result := self._passed(worker, held[0], held[1], report)) is not None:
            return result
        for earlier in held:
            self._follow((worker, earlier.nodeid), earlier)
        return self._follow((worker, report.nodeid), report)

    def _passed(
        self,
        worker: str,
        setup: pytest.TestReport,
        call: pytest.TestReport,
        teardown: pytest.TestReport,
    ) -> wire.TestResult | None:
        """What ``settle`` makes of a test that passed in one try; None where there is more to tell of it."""
        first, second, last = setup.__dict__, call.__dict__, teardown.__dict__
        extra: dict[str, Any] = first.get(ATTRIBUTE) or {}
        if (
            last["outcome"] != "passed"
            or last["when"] != "teardown"
            or second["when"] != "call"
            or first["when"] != "setup"
            or not first["location"] == second["location"] == last["location"]
            or "wasxfail" in second
            or "context" in second
            or ATTRIBUTE in last
            or last["user_properties"]
            or (extra and not extra.keys() <= PLAIN)
        ):
            return None
        nodeid = teardown.nodeid
        if (self._open and (worker, nodeid) in self._open) or nodeid in self._crashed:
            return None
        if self._grouped:
            nodeid = test_id(nodeid)
        file, _, title = nodeid.partition("::")
        start = first.get("start")
        result = wire.TestResult(
            title=title or file,
            file=file,
            status="passed",
            duration=round(1000 * (first["duration"] + second["duration"] + last["duration"])),
            tags=extra.get("tags"),
            node_id=f"{nodeid} @{worker}" if self._per_worker and worker else nodeid,
            outcome="passed",
            started_at=self._stamp.iso(start) if start else None,
            worker=worker or None,
            parameters=extra.get("parameters"),
        )
        if last["sections"]:
            return msgspec.structs.replace(result, **output_of(teardown.sections, self._clip))
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
        self._held[worker] = [each for each in self._held.get(worker, ()) if each.nodeid != report.nodeid]
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
        for worker, held in self._held.items():
            for report in held:
                self._follow((worker, report.nodeid), report)
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
            error=reason(report.longrepr, getattr(report, "wasxfail", None)) if status != "passed" else None,
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
