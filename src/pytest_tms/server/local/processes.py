"""Checks and stops processes of this machine by their id."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

STOP_TIMEOUT = 15.0
"""Seconds after SIGTERM until a process is killed."""


def is_running(pid: int) -> bool:
    """Return whether a process with this id runs. A zombie does not."""
    if pid <= 0:  # the id of a process group
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def stop_process(pid: int) -> None:
    """End a process by SIGTERM, or by SIGKILL if it still runs after ``STOP_TIMEOUT``."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < deadline:
            if not is_running(pid):
                return
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
