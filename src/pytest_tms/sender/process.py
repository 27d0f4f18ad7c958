"""The sender process: delivers one journal while the tests run, and ends with their session.

It reads only the journal, and reports to pytest through one pipe (``launch.SenderState``).
The session has ended when the journal is closed or the process has ended, whichever comes first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from pytest_tms.journal.files import remove
from pytest_tms.journal.reader import Journal
from pytest_tms.sender.delivery_loop import DeliveryLoop
from pytest_tms.sender.launch import SenderConfig, SenderState
from pytest_tms.sender.parent import ParentProcess

ADOPT_TIMEOUT = 2.0
"""Seconds that the process waits for another one that delivers the same journal."""
FOREGROUND_TIMEOUT = 1.0
"""Seconds that pytest's process waits for another one that delivers the same journal."""
WATCHDOG_INTERVAL = 0.2
"""Seconds between two checks of the watchdog."""


def deliver_in_foreground(config: SenderConfig, memory: Sequence[bytes]) -> SenderState | None:
    """Deliver a journal whose session has ended, in this process, and return the last state.

    ``memory`` are the lines that could not be written to the file. None if another process delivers the
    journal.
    """
    path = Path(config.journal)
    with _without_log_records("filelock", "urllib3"):
        if path.exists():
            journal = Journal.adopt(path, memory, timeout=FOREGROUND_TIMEOUT, is_own=True)
        else:
            journal = Journal(path, None, memory)
        if journal is None:
            return None
        loop = DeliveryLoop(config, journal)
        for _ in loop.run():
            pass
    return loop.state


@contextlib.contextmanager
def _without_log_records(*names: str) -> Iterator[None]:
    """Suppress the log records of libraries: the user's logs and their captures are live in this process."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def main() -> None:
    """Run the sender process: read a ``SenderConfig`` from standard input, deliver, report to the pipe."""
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=SenderConfig)
    control = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    journal = Journal.adopt(Path(config.journal), timeout=ADOPT_TIMEOUT, is_own=True)
    if journal is None:
        return
    loop = DeliveryLoop(config, journal, ParentProcess(config.pid, control))
    threading.Thread(target=_end_overdue, args=(loop,), name="tms-watchdog", daemon=True).start()
    for state in loop.run():
        with contextlib.suppress(OSError):
            os.write(control, msgspec.json.encode(state) + b"\n")
    remove(Path(config.journal).with_suffix(".cancel"))


def _end_overdue(loop: DeliveryLoop) -> None:
    """End this process if it hangs in a call after the deadline."""
    while not loop.is_overdue():
        time.sleep(WATCHDOG_INTERVAL)
    os._exit(0)
