"""How a run is stopped: Ctrl-C, SIGTERM, pytest.exit, or a cancel in the TMS."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

CANCELLED = "the execution was cancelled in the TMS"

Handler = Callable[[int, FrameType | None], Any] | int | None


class Stop:
    """Knows why a run was stopped, if it was; turns SIGTERM and a cancel into an orderly end."""

    def __init__(self, config: pytest.Config) -> None:
        self.reason = ""
        self._own_stop = ""
        self._config = config
        self._session: pytest.Session | None = None
        self._flag: Path | None = None
        self._previous: Handler = None
        self._got: int | None = None

    def watch(self, session: pytest.Session, flag: Path) -> None:
        """Begin: SIGTERM, as CI sends it on a cancel, would otherwise end the process at once.

        ``flag`` is the file that tells xdist's workers of a cancel.
        """
        self._session = session
        self._flag = flag
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._on_sigterm)

    @property
    def why(self) -> str:
        """Why tests were left out: what stopped the run, or pytest's own reason, as for ``-x``."""
        session = self._session
        return (
            self.reason
            or self._own_stop
            or str((session and (session.shouldfail or session.shouldstop)) or "")
        )

    def cancel(self) -> None:
        """The TMS cancelled the execution: start no more tests. Called from the courier's thread, often."""
        if self.reason:
            return
        self.reason = CANCELLED
        self._tell_workers()
        if self._session is not None:
            self._session.shouldstop = CANCELLED
        distributed = self._config.pluginmanager.getplugin("dsession")
        if distributed is not None:
            distributed.shouldstop = CANCELLED

    def interrupted(self, error: BaseException) -> None:
        """Note what ended the session; the stops of pytest and xdist, as for ``-x``, are no cancellation."""
        if self.reason:
            return
        if isinstance(error, KeyboardInterrupt) and type(error) is not KeyboardInterrupt:
            self._own_stop = str(error)
            return
        self._tell_workers()
        self.reason = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error) or "pytest.exit"

    @property
    def status(self) -> int | None:
        """The exit status after SIGTERM: the exit that we raised may be lost in somebody's callback."""
        return None if self._got is None else 128 + self._got

    def hand_on(self) -> None:
        """End: give SIGTERM back, and let the handler that was there before us have it, too."""
        if self._flag is not None:
            with suppress(OSError):
                self._flag.unlink(missing_ok=True)
        if self._previous is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._previous)

        if self._got is not None and callable(self._previous):
            self._previous(self._got, None)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._got = number
        self.reason = "SIGTERM"
        self._tell_workers()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # CI repeats it; the end is on its way
        pytest.exit("SIGTERM", returncode=128 + number)

    def _tell_workers(self) -> None:
        if self._flag is not None:
            with suppress(OSError):
                self._flag.touch()
