"""Enrichment: adds data to reports that only the process that runs a test has: tags, parameters, attempts.

Runs in the only process, or in each xdist worker, and adds one attribute of plain values to reports; xdist
transfers it to the controller, where the recorder removes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_tms.plugin.results.code_owners import CodeOwners
from pytest_tms.plugin.results.enrichment_transfer import FAILURE, SETUPS, add
from pytest_tms.plugin.results.failure_frames import FailureReader
from pytest_tms.plugin.results.markers import MarkerReader, Markers, merged, parameters
from pytest_tms.plugin.results.retry_plugins import AttemptCounter
from pytest_tms.plugin.results.shared_setups import SharedSetupTimes
from pytest_tms.plugin.xdist.sharding import appended_group, is_grouped
from pytest_tms.text import clean, text_of


class Enricher:
    """Describes the test that runs. ``tags`` are the patterns of the setting ``tms_tags``.

    ``code_owners`` has the owners of tests without a marker that names one, ``setups`` the setups of fixtures
    that tests share.
    """

    def __init__(
        self,
        tags: Sequence[str] = (),
        code_owners: CodeOwners | None = None,
        setups: SharedSetupTimes | None = None,
    ) -> None:
        self._setups = setups or SharedSetupTimes()
        self._reader = MarkerReader(tags)
        self._code_owners = code_owners
        self._session: pytest.Session | None = None
        self._items: dict[str, pytest.Item] | None = None
        self._registered: set[str] | None = None
        self._is_grouped = False
        self._item: pytest.Item | None = None
        self._described: pytest.Item | None = None
        self._attempts = 0
        self._is_running = False
        self._parent: object = None
        self._inherited = Markers([], {}, {})
        self._shared: dict[str, Any] = {}
        self._copies: dict[pytest.Item, int] = {}
        self._failure_reader: FailureReader | None = None
        self._failures: dict[tuple[str, str], dict[str, Any]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Remember the test that runs now (the process that runs it)."""
        self._item, self._described, self._attempts, self._is_running = item, None, 0, True
        if self._failures:  # phases that were not logged
            self._failures.clear()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Forget the test that ran last, unless the session was interrupted in it."""
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self._is_running = False

    def after_pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Keep the exception of a phase until its report is logged, which retry plugins do later."""
        if call.excinfo is None or self._failure_reader is None:
            return
        failure = self._failure_reader.read(call.excinfo.value)
        if failure is not None:
            self._failures[item.nodeid, call.when] = failure

    def count_attempt(self, item: pytest.Item) -> None:
        """Count one more attempt of a test, which is being set up."""
        if item is not self._item:  # a loop that does not call pytest_runtest_protocol
            self._item, self._described, self._attempts = item, None, 0
        self._attempts += 1
        self._is_running = True

    def finish_test(self) -> None:
        """Forget the test, which has ended."""
        self._is_running = False

    @property
    def running(self) -> list[str]:
        """The node id of the test that runs now; empty if none does."""
        return [self._item.nodeid] if self._item is not None and self._is_running else []

    def enrich(self, report: pytest.TestReport) -> None:
        """Describe a test on the first report of each of its attempts, after fixtures may have marked it.

        Call it with every report: not every loop reports a setup.
        """
        if self._failures:
            self._add_failure(report)
        if self._setups.finished:
            add(report, {SETUPS: self._setups.take()})
        item = self._item
        # The location of the running test is one object, so ``is`` is faster than comparing node ids.
        if item is None or (report.location is not item.location and report.nodeid != item.nodeid):
            item = self._find(report.nodeid)
        if item is self._described and report.when != "setup":
            return
        self._described = item
        extra = self._description(item) if item is not None else self._description_from_report(report)
        if extra:
            add(report, extra)

    def _add_failure(self, report: pytest.TestReport) -> None:
        failure = self._failures.pop((report.nodeid, report.when), None)
        if failure is not None and report.outcome not in ("passed", "skipped"):
            add(report, {FAILURE: failure})

    def owner_of(self, path: Path) -> str:
        """Return the owner of a file by CODEOWNERS; empty if there is none."""
        return "" if self._code_owners is None else self._code_owners.owner_of(path)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Prepare for the tests of this session, once every conftest.py is loaded."""
        self._session = session
        self._is_grouped = is_grouped(session.config)
        self._failure_reader = FailureReader(str(session.config.rootpath))
        self._count_attempts(session.config)
        if len({item.nodeid for item in session.items}) == len(session.items):
            return
        times: dict[str, int] = {}
        for item in session.items:  # under --keep-duplicates
            times[item.nodeid] = number = times.get(item.nodeid, 0) + 1
            if number > 1:
                self._copies[item] = number

    def _count_attempts(self, config: pytest.Config) -> None:
        """Count attempts if anything may repeat a test. If pytest alone runs them, they are not counted."""
        hook = config.hook
        impls = [
            *hook.pytest_runtestloop.get_hookimpls(),
            *hook.pytest_runtest_protocol.get_hookimpls(),
            *hook.pytest_runtest_makereport.get_hookimpls(),
        ]
        owners = [str(getattr(impl.function, "__module__", "")) for impl in impls]
        if not all(owner.startswith(("_pytest.", "pytest_tms.", "xdist.")) for owner in owners):
            config.pluginmanager.register(AttemptCounter(self), "tms-attempts")

    def _find(self, nodeid: str) -> pytest.Item | None:
        """Return the test of a report if another loop than pytest's runs the tests."""
        if self._items is None and self._session is not None:
            self._items = {item.nodeid: item for item in reversed(self._session.items)}
        return self._items.get(nodeid) if self._items else None

    def _description_from_report(self, report: pytest.TestReport) -> dict[str, Any]:
        """Return the tags of a test that was not collected: the registered markers among its keywords."""
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
        if self._attempts > 1 and item is self._item:
            extra = {**extra, "attempt": self._attempts}
        return extra

    def _inherit(self, parent: pytest.Collector | None) -> None:
        inherited = self._reader.read(parent.iter_markers() if parent is not None else ())
        if parent is not None and "owner" not in inherited.names and (owner := self.owner_of(parent.path)):
            inherited.names["owner"] = owner
        self._parent, self._inherited = parent, inherited
        self._shared = merged(self._inherited, Markers([], {}, {}))

    def _describe(self, item: pytest.Item) -> dict[str, Any]:
        """Return the enrichment of a test: its own markers and parameters, and the markers of its parents."""
        case = vars(item).get("callspec")
        its = list(getattr(case, "marks", ())) if case is not None else []
        shared = [marker for marker in item.own_markers if not any(marker is each for each in its)]
        # Decorators are applied from the bottom up: arguments are kept in the order of the source.
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
        """Return a title that several tests share, followed by what distinguishes them."""
        if "title" not in own.names:
            return f"{title}: {clean(item.name)}"
        if case is None or "title" in self._reader.read(its).names:
            return title
        return f"{title}[{clean(case.id)}]" if case.id else title


class ExceptionHook:
    """Passes the exceptions of tests to an ``Enricher``.

    It is called for each phase of each test. So it only compares, and is not protected from errors, as the
    method of the ``Enricher`` is.
    """

    def __init__(self, enricher: Enricher) -> None:
        self._keep = enricher.after_pytest_runtest_makereport

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Keep an exception. Not ``tryfirst``: at that point, pytest sets those of unittest."""
        if call.excinfo is not None:
            self._keep(item, call)
