"""The lifetime of a local server: while a session uses it, and for a time after the last request."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import filelock

from pytest_tms.server.local import state_file
from pytest_tms.server.local.processes import is_running

IDLE_TIMEOUT = 1800.0
"""Seconds without a session and without a request after which a local server stops."""
CI_IDLE_TIMEOUT = 2.0
"""The same in CI, where nobody opens the pages after the run."""
MAX_MISSING = 5
"""Consecutive checks, one per second, that do not find the package until it counts as uninstalled.

An upgrade by pip removes the package for a moment.
"""


class Sessions:
    """The sessions that use a local server, by their files in the data dir."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "sessions"
        self._idle_timeout = CI_IDLE_TIMEOUT if os.environ.get("CI") else IDLE_TIMEOUT
        self._version = state_file.installed_version()
        self._missing = 0

    def needs_server(self, idle: float) -> bool:
        """Return whether the server has to continue; delete the files of sessions that have ended.

        ``idle`` is the number of seconds since the last request. The idle timeout is short if another version
        of the package was installed. If the package was uninstalled, the server stops in spite of sessions.
        """
        if not Path(__file__).exists():
            self._missing += 1
            if self._missing >= MAX_MISSING:
                return False
        else:
            self._missing = 0
        is_used = False
        for entry in self._folder.glob("*"):
            if entry.name.isdecimal() and is_running(int(entry.name)):
                is_used = True
            else:
                with suppress(OSError):
                    entry.unlink()
        is_current = state_file.installed_version() == self._version
        return is_used or idle < (self._idle_timeout if is_current else CI_IDLE_TIMEOUT)


def publish(data_dir: Path, url: str, token: str) -> None:
    """Write the state file of the local server that this process is."""
    version = state_file.installed_version()
    state_file.write(data_dir, {"url": url, "token": token, "pid": os.getpid(), "version": version})


def withdraw(data_dir: Path, url: str, is_needed: Callable[[], bool]) -> bool:
    """Return whether the local server may stop; if so, first remove it from the state file.

    Holds the lock under which sessions look for a server, so that none finds one that is about to stop. The
    URL stays in the file: the next server takes the same port, and links to reports remain valid.
    """
    if is_needed():
        return False
    with suppress(filelock.Timeout), filelock.FileLock(data_dir / "local.lock", timeout=0):
        if not is_needed():
            if state_file.read(data_dir).get("pid") == os.getpid():  # else it is that of a successor
                state_file.write(data_dir, {"url": url})
            return True
    return False
