"""``--tms-detect-flaky``: runs new and changed tests several times (the process that runs the tests)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from _pytest.runner import runtestprotocol

from pytest_tms.plugin.results.enrichment_transfer import REPEATS, add
from pytest_tms.plugin.results.retry_plugins import plain_report
from pytest_tms.plugin.xdist.sharding import appended_group, is_grouped
from pytest_tms.text import clean

KNOWN_TIMEOUT = 10.0
"""Seconds that the first test waits for the names of the tests that the TMS knows."""
MAX_KEY = 300
"""Characters of a node id before the TMS shortens it."""
POLL_INTERVAL = 0.02
"""Seconds between two checks whether they are there."""


class Selection(NamedTuple):
    """Which tests are repeated, as plain values for xdist's workers.

    ``runs`` is how often each is run, ``budget`` the seconds that repeats of one process may take.
    ``changed`` are files relative to the rootdir, ``known`` is the path of the file with the tests that the
    TMS knows, empty if it is not asked.
    """

    runs: int
    budget: float
    changed: list[str]
    known: str

    def to_json(self) -> str:
        """Return the text from which ``from_json`` makes it again."""
        return json.dumps(self)

    @classmethod
    def from_json(cls, text: str) -> Selection:
        """Return what ``to_json`` was called for."""
        return cls(*json.loads(text))


class FlakyDetection:
    """Runs each new or changed test several times, with fixtures of its own, within the time budget.

    The first run decides the outcome that pytest counts. The others are not logged: they are added to the
    report of the first, as attempts of one result.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._changed = frozenset(selection.changed)
        self._known: Collection[str] | None = None
        self._left = selection.budget
        self._is_grouped = False
        # Bound here: tests replace the functions of the module.
        self._clock: Callable[[], float] = time.perf_counter
        self._sleep: Callable[[float], None] = time.sleep

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Read which tests the TMS knows, before the first test."""
        self._is_grouped = is_grouped(session.config)
        if self._selection.known and session.items:
            self._known = self._read_known(Path(self._selection.known))

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run a new or changed test several times; leave other tests to pytest."""
        if self._left <= 0 or not self._is_wanted(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._run(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        """Run a test until it has run often enough or the budget is used up; return its first reports."""
        properties = list(item.user_properties)
        begun = self._clock()
        first = self._run_once(item)
        lasted = self._clock() - begun
        repeats: list[dict[str, Any]] = []
        while _has_run(first) and len(repeats) + 1 < self._selection.runs and lasted <= self._left:
            begun = self._clock()
            item.user_properties[:] = properties
            item._report_sections.clear()  # the output of the run before
            repeats.append(plain_report(_decisive(self._run_once(item))))
            lasted = self._clock() - begun
            self._left -= lasted
        if (broken := self._tear_down(item, nextitem)) is not None and not first[-1].failed:
            first[-1] = broken
        if repeats:
            failed = sum(each["outcome"] != "passed" for each in repeats)
            is_failed = any(report.failed for report in first)
            add(first[-1], {"unlogged": repeats, REPEATS: [len(repeats) + 1, failed + is_failed]})
        return first

    @staticmethod
    def _run_once(item: pytest.Item) -> list[pytest.TestReport]:
        """Run a test, and tear down its own fixtures only: what its parents need stays."""
        return runtestprotocol(item, log=False, nextitem=item.parent)  # type: ignore[arg-type]  # only its parents are used

    @staticmethod
    def _tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> pytest.TestReport | None:
        """Tear down what the next test does not need; return a report if that fails."""
        call = pytest.CallInfo.from_call(
            lambda: item.session._setupstate.teardown_exact(nextitem),
            when="teardown",
            reraise=(pytest.exit.Exception, KeyboardInterrupt),
        )
        if call.excinfo is None:
            return None
        return item.ihook.pytest_runtest_makereport(item=item, call=call)  # type: ignore[no-any-return]  # hooks have no types

    def _is_wanted(self, item: pytest.Item) -> bool:
        if self._known is not None:
            nodeid = item.nodeid.removesuffix(appended_group(item)) if self._is_grouped else item.nodeid
            if _hash(nodeid) not in self._known:
                return True
        return bool(self._changed) and item.location[0].replace(os.sep, "/") in self._changed

    def _read_known(self, path: Path) -> Collection[str] | None:
        """Return the hashes of the tests that the TMS knows; None if it does not answer in time."""
        end = self._clock() + KNOWN_TIMEOUT
        while self._clock() < end:
            try:
                found = json.loads(path.read_bytes())
            except (OSError, ValueError):
                self._sleep(POLL_INTERVAL)
            else:
                return None if found is None else frozenset(found)
        return None


def _has_run(reports: list[pytest.TestReport]) -> bool:
    return any(report.when == "call" and report.outcome != "skipped" for report in reports)


def _decisive(reports: list[pytest.TestReport]) -> pytest.TestReport:
    """Return the report that decides how a run ended: the first that did not pass, else that of the call."""
    for report in reports:
        if report.outcome != "passed":
            return report
    return reports[min(1, len(reports) - 1)]


def _hash(nodeid: str) -> str:
    """Return the hash of a node id; the TMS shortens a long one in this way."""
    key = clean(nodeid)
    if len(key) > MAX_KEY:
        key = f"{key[:MAX_KEY]} {sha256(key.encode()).hexdigest()}"
    return blake2b(key.encode(), digest_size=16).hexdigest()[:16]
