"""How a run is stopped early: Ctrl-C, pytest.exit, a timeout, or a cancel in the TMS. No signal handler."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest


class Shutdown:
    """Knows why a run was stopped, if it was, and stops it between two tests."""

    def __init__(self, session: pytest.Session, flag: Path) -> None:
        """``flag`` is the file by which xdist's workers notice that the run has to stop."""
        self.reason = ""
        self._own_stop = ""
        self._session = session
        self._flag = flag

    @property
    def why(self) -> str:
        """Why tests were left out: what stopped the run, or pytest's own reason, as for ``-x``."""
        session = self._session
        return self.reason or self._own_stop or str(session.shouldfail or session.shouldstop or "")

    def stop(self, reason: str) -> None:
        """Start no more tests."""
        if self.reason:
            return
        self.reason = reason
        self._notify_workers()
        self._session.shouldstop = reason
        distributed = self._session.config.pluginmanager.getplugin("dsession")
        if distributed is not None:
            distributed.shouldstop = reason

    def interrupted(self, error: BaseException) -> None:
        """Note what ended the session; the stops of pytest itself, as for ``-x``, cancel nothing."""
        if self.reason:
            return
        if isinstance(error, KeyboardInterrupt) and type(error) is not KeyboardInterrupt:
            self._own_stop = str(error)
            return
        self.reason = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error) or "pytest.exit"
        self._notify_workers()

    def forget(self) -> None:
        """Delete the workers' file."""
        with suppress(OSError):
            self._flag.unlink(missing_ok=True)

    def _notify_workers(self) -> None:
        temporary = self._flag.with_suffix(".cancel~")
        with suppress(OSError):
            temporary.write_text(self.reason, encoding="utf-8")
            temporary.replace(self._flag)


class TimeLimits:
    """Notes the tests whose overrun ends the process (pytest-timeout's method ``thread``)."""

    def __init__(self, note: Callable[[str, float], None]) -> None:
        self._note = note

    def pytest_timeout_set_timer(self, item: pytest.Item, settings: object) -> None:
        """Note the limit of a test (the process that runs it); pytest-timeout sets its timer as ever."""
        if getattr(settings, "method", "") == "thread" and (limit := getattr(settings, "timeout", None)):
            self._note(item.nodeid, float(limit))
