"""How a run is stopped: Ctrl-C, SIGTERM, pytest.exit, pytest-timeout, or a cancel in the TMS."""

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


class Terminated(KeyboardInterrupt):
    """SIGTERM came. No Exception, as pytest.exit's is: tests and plugins catch those, and would go on."""


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
        self._start_no_more()

    def killed(self, reason: str) -> None:
        """The process ends in a moment, without another test."""
        self.reason = self.reason or reason

    def interrupted(self, error: BaseException) -> None:
        """Note what ended the session; the stops of pytest and xdist, as for ``-x``, are no cancellation."""
        if self.reason:
            return
        if isinstance(error, KeyboardInterrupt) and type(error) is not KeyboardInterrupt:
            self._own_stop = str(error)
            return
        self.reason = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else str(error) or "pytest.exit"
        self._tell_workers()

    @property
    def status(self) -> int | None:
        """The exit status after SIGTERM."""
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
        self._start_no_more()  # what is raised may be lost in somebody's callback
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # CI repeats it; the end is on its way
        raise Terminated(self.reason)

    def _start_no_more(self) -> None:
        self._tell_workers()
        if self._session is not None:
            self._session.shouldstop = self.reason
        distributed = self._config.pluginmanager.getplugin("dsession")
        if distributed is not None:
            distributed.shouldstop = self.reason

    def _tell_workers(self) -> None:
        if self._flag is not None:
            whole = self._flag.with_suffix(".cancel~")
            with suppress(OSError):
                whole.write_text(self.reason, encoding="utf-8")
                whole.replace(self._flag)


class Timeouts:
    """pytest-timeout's method ``thread`` ends the process as it stands: lets ``end`` have its say before."""

    def __init__(self, end: Callable[[str], None]) -> None:
        self._end = end

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_set_timer(self, item: Any, settings: Any) -> bool | None:
        """Set the timer in its stead; its method ``signal`` fails the test and needs no help."""
        if settings.method != "thread":
            return None
        timer = threading.Timer(settings.timeout, self._run_out, (item, settings))

        def cancel() -> None:
            timer.cancel()
            timer.join()

        item.cancel_timeout = cancel  # as pytest-timeout itself does, which calls it
        timer.start()
        return True

    def _run_out(self, item: pytest.Item, settings: Any) -> None:
        import pytest_timeout  # type: ignore[import-untyped]

        if not settings.disable_debugger_detection and pytest_timeout.is_debugging():
            return
        try:
            self._end(f"pytest-timeout after {settings.timeout:g} s")
        finally:
            pytest_timeout.timeout_timer(item, settings)
