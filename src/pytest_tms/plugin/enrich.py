"""What only the process that runs a test knows: its tags, parameters, files, and how often it was tried.

Runs in the only process, or in each xdist worker, and puts one attribute of plain values on setup and
teardown reports; xdist carries it to the controller, where the recorder reads it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from pytest_tms.plugin.artifacts import ATTACHED
from pytest_tms.plugin.text import clean

ATTRIBUTE = "tms"
"""The attribute of a report that carries the enrichment, where there is any."""

NOT_TAGS = ("parametrize", "usefixtures", "filterwarnings", "skip", "skipif", "xfail", "tms")
"""Markers that steer pytest and say nothing about a test."""


class Unlogged:
    """Failures that nobody was told of: flaky and pytest-retry do not log every attempt."""

    def __init__(self) -> None:
        self._logged: object = None
        self._kept: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the latest failure that everyone was told of (the process that runs the test)."""
        if report.longrepr is not None:
            self._logged = report.longrepr
            self._kept = [each for each in self._kept if each.longrepr is not report.longrepr]

    def pytest_exception_interact(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Keep a failure that was not logged before (the process that runs the test)."""
        if (
            isinstance(report, pytest.TestReport)
            and report.failed
            and report.longrepr is not self._logged
            and not hasattr(report, "context")
        ):
            self._kept.append(report)

    def take(self) -> list[dict[str, Any]]:
        """The failures since the last time, as execnet can carry them."""
        kept, self._kept = self._kept, []
        return [_plain_failure(each) for each in kept]


class Enricher:
    """Knows each test while it is set up. ``tags`` are the patterns of the setting ``tms_tags``.

    In an xdist worker, ``cancel`` is the file by which the controller says that the run stops, and why.
    ``unlogged`` knows what a retry plugin keeps to itself, where there is one.
    """

    def __init__(self, tags: Sequence[str] = (), cancel: str = "", unlogged: Unlogged | None = None) -> None:
        self._cancel = cancel
        self._unlogged = unlogged
        self._looks_at_each = bool(cancel or unlogged)
        self._next_look = 0.0
        self._wanted = [pattern for pattern in tags if not pattern.startswith("!")] or ["*"]
        self._unwanted = [*NOT_TAGS, *(pattern[1:] for pattern in tags if pattern.startswith("!"))]
        self._parent: tuple[object, list[str]] = (None, [])
        self._latest: tuple[pytest.Item | None, int] = (None, 0)
        self._copies: dict[pytest.Item, int] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the enrichment on the report (the process that runs the test)."""
        report = yield
        # Nearly all tests pass and attach nothing: they need no look after their setup.
        if (
            call.when == "setup"
            or report.outcome != "passed"
            or (call.when == "teardown" and (self._looks_at_each or ATTACHED in item.stash))
        ):
            self.after_pytest_runtest_makereport(item, report)
        return report

    def after_pytest_runtest_makereport(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Describe a test that was set up; hand over what another phase left."""
        if report.when == "setup":
            if extra := self._describe(item):
                setattr(report, ATTRIBUTE, extra)
            return
        kept: dict[str, Any] = {}
        if ATTACHED in item.stash:
            kept = item.stash[ATTACHED]
            del item.stash[ATTACHED]
        if report.when == "teardown":
            if self._unlogged is not None and (failures := self._unlogged.take()):
                kept = {**kept, "unlogged": failures}
            if self._cancel:
                self._stop_if_told(item.session)
        if kept:
            setattr(report, ATTRIBUTE, kept)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Number the tests whose node id is not their own, as under ``--keep-duplicates``."""
        if len({item.nodeid for item in session.items}) == len(session.items):
            return
        times: dict[str, int] = {}
        for item in session.items:
            times[item.nodeid] = number = times.get(item.nodeid, 0) + 1
            if number > 1:
                self._copies[item] = number

    def _stop_if_told(self, session: pytest.Session) -> None:
        """xdist sends a worker tests ahead, which it would finish whatever its controller does."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 0.5
            if os.path.exists(self._cancel):  # noqa: PTH110  # on the path of tests, where Path costs more
                session.shouldstop = Path(self._cancel).read_text(encoding="utf-8")

    def _describe(self, item: pytest.Item) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        latest, tries = self._latest
        tries = tries + 1 if latest is item else 1
        self._latest = (item, tries)
        if tries > 1:
            extra["attempt"] = tries
        if self._copies and item in self._copies:
            extra["copy"] = self._copies[item]
        if tags := self._tags(item):
            extra["tags"] = tags
        for marker in item.own_markers:
            if marker.name == "tms":
                extra.update(
                    {key: clean(str(marker.kwargs[key])) for key in ("id", "title") if key in marker.kwargs}
                )
        if (case := vars(item).get("callspec")) is not None:
            extra["parameters"] = {name: _plain(value) for name, value in case.params.items()}
        return extra

    def _tags(self, item: pytest.Item) -> list[str]:
        if item.parent is not self._parent[0]:
            inherited = list(item.parent.iter_markers()) if item.parent is not None else []
            self._parent = (item.parent, self._named(inherited))
        own = item.own_markers
        if not own:
            return self._parent[1]
        return list(dict.fromkeys([*self._named(own), *self._parent[1]]))

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
