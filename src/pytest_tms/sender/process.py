"""The sender process: delivers one journal while the tests run, and ends with their session.

It reads the journal, never the process of the tests, and reports through one pipe (``launch.State``). The
session has ended when the journal is closed or the process is gone, whichever comes first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from pytest_tms import embedded
from pytest_tms.client import TmsClient
from pytest_tms.errors import (
    ApiError,
    InFlight,
    InternalError,
    NotTms,
    RateLimited,
    ServiceUnavailable,
    TmsError,
    Unreachable,
)
from pytest_tms.journal.file import Journal, remove
from pytest_tms.masking import Masker, of_environment
from pytest_tms.sender.launch import Start, State
from pytest_tms.sender.replay import Backlog
from pytest_tms.sender.uploader import Uploader, advice

DEFAULT_INTERVAL = 30.0
"""Seconds between two reports of progress if the TMS does not ask for another number."""
MAX_BACKOFF = 30.0
"""Seconds that one wait after failed attempts may last."""
TICK = 0.02
"""Seconds between two looks at the journal."""
CONNECT_TIMEOUT = 3.0
"""Seconds that one connection may take."""
READ_TIMEOUT = 20.0
"""Seconds that one answer may take."""
BACKLOG_WAIT = 0.2
"""Seconds that the end of a session waits for what earlier runs left; the rest goes on in the background."""
UNREACHABLE_PATIENCE = 1.0
"""Seconds that the end of a session waits for a TMS that has never answered."""
TIMED_OUT = "the execution ended in the TMS, its page has the reason"
CANCELLED = "the execution was cancelled in the TMS"


class Parent:
    """The process that runs the tests."""

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
        """Whether it has ended. The pipe is not enough: forked children keep it open, a test may close it."""
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
    """Whether nobody can read from a pipe any more."""
    if not hasattr(select, "poll"):
        return False
    waiting = select.poll()
    waiting.register(pipe, 0)
    return bool(waiting.poll(0))


def _has_ended_on_windows(pid: int) -> bool:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    synchronize = 0x00100000
    handle = kernel.OpenProcess(synchronize, False, pid)
    if not handle:
        return True
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == 0)
    finally:
        kernel.CloseHandle(handle)


class Sender:
    """Delivers one journal, in the sender process or, with ``has_ended`` always true, in the foreground.

    ``report`` passes on what has changed. Problems with the TMS never reach the run: what can be tried again
    is, after growing waits, and the rest is a sentence in the state.
    """

    def __init__(
        self,
        start: Start,
        journal: Journal,
        *,
        has_ended: Callable[[], bool] = lambda: True,
        report: Callable[[State], None] = lambda state: None,
        is_foreground: bool = False,
    ) -> None:
        self.state = State(pid=os.getpid())
        self._start = start
        self._journal = journal
        self._has_ended = has_ended
        self._report = report
        self._is_foreground = is_foreground
        self._masker = Masker([start.token, start.webhook_token, *of_environment(os.environ)], start.mask)
        self._uploader: Uploader | None = None
        self._client: TmsClient | None = None
        self._backlog: Backlog | None = None
        self._token = ""
        self._gone_since = 0.0
        self._fatal = ""
        self._failures = 0
        self._has_answered = False
        self._retry_after: float | None = None
        self._closing_until: float | None = None
        self._closing_since = 0.0
        self._reported = b""

    def run(self) -> None:
        """Deliver until the session has ended and everything is delivered, or the deadline has passed."""
        self._tell()
        due = 0.0
        while True:
            now = time.monotonic()
            if self._closing_until is None and self._is_closed():
                due = 0
            if self._closing_until is not None and now > self._closing_until:
                self._finish()
                return
            if now >= due:
                self._deliver()
                due = time.monotonic() + self._pause()
                if self._is_finished():
                    self._finish()
                    return
            time.sleep(min(TICK, max(0.0, due - time.monotonic())))

    def is_overdue(self) -> bool:
        """Whether the deadline passed some time ago: the watchdog ends a process that hangs in a call."""
        now = time.monotonic()
        if not self._gone_since and self._has_ended():
            self._gone_since = now
        return bool(self._gone_since) and now > self._gone_since + self._start.deadline + 1

    # One attempt --------------------------------------------------------------------------------

    def _deliver(self) -> None:
        try:
            uploader = self._uploader or self._open()
            before = uploader.delivered
            uploader.step()
            if self._closing_until is not None and not uploader.is_closed:
                uploader.close_unfinished(at=_now())
            elif self._closing_until is None and uploader.delivered == before and self._has_answered:
                uploader.send_heartbeat()
        except (Unreachable, RateLimited, InFlight, InternalError, ServiceUnavailable) as error:
            self._failed(error)
        except NotTms as error:
            if self._uploader is not None and self._uploader.joined is not None:
                self._failed(error)  # it was a TMS before: a proxy answers for now
            else:
                self._fatal = advice(error)
        except (TmsError, ValueError) as error:
            self._fatal = advice(error)
        except Exception as error:  # a defect of ours must not cost the run its end
            self._fatal = f"delivery stopped by a defect of pytest-tms ({type(error).__name__}: {error})"
        else:
            self._has_answered, self._failures = True, 0
            self._retry_after = None
            self.state.problem = ""
            self._start_backlog()
        self._note_state()
        self._tell()

    def _open(self) -> Uploader:
        url, token = self._start.url, self._start.token
        if url == "local":
            url, token = embedded.find_or_start(self._start.pid)
            self._masker.add(token)
        self._token = token
        self._client = TmsClient(
            url, token, retries=0, connect_timeout=CONNECT_TIMEOUT, read_timeout=self._read_timeout()
        )
        self._uploader = Uploader(
            self._client,
            self._journal,
            webhook_token=self._start.webhook_token,
            pace=self._start.pace or None,
            masker=self._masker,
        )
        return self._uploader

    def _read_timeout(self) -> float:
        return min(READ_TIMEOUT, self._start.deadline) if self._is_foreground else READ_TIMEOUT

    def _failed(self, error: TmsError) -> None:
        self._failures += 1
        # An error of the documented shape is an answer, of a TMS that asks to come again.
        self._has_answered = self._has_answered or isinstance(error, ApiError)
        self.state.problem = advice(error)
        self._retry_after = getattr(error, "retry_after", None)

    def _pause(self) -> float:
        if self._fatal:
            return TICK
        if self._failures:
            backoff: float = min(MAX_BACKOFF, 0.5 * 2.0 ** min(self._failures - 1, 10))
            backoff *= random.uniform(0.75, 1.25)  # noqa: S311  # jitter
            if self._closing_until is not None:
                backoff = min(backoff, 2)
            return min(max(backoff, self._retry_after or 0), threading.TIMEOUT_MAX)
        uploader = self._uploader
        return (uploader and (uploader.pace or uploader.interval)) or DEFAULT_INTERVAL

    # The end ------------------------------------------------------------------------------------

    def _is_closed(self) -> bool:
        """Whether the session has ended; notes until when the rest may take."""
        wait = self._journal.closing_wait()
        if wait is None and self._has_ended():
            wait = self._journal.closing_wait()  # the last line may have come meanwhile
            wait = self._start.deadline if wait is None else wait
        if wait is None:
            return False
        self._close(wait)
        return True

    def _close(self, wait: float) -> None:
        if self._closing_until is None:
            self._closing_since = time.monotonic()
            self._closing_until = self._closing_since + wait

    def _is_finished(self) -> bool:
        """Whether nothing is left to do, or waiting any longer is pointless."""
        if self._closing_until is None:
            return False
        if self._fatal:
            return True
        now = time.monotonic()
        if self._failures:
            if not self._has_answered and now - self._closing_since > UNREACHABLE_PATIENCE:
                return True
            return now + (self._retry_after or 0) > self._closing_until
        return self._uploader is not None and self._uploader.is_closed and self._uploader.is_done

    def _finish(self) -> None:
        uploader = self._uploader
        done = uploader is not None and uploader.is_closed and uploader.is_done
        self.state.is_done = done and not self._fatal and not self._failures
        if not self.state.is_done and not self.state.problem:
            self.state.problem = self._fatal or "the TMS did not take everything in time"
        if self._client is not None:
            self._client.close()
        self._journal.close(delivered=self.state.is_done and uploader is not None and not uploader.refused)
        if self._backlog is not None:  # most backlogs are empty, or name what cannot be sent at once
            self._backlog.join(BACKLOG_WAIT)
        self._note_state()
        self.state.is_final = True
        self._tell()
        if self._backlog is not None and self._closing_until is not None:
            self._backlog.join(self._closing_since + self._start.deadline - time.monotonic())

    # Reports ------------------------------------------------------------------------------------

    def _note_state(self) -> None:
        state, uploader = self.state, self._uploader
        state.problem = self._masker.text(self._fatal or state.problem)
        if uploader is not None:
            state.execution_status = uploader.execution_status
            state.delivered, state.refused = uploader.delivered, uploader.refused
            state.names = uploader.acks.names
            if uploader.joined is not None:
                state.report_url = uploader.joined.report_url
                state.execution_id = uploader.joined.execution_id
            warnings = [*uploader.warnings, *([self._journal.problem] if self._journal.problem else [])]
            state.warnings = [self._masker.text(text) for text in warnings]
            if self._closing_until is None and not state.stop:
                if uploader.execution_status == "cancelled":
                    state.stop = CANCELLED
                elif uploader.execution_status == "failed":
                    state.stop = TIMED_OUT
        if self._backlog is not None:
            state.backlog = (self._backlog.runs, self._backlog.tests)
            state.waiting = self._backlog.waiting
            state.warnings += [self._masker.text(text) for text in self._backlog.warnings]
        if state.stop:
            self._write_cancel(state.stop)

    def _write_cancel(self, reason: str) -> None:
        """Write the file by which xdist's workers notice that the run has to stop."""
        flag = Path(self._start.journal).with_suffix(".cancel")
        if self._closing_until is None and not flag.exists():
            with contextlib.suppress(OSError):
                temporary = flag.with_suffix(".cancel~")
                temporary.write_text(reason, encoding="utf-8")
                temporary.replace(flag)

    def _tell(self) -> None:
        encoded = msgspec.json.encode(self.state)
        if encoded != self._reported:
            self._reported = encoded
            self._report(self.state)

    def _start_backlog(self) -> None:
        """Deliver what earlier runs left, on a thread and a connection of its own: it delays nothing."""
        if self._backlog is not None or self._is_foreground or self._client is None:
            return
        start, url = self._start, self._client.base_url
        token = self._token
        self._backlog = Backlog(
            Path(start.journal),
            start.url,
            lambda: TmsClient(
                url, token, retries=0, connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT
            ),
        )
        self._backlog.start()


