"""The change feed: notifies the open pages of one server process of changes by any process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field

from pytest_tms.server.store import versions
from pytest_tms.server.store.change_notifications import listening
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.versions import Subject

LOG = logging.getLogger("pytest_tms.server")

PAUSE = 0.2
"""Seconds between two queries for versions, however many changes there are."""
RETRY = 2.0
"""Seconds after which a failed feed tries again."""


@dataclass(eq=False)
class Subscription:
    """One open page. ``version`` is the version that it has, empty if it has none."""

    subject: Subject
    version: str = ""
    newest: str | None = None
    """The version in the database, None until it is known."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, newest: str) -> None:
        """Set the version in the database."""
        self.newest = newest
        if newest != self.version:
            self._changed.set()

    async def changed(self, seconds: float) -> bool:
        """Wait for a version other than that of the page, make it that of the page, and return True.

        Return False after ``seconds`` without one. A page that is slow skips versions.
        """
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        self._changed.clear()
        if self.newest is None or self.newest == self.version:
            return False
        self.version = self.newest
        return True


class ChangeFeed:
    """Reads the versions of what the open pages of this process show, when something has changed.

    One thread does so, and only while pages are open. All pages together cost one query for each change of
    the database, and at most one in ``PAUSE`` seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._subscriptions: dict[Subject, set[Subscription]] = {}
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Make subscriptions possible until the application ends."""
        self._loop = asyncio.get_running_loop()
        try:
            yield
        finally:
            self._stopping.set()
            with self._lock:
                thread = self._thread
            if thread is not None:
                await asyncio.to_thread(thread.join)

    def __len__(self) -> int:
        """Return the number of subscriptions."""
        return sum(map(len, self._subscriptions.values()))

    @contextlib.contextmanager
    def subscription(self, subject: Subject, version: str) -> Iterator[Subscription]:
        """Subscribe a page that has a version of the subject to its changes."""
        subscription = Subscription(subject, version)
        with self._lock:
            self._subscriptions.setdefault(subject, set()).add(subscription)
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._watch, name="tms-changes", daemon=True)
                self._thread.start()
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[subject].discard(subscription)
                if not self._subscriptions[subject]:
                    del self._subscriptions[subject]

    def _watch(self) -> None:
        """Publish changes until no page is open."""
        has_failed = False
        while self._is_needed():
            try:
                self._follow()
            except Exception as error:  # most often the database is unavailable, and stays so for a while
                if not has_failed:
                    LOG.warning("Open pages are not notified of changes: %s", error)
                has_failed = True
                self._stopping.wait(RETRY)
            else:
                break

    def _follow(self) -> None:
        """Publish changes until no page is open.

        Raises:
            Exception: The database does not respond.
        """
        with listening(self._database) as wait:
            changed: Collection[str] | None = None
            while True:
                if changed is None or changed:
                    self._publish(self._read(changed))
                    self._stopping.wait(PAUSE)
                if not self._is_needed():
                    return
                changed = wait()

    def _is_needed(self) -> bool:
        """Return whether pages are open; if not, the thread ends, and the next page starts another."""
        with self._lock:
            if self._subscriptions and not self._stopping.is_set():
                return True
            self._thread = None
            return False

    def _read(self, changed: Collection[str] | None) -> dict[Subject, str]:
        """Return the versions of the subjects that may have changed; None for all of them."""
        with self._lock:
            subjects = [
                subject
                for subject in self._subscriptions
                if changed is None or subject.execution_id is None or subject.execution_id in changed
            ]
        if not subjects:
            return {}
        with self._database.read() as connection:
            return versions.read(connection, subjects)

    def _publish(self, found: dict[Subject, str]) -> None:
        def publish() -> None:
            for subject, newest in found.items():
                for subscription in self._subscriptions.get(subject, ()):
                    subscription.publish(newest)

        if found and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(publish)
