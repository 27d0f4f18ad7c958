"""Stops a run early: Ctrl-C, pytest.exit, a timeout, cancellation in the TMS. Needs no signal handler."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest


class Shutdown:
    """Stops a run between two tests, and keeps the reason if it was cancelled.

    ``cancel_reason`` is empty unless the run was cancelled. ``flag`` is the file by which xdist's workers
    notice that the run has to stop.
    """

    def __init__(self, session: pytest.Session, flag: Path) -> None:
        self.cancel_reason = ""
        self._own_reason = ""
        self._session = session
        self._flag = flag

    @property
    def reason(self) -> str:
        """Why tests did not run: the cancellation, or pytest's own reason, as for ``-x``; else empty."""
        session = self._session
        return self.cancel_reason or self._own_reason or str(session.shouldfail or session.shouldstop or "")

    def cancel(self, reason: str) -> None:
        """Start no more tests."""
        if self.cancel_reason:
            return
        self.cancel_reason = reason
        self._notify_workers()
        self._session.shouldstop = reason
        distributed = self._session.config.pluginmanager.getplugin("dsession")
        if distributed is not None:
            distributed.shouldstop = reason

    def record_interrupt(self, error: BaseException) -> None:
        """Record why the session ended; pytest's own stops, as for ``-x``, do not cancel the run."""
        if self.cancel_reason:
            return
        if isinstance(error, KeyboardInterrupt) and type(error) is not KeyboardInterrupt:
            self._own_reason = str(error)
            return
        self.cancel_reason = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error) or "pytest.exit"
        self._notify_workers()

    def close(self) -> None:
        """Delete the workers' file."""
        with suppress(OSError):
            self._flag.unlink(missing_ok=True)

    def _notify_workers(self) -> None:
        temporary = self._flag.with_suffix(".cancel~")
        with suppress(OSError):
            temporary.write_text(self.cancel_reason, encoding="utf-8")
            temporary.replace(self._flag)
