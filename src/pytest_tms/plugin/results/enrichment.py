"""What only the process that runs a test knows: its tags, parameters, files, and how often it was tried.

Runs in the only process, or in each xdist worker, and puts one attribute of plain values on reports; xdist
carries it to the controller, where the recorder takes it off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from pytest_tms.plugin.results.attachments import ATTACHED
from pytest_tms.plugin.results.enrichment_transfer import add
from pytest_tms.plugin.results.markers import MarkerReader, Markers, merged, parameters
from pytest_tms.plugin.results.retry_plugins import Tries
from pytest_tms.plugin.results.retry_plugins import Unlogged as Unlogged
from pytest_tms.plugin.xdist.sharding import appended_group, is_grouped
from pytest_tms.text import clean, text_of


class Enricher:
    """Knows which test runs, and describes it. ``tags`` are the patterns of the setting ``tms_tags``."""

    def __init__(self, tags: Sequence[str] = ()) -> None:
        self._reader = MarkerReader(tags)
        self._session: pytest.Session | None = None
        self._items: dict[str, pytest.Item] | None = None
        self._registered: set[str] | None = None
        self._is_grouped = False
        self._item: pytest.Item | None = None
        self._described: pytest.Item | None = None
        self._tries = 0
        self._is_running = False
        self._parent: object = None
        self._inherited = Markers([], {}, {})
        self._shared: dict[str, Any] = {}
        self._copies: dict[pytest.Item, int] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Note the test that runs now (the process that runs it)."""
        self._item, self._described, self._tries, self._is_running = item, None, 0, True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Note that no test runs any more, unless the session was interrupted in one."""
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self._is_running = False

    def tried(self, item: pytest.Item) -> None:
        """Note that the test is set up, maybe once more."""
        if item is not self._item:  # a loop that does not call pytest_runtest_protocol
            self._item, self._described, self._tries = item, None, 0
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
        """Describe a test on the first report of each of its tries, after fixtures may have marked it.

        Call it with every report: not every loop reports a setup.
        """
        item = self._item
        # The location of the test that runs is one object; to ask both for their node ids costs more.
        if item is None or (report.location is not item.location and report.nodeid != item.nodeid):
            item = self._find(report.nodeid)
        if item is self._described and report.when != "setup":
            return
        self._described = item
        extra = self._description(item) if item is not None else self._guessed(report)
        if extra:
            add(report, extra)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Prepare for the tests of this session, once every conftest.py is loaded."""
        self._session = session
        self._is_grouped = is_grouped(session.config)
        self._count_tries(session.config)
        if len({item.nodeid for item in session.items}) == len(session.items):
            return
        times: dict[str, int] = {}
        for item in session.items:  # under --keep-duplicates
            times[item.nodeid] = number = times.get(item.nodeid, 0) + 1
            if number > 1:
                self._copies[item] = number

    def _count_tries(self, config: pytest.Config) -> None:
        """Count tries if anything may repeat a test: if pytest alone runs them, none pays for it."""
        hook = config.hook
        impls = [
            *hook.pytest_runtestloop.get_hookimpls(),
            *hook.pytest_runtest_protocol.get_hookimpls(),
            *hook.pytest_runtest_makereport.get_hookimpls(),
        ]
        owners = [str(getattr(impl.function, "__module__", "")) for impl in impls]
        if not all(owner.startswith(("_pytest.", "pytest_tms.", "xdist.")) for owner in owners):
            config.pluginmanager.register(Tries(self), "tms-tries")

    def _find(self, nodeid: str) -> pytest.Item | None:
        """The test of a report that came without pytest's own loop."""
        if self._items is None and self._session is not None:
            self._items = {item.nodeid: item for item in reversed(self._session.items)}
        return self._items.get(nodeid) if self._items else None

    def _guessed(self, report: pytest.TestReport) -> dict[str, Any]:
        """The tags of a test that was not collected: the names in its report that are registered markers."""
        if self._session is None:
            return {}
        if self._registered is None:
            lines = self._session.config.getini("markers")
            self._registered = {line.partition(":")[0].partition("(")[0].strip() for line in lines}
        names = [name for name in map(text_of, report.keywords) if name in self._registered]
        tags = [f"@{clean(name)}" for name in names if self._reader.is_tag(name)]
        return {"tags": tags} if tags else {}

    def _description(self, item: pytest.Item) -> dict[str, Any]:
        if item.parent is not self._parent:
            self._inherit(item.parent)
        extra = self._shared
        if (
            item.own_markers
            or self._copies
            or self._is_grouped
            or "callspec" in vars(item)
            or "title" in self._shared
        ):
            extra = self._describe(item)
        if self._tries > 1 and item is self._item:
            extra = {**extra, "attempt": self._tries}
        return extra

    def _inherit(self, parent: pytest.Collector | None) -> None:
        markers = list(parent.iter_markers()) if parent is not None else []
        self._parent, self._inherited = parent, self._reader.read(markers)
        self._shared = merged(self._inherited, Markers([], {}, {}))

    def _describe(self, item: pytest.Item) -> dict[str, Any]:
        """What is the test's own, in addition to what its siblings share."""
        case = vars(item).get("callspec")
        its = list(getattr(case, "marks", ())) if case is not None else []
        shared = [marker for marker in item.own_markers if not any(marker is each for each in its)]
        # Decorators apply from below: their arguments are kept in the order in which they are written.
        own = self._reader.read([*its, *shared])
        if own.arguments and len(shared) > 1:
            own = own._replace(arguments=self._reader.read([*its, *reversed(shared)]).arguments)
        extra = merged(own, self._inherited)
        if "title" in extra:
            extra["title"] = self._title(item, case, extra["title"], own, its)
        if item in self._copies:
            extra["copy"] = self._copies[item]
        if self._is_grouped:
            extra["group"] = appended_group(item)
        if case is not None and (values := parameters(case)):
            extra["parameters"] = values
        return extra

    def _title(
        self, item: pytest.Item, case: Any, title: str, own: Markers, its: Sequence[pytest.Mark]
    ) -> str:
        """A title that several tests share, followed by what tells them apart."""
        if "title" not in own.names:
            return f"{title}: {clean(item.name)}"
        if case is None or "title" in self._reader.read(its).names:
            return title
        return f"{title}[{clean(case.id)}]" if case.id else title


