"""The tests in quarantine: fetched from the TMS, and kept on disk for a run whose TMS is away.

pytest's process reads the file. It must not load the client, which only the thread of the sender uses.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_tms.errors import ApiError
from pytest_tms.journal.files import write_at_once
from pytest_tms.sender.pacing import RETRYABLE
from pytest_tms.wire.base import parse_time

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient
    from pytest_tms.wire.quarantine import QuarantineEntry

MAX_AGE = 7 * 24 * 3600.0
"""Seconds for which the kept list is used if the TMS is not reachable."""
CLOCK_CHANGE = 300.0
"""Seconds by which the clock may have been set back since the list was kept."""
MAX_TESTS = 10_000
"""Tests of the list that are read."""
PAGE = 200
"""Tests of one page."""


class QuarantinedTest(msgspec.Struct, frozen=True):
    """A test in quarantine; ``until`` is ISO 8601, ``until_seconds`` the same in seconds since 1970."""

    until: str
    until_seconds: float
    reason: str = ""
    owner: str = ""


class QuarantineList(msgspec.Struct, frozen=True):
    """The tests in quarantine of one project, by node id, and when they were fetched, since 1970."""

    fetched_at: float
    tests: dict[str, QuarantinedTest]


class QuarantineFetch(threading.Thread):
    """Fetches the list of an execution's project and writes it to ``path``.

    ``outcome`` is empty until it has ended, then ``fetched``, ``refused``, or ``failed`` for now, because of
    ``error``, which is None if the TMS has no quarantine.
    """

    def __init__(self, client: TmsClient, execution_id: str, path: Path, *, is_supported: bool) -> None:
        super().__init__(name="tms-quarantine", daemon=True)
        self.outcome = ""
        self.error: Exception | None = None
        self._client = client
        self._execution_id = execution_id
        self._path = path
        self._is_supported = is_supported

    def run(self) -> None:
        """Fetch the list, once."""
        if not self._is_supported:
            self.outcome = "refused"
            return
        try:
            with self._client:
                write_list(self._path, self._fetch())
        except Exception as error:  # the run goes on without the list
            self.error = error
            is_refused = isinstance(error, ApiError) and not isinstance(error, RETRYABLE)
            self.outcome = "refused" if is_refused else "failed"
        else:
            self.outcome = "fetched"

    def _fetch(self) -> list[QuarantineEntry]:
        found: list[QuarantineEntry] = []
        cursor: str | None = None
        while len(found) < MAX_TESTS:
            page = self._client.list_quarantine(
                execution=self._execution_id, state="active", cursor=cursor, limit=PAGE
            )
            found += page.entries
            cursor = page.cursor
            if cursor is None:
                break
        return found


def write_list(path: Path, entries: Iterable[QuarantineEntry]) -> None:
    """Replace the kept list.

    Raises:
        OSError: it cannot be written.
    """
    tests = {
        each.node_id: QuarantinedTest(each.until, parse_time(each.until).timestamp(), each.reason, each.owner)
        for each in entries
    }
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    write_at_once(path, msgspec.json.encode(QuarantineList(time.time(), tests)))


def read_list(path: Path, now: float) -> Mapping[str, QuarantinedTest] | None:
    """Return the tests that are in quarantine at ``now``, in seconds since 1970, by the kept list.

    None if there is no list, it is older than ``MAX_AGE``, or another user wrote it.
    """
    with suppress(OSError, ValueError, msgspec.MsgspecError):
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            return None
        kept = msgspec.json.decode(path.read_bytes(), type=QuarantineList)
        if not -CLOCK_CHANGE <= now - kept.fetched_at <= MAX_AGE:
            return None
        return {name: test for name, test in kept.tests.items() if test.until_seconds >= now}
    return None
