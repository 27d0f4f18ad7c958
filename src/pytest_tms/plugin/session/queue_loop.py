"""Runs the tests of a queue in this process, in one session: the loop that replaces that of pytest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from pytest_tms.plugin.session.queue import TestQueue
from pytest_tms.plugin.xdist.sharding import group_of, is_grouped, test_id


class NextTest(pytest.Item):
    """A placeholder for the next test while it is not known.

    Its parents are those of the test that has arrived when a fixture's scope is about to end. If none has
    arrived, only the session continues: fixtures of modules and classes are torn down, and set up again if
    needed.
    """

    find: Callable[[], pytest.Item | None]
    is_over: Callable[[], bool]

    def runtest(self) -> None:
        """Do nothing: it is never run."""

    def listchain(self) -> list[Any]:
        """Return the parents that stay set up."""
        found = self.find()
        if found is not None:
            return found.listchain()
        return [] if self.is_over() else [self.session]


class QueueLoop:
    """Makes this session run the tests that ``queue`` assigns, if ``is_queued`` says so."""

    def __init__(self, queue: TestQueue, is_queued: Callable[[], bool]) -> None:
        self._queue = queue
        self._is_queued = is_queued
        self._ran: list[pytest.Item] = []

    @pytest.hookimpl
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run tests until the queue has no more; leave the loop to pytest if there is no queue."""
        if not session.items or not self._is_queued():
            return None
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            return None  # pytest ends the session
        name_of = test_id if is_grouped(session.config) else str
        self._queue.start([(name_of(item.nodeid), group_of(item)) for item in session.items], 1)
        try:
            self._run(session)
        finally:
            self._end(session)
        return True

    def _run(self, session: pytest.Session) -> None:
        queue, items = self._queue, session.items
        upcoming: NextTest = NextTest.from_parent(session, name="the next test")
        upcoming.find = self._finder(items)
        upcoming.is_over = lambda: queue.is_over
        announced: pytest.Item | None = None
        while queue.wait(for_others=True):
            item = items[queue.take()]
            queue.request_ahead(0, 1)
            if self._ran and announced is not item:
                self._tear_down(self._ran[-1], item)
            self._ran.append(item)
            session.testscollected = queue.progress_total()
            announced = upcoming.find()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=announced or upcoming)
            _raise_if_stopped(session)
        if session.shouldstop or session.shouldfail:
            _raise_if_stopped(session)
        if self._ran:
            self._tear_down(self._ran[-1], None)

    def _finder(self, items: list[pytest.Item]) -> Callable[[], pytest.Item | None]:
        def find() -> pytest.Item | None:
            position = self._queue.peek()
            return None if position is None else items[position]

        return find

    @staticmethod
    def _tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Tear down what the next test does not need; report output and a failure as those of ``item``."""
        capture = item.config.pluginmanager.getplugin("capturemanager")

        def tear_down() -> None:
            with capture.item_capture("teardown", item) if capture is not None else nullcontext():
                item.session._setupstate.teardown_exact(nextitem)

        call = pytest.CallInfo.from_call(
            tear_down, when="teardown", reraise=(pytest.exit.Exception, KeyboardInterrupt)
        )
        if call.excinfo is not None:
            report = item.ihook.pytest_runtest_makereport(item=item, call=call)
            item.ihook.pytest_runtest_logreport(report=report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> object:
        """Return the scheduler of the queue (xdist's controller)."""
        if not self._is_queued():
            return None
        from pytest_tms.plugin.xdist.queue_scheduling import QueueScheduling

        return QueueScheduling(config, log, self._queue)

    def _end(self, session: pytest.Session) -> None:
        """Report the tests that this session did not run as deselected: other shards run them."""
        ran = set(map(id, self._ran))
        others = [item for item in session.items if id(item) not in ran]
        session.testscollected = self._queue.progress_total(is_over=True)
        if others:
            session.config.hook.pytest_deselected(items=others)


def _raise_if_stopped(session: pytest.Session) -> None:
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