class Carrier:
    """Has xdist carry what its worker knows of a test; ``cancel`` is the file that says: stop, and why."""

    def __init__(self, enricher: Enricher, cancel: str) -> None:
        self._enricher = enricher
        self._cancel = cancel
        self._session: pytest.Session | None = None
        self._next_look = 0.0
        # Bound now: a test may patch the names of the modules.
        self._clock = time.monotonic
        self._open, self._read, self._close = os.open, os.read, os.close

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Note what to stop."""
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Describe a test before xdist sends the report; stop after one if the controller says so."""
        self._enricher.enrich(report)
        if report.when != "setup":
            self._stop_if_told()

    def _stop_if_told(self) -> None:
        """Stop here, too: xdist sends a worker tests ahead, which it would finish."""
        now = self._clock()
        if now < self._next_look or self._session is None:
            return
        self._next_look = now + 0.5
        try:
            flag = self._open(self._cancel, os.O_RDONLY)
        except OSError:
            return
        try:
            why = self._read(flag, 10_000)
        finally:
            self._close(flag)
        self._session.shouldstop = why.decode("utf-8", "replace") or "the run was cancelled"


class Attached:
    """Puts what a test attached on its reports (the process that runs it), once a test asked for ``tms``."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Hand over with a failure, with the end of the try, or with a call that may be logged alone."""
        report = yield
        if ATTACHED in item.stash and (report.outcome != "passed" or report.when != "setup"):
            self.after_pytest_runtest_makereport(item, report)
        return report

    def after_pytest_runtest_makereport(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take it from the test; leave it there if a passed call may yet be repeated without being logged."""
        add(report, item.stash[ATTACHED])
        if report.outcome != "passed" or report.when == "teardown":
            del item.stash[ATTACHED]


def watch_attachments(config: pytest.Config) -> None:
    """Hand over what tests attach from now on. Not before one does: each test that follows pays for it."""
    manager = config.pluginmanager
    guard = manager.get_plugin("tms-guard")
    if guard is not None and not manager.has_plugin("tms-attached"):
        manager.register(guard.watch(Attached()), "tms-attached")
