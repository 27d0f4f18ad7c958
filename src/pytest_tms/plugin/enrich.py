"""What only the process that runs a test knows: its tags, parameters, files, and how often it was tried.

Runs in the only process, or in each xdist worker, and puts one attribute of plain values on setup and
teardown reports; xdist carries it to the controller, where the recorder reads it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pytest

from pytest_tms.plugin.artifacts import ATTACHED
from pytest_tms.plugin.text import clean

ATTRIBUTE = "tms"
"""The attribute of a report that carries the enrichment, where there is any."""

NOT_TAGS = ("parametrize", "usefixtures", "filterwarnings", "skip", "skipif", "xfail", "tms")
"""Markers that steer pytest and say nothing about a test."""


class Enricher:
    """Knows each test while it is set up. ``tags`` are the patterns of the setting ``tms_tags``.

    In an xdist worker, ``cancel`` is the file by which the controller says that the run is cancelled.
    """

    def __init__(self, tags: Sequence[str] = (), cancel: str = "") -> None:
        self._cancel = cancel
        self._next_look = 0.0
        self._wanted = [pattern for pattern in tags if not pattern.startswith("!")] or ["*"]
        self._unwanted = [*NOT_TAGS, *(pattern[1:] for pattern in tags if pattern.startswith("!"))]
        self._parent: tuple[object, list[str]] = (None, [])
        self._latest: tuple[str, int] = ("", 0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the enrichment on the report (the process that runs the test)."""
        report = yield
        if call.when == "setup":
            if extra := self._describe(item):
                setattr(report, ATTRIBUTE, extra)
        elif call.when == "teardown":
            if kept := item.stash.get(ATTACHED, None):
                setattr(report, ATTRIBUTE, kept)
                del item.stash[ATTACHED]
            if self._cancel:
                self._stop_if_cancelled(item.session)
        return report

    def _stop_if_cancelled(self, session: pytest.Session) -> None:
        """xdist sends a worker tests ahead, which it would finish whatever its controller does."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 0.5
            if os.path.exists(self._cancel):  # noqa: PTH110  # on the path of tests, where Path costs more
                session.shouldstop = "the execution was cancelled in the TMS"

    def _describe(self, item: pytest.Item) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        nodeid, tries = self._latest
        tries = tries + 1 if nodeid == item.nodeid else 1
        self._latest = (item.nodeid, tries)
        if tries > 1:
            extra["attempt"] = tries
        if tags := self._tags(item):
            extra["tags"] = tags
        for marker in item.own_markers:
            if marker.name == "tms":
                extra.update(
                    {key: clean(str(marker.kwargs[key])) for key in ("id", "title") if key in marker.kwargs}
                )
        callspec = getattr(item, "callspec", None)
        if callspec is not None:
            extra["parameters"] = {name: _plain(value) for name, value in callspec.params.items()}
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
        return clean(str(value), limit=200)
    if type(value) is float or (type(value) is int and abs(value) < 2**53):
        return value
    return str(value) if type(value) is int and abs(value) < 10**50 else f"<{type(value).__name__}>"