def _now() -> str:
    from pytest_tms import wire

    return wire.timestamp()


def deliver_in_foreground(start: Start, memory: Sequence[bytes]) -> State | None:
    """Deliver a journal whose session has ended, in this process, and return the last state.

    ``memory`` are the lines that could not be written to the file. None if another process delivers the
    journal.
    """
    path = Path(start.journal)
    with _without_log_records("filelock", "urllib3"):
        if path.exists():
            journal = Journal.adopt(path, memory, timeout=1, is_own=True)
        else:
            journal = Journal(path, None, memory)
        if journal is None:
            return None
        sender = Sender(start, journal, is_foreground=True)
        sender.run()
    return sender.state


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
    """Run the sender process: read a ``launch.Start`` from standard input, deliver, report to the pipe."""
    start = msgspec.json.decode(sys.stdin.buffer.readline(), type=Start)
    control = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    journal = Journal.adopt(Path(start.journal), timeout=2, is_own=True)
    if journal is None:
        return
    parent = Parent(start.pid, control)

    def report(state: State) -> None:
        with contextlib.suppress(OSError):
            os.write(control, msgspec.json.encode(state) + b"\n")

    sender = Sender(start, journal, has_ended=parent.has_ended, report=report)

    def watch() -> None:
        while not sender.is_overdue():
            time.sleep(0.2)
        os._exit(0)

    threading.Thread(target=watch, name="tms-watchdog", daemon=True).start()
    sender.run()
    remove(Path(start.journal).with_suffix(".cancel"))
