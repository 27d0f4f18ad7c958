"""What only the process that runs a test knows: its tags, parameters, files, and how often it was tried.

Runs in the only process, or in each xdist worker, and puts one attribute of plain values on setup and
teardown reports; xdist carries it to the controller, where the recorder reads it.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from pytest_tms.plugin.results.attachments import ATTACHED
from pytest_tms.text import clean

ATTRIBUTE = "tms"
"""The attribute of a report that carries the enrichment, where there is any."""

NOT_TAGS = ("parametrize", "usefixtures", "filterwarnings", "skip", "skipif", "xfail", "tms")
"""Markers that steer pytest and say nothing about a test."""


class Enricher:
    """Knows which test runs, and describes it. ``tags`` are the patterns of the setting ``tms_tags``."""

    def __init__(self, tags: Sequence[str] = ()) -> None:
        self._wanted = [pattern for pattern in tags if not pattern.startswith("!")] or ["*"]
        self._unwanted = [*NOT_TAGS, *(pattern[1:] for pattern in tags if pattern.startswith("!"))]
        self._item: pytest.Item | None = None
        self._tries = 0
        self._is_running = False
        self._parent: object = None
        self._inherited: dict[str, Any] = {}
        self._copies: dict[pytest.Item, int] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Note the test that runs now (the process that runs it)."""
        self._item, self._tries, self._is_running = item, 0, True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Count tries where somebody may repeat a test: where pytest alone runs them, none pays for it."""
        hook = session.config.hook
        impls = hook.pytest_runtest_protocol.get_hookimpls() + hook.pytest_runtest_makereport.get_hookimpls()
        owners = [str(getattr(impl.function, "__module__", "")) for impl in impls]
        if not all(owner.startswith(("_pytest.", "pytest_tms.")) for owner in owners):
            session.config.pluginmanager.register(Tries(self), "tms-tries")

    def tried(self) -> None:
        """Note that the test is set up, maybe once more."""
        self._tries += 1
        self._is_running = True

    def settled(self) -> None:
        """Note that the test is over."""
        self._is_running = False

    @property
    def running(self) -> list[str]:
        """The node id of the test that runs now, if one does."""
        return [self._item.nodeid] if self._item is not None and self._is_running else []

    def enrich(self, report: pytest.TestReport) -> None:
        """Describe a test on the report of its setup, after fixtures may have marked it."""
        item = self._item
        # The location of the test that runs is one object; to ask both for their node ids costs more.
        if item is None or (report.location is not item.location and report.nodeid != item.nodeid):
            return
        if item.parent is not self._parent:
            self._inherit(item.parent)
        extra = self._inherited
        if item.own_markers or self._copies or "callspec" in vars(item):
            extra = self._describe(item)
        if self._tries > 1:
            extra = {**extra, "attempt": self._tries}
        if extra:
            add(report, extra)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Number the tests whose node id is not their own, as under ``--keep-duplicates``."""
        if len({item.nodeid for item in session.items}) == len(session.items):
            return
        times: dict[str, int] = {}
        for item in session.items:
            times[item.nodeid] = number = times.get(item.nodeid, 0) + 1
            if number > 1:
                self._copies[item] = number

    def _inherit(self, parent: pytest.Collector | None) -> None:
        markers = list(parent.iter_markers()) if parent is not None else []
        tags = self._named(markers)
        self._parent, self._inherited = parent, {"tags": tags} if tags else {}

    def _describe(self, item: pytest.Item) -> dict[str, Any]:
        """What is the test's own, in addition to what its siblings share."""
        extra = dict(self._inherited)
        if item in self._copies:
            extra["copy"] = self._copies[item]
        if own := self._named(item.own_markers):
            extra["tags"] = list(dict.fromkeys([*own, *extra.get("tags", ())]))
        for marker in item.own_markers:
            if marker.name == "tms":
                extra.update(
                    {key: clean(str(marker.kwargs[key])) for key in ("id", "title") if key in marker.kwargs}
                )
        if (case := vars(item).get("callspec")) is not None:
            extra["parameters"] = {name: _plain(value) for name, value in case.params.items()}
        return extra

    def _named(self, markers: Sequence[pytest.Mark]) -> list[str]:
        tags: dict[str, None] = {}
        for marker in markers:
            if marker.name == "tms":
                tags.update(
                    dict.fromkeys(f"@{clean(str(tag)).lstrip('@')}" for tag in marker.kwargs.get("tags", ()))
                )
            elif self._matches(marker.name):
                tags[f"@{marker.name}"] = None
        return list(tags)

    def _matches(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._wanted) and not any(
            fnmatchcase(name, pattern) for pattern in self._unwanted
        )


