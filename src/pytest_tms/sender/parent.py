"""Detects the end of the process that runs the tests."""

from __future__ import annotations

import os
import select


class ParentProcess:
    """The process with the id ``pid``, which reads from the pipe ``control``."""

    def __init__(self, pid: int, control: int) -> None:
        self._pid = pid
        self._control = control
        self._handle = -1
        self._is_gone = False
        try:
            if hasattr(os, "pidfd_open"):
                self._handle = os.pidfd_open(pid)
        except ProcessLookupError:
            self._is_gone = True
        except OSError:  # a kernel without it
            self._handle = -1

    def has_ended(self) -> bool:
        """Return whether it has ended.

        The pipe is not enough: forked children keep it open, and a test may close it.
        """
        if self._is_gone:
            return True
        if self._handle >= 0:
            return bool(select.select([self._handle], [], [], 0)[0])
        if os.name == "nt":
            return _has_ended_on_windows(self._pid)
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return _is_unread(self._control)


def _is_unread(pipe: int) -> bool:
    """Return whether no process can read from a pipe any more."""
    if not hasattr(select, "poll"):
        return False
    waiting = select.poll()
    waiting.register(pipe, 0)
    return bool(waiting.poll(0))


def _has_ended_on_windows(pid: int) -> bool:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]  # on Windows only
    synchronize = 0x00100000
    handle = kernel.OpenProcess(synchronize, False, pid)
    if not handle:
        return True
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == 0)
    finally:
        kernel.CloseHandle(handle)