class Tries:
    """Counts a test's tries (the process that runs it): who repeats it need not report each."""

    def __init__(self, enricher: Enricher) -> None:
        self._enricher = enricher

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Count."""
        self._enricher.tried()


class Carrier:
    """Has xdist carry what its worker knows of a test; ``cancel`` is the file that says: stop, and why."""

    def __init__(self, enricher: Enricher, cancel: str) -> None:
        self._enricher = enricher
        self._cancel = Path(cancel)
        self._session: pytest.Session | None = None
        self._next_look = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Note what to stop."""
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Describe a test before xdist sends the report; stop after one where the controller says so."""
        if report.when == "setup":
            self._enricher.enrich(report)
        elif report.when == "teardown":
            self._stop_if_told()

    def _stop_if_told(self) -> None:
        """xdist sends a worker tests ahead, which it would finish whatever its controller does."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 0.5
            if self._session is not None and self._cancel.exists():
                self._session.shouldstop = self._cancel.read_text(encoding="utf-8")


class Attached:
    """Puts what a test attached on its reports (the process that runs it), once a test asked for ``tms``."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Hand over with a failure, or with the end of the try."""
        report = yield
        if ATTACHED in item.stash and (report.outcome != "passed" or report.when == "teardown"):
            self.after_pytest_runtest_makereport(item, report)
        return report

    def after_pytest_runtest_makereport(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take it from the test."""
        add(report, item.stash[ATTACHED])
        del item.stash[ATTACHED]


class Unlogged:
    """Failures that nobody was told of: flaky and pytest-retry do not log all (the process of the tests)."""

    def __init__(self) -> None:
        self._logged: object = None
        self._kept: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the latest failure that everyone was told of."""
        if report.longrepr is not None:
            self._logged = report.longrepr
            self._kept = [each for each in self._kept if each.longrepr is not report.longrepr]

    def pytest_exception_interact(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Keep a failure that was not logged before."""
        if (
            isinstance(report, pytest.TestReport)
            and report.failed
            and report.longrepr is not self._logged
            and not hasattr(report, "context")
        ):
            self._kept.append(report)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell what was kept, with the next teardown that is logged."""
        report = yield
        if report.when == "teardown" and self._kept:
            self.after_pytest_runtest_makereport(report)
        return report

    def after_pytest_runtest_makereport(self, report: pytest.TestReport) -> None:
        """Hand over the failures since the last time, as execnet can carry them."""
        kept, self._kept = self._kept, []
        add(report, {"unlogged": [_plain_failure(each) for each in kept]})


def add(report: pytest.TestReport, values: dict[str, Any]) -> None:
    """Add plain values to what a report carries."""
    carried = vars(report).get(ATTRIBUTE)
    setattr(report, ATTRIBUTE, {**carried, **values} if carried else values)


def _plain(value: object) -> object:
    """A parameter as JSON and execnet can hold it; of anything but a scalar only the type.

    The repr of a user's object may be slow, huge or raise.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(str.__str__(value), limit=200)
    if type(value) is float or (type(value) is int and abs(value) < 2**53):
        return value
    return str(value) if type(value) is int and abs(value) < 10**50 else f"<{type(value).__name__}>"


def _plain_failure(report: pytest.TestReport) -> dict[str, Any]:
    """A failure as execnet can carry it to the recorder."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return {
        "when": report.when,
        "duration": report.duration,
        "start": getattr(report, "start", 0.0),
        "message": clean(crash.message if crash is not None else report.longreprtext),
        "text": clean(report.longreprtext),
        "kept": getattr(report, ATTRIBUTE, None) if report.when == "call" else None,
    }
