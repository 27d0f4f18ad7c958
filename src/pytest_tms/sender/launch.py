"""Starts the sender process, and reads its reports. Standard library and msgspec only.

The process of the tests belongs to the user: the plugin keeps no child, no thread and no socket in it, only
the reading end of one pipe. The functions that are called while tests run are bound when the object is
created, because tests replace those of ``os`` and ``time``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

BOOT = "import sys; sys.path.extend(sys.argv[1:]); from pytest_tms.sender.process import main; main()"
"""The code that the interpreter of the sender runs, in isolated mode."""
IN_BACKGROUND = 'exec 3<&0; "$@" <&3 3<&- &'
"""The script of the shell in between: it starts the sender and ends, so that the sender is not a child."""
INSTRUMENTATION = ("COVERAGE_", "COV_CORE_", "PYTHON")
"""Prefixes of the variables by which users instrument their Python processes."""
UNKNOWN = msgspec.Raw(b"null")
"""Changes that the sender does not know."""


class SenderState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A report of the sender. ``stop`` is why the run has to stop; ``is_final`` marks the last report.

    ``warnings`` are sentences for the summary, ``problem`` is why not everything is delivered; ``delivered``
    is the number of tests that the TMS accepted, ``refused`` names those that it rejected. ``backlog`` has
    the numbers of delivered earlier runs and of their tests, ``waiting`` that of the remaining runs.
    ``quarantine`` is what became of the list of tests in quarantine (``QuarantineFetch.outcome``), and
    ``quarantine_problem`` is why it could not be read.
    ``plan`` is what became of the plan of the shard (``plan.PlanOutcome``).
    ``changes`` is a ``wire.RunChanges`` of the run's shards, only in the last report and if tests failed.
    """

    pid: int = 0
    report_url: str = ""
    execution_id: str = ""
    names: dict[str, str] = {}
    stop: str = ""
    problem: str = ""
    warnings: list[str] = []
    backlog: tuple[int, int] = (0, 0)
    waiting: int = 0
    execution_status: str = ""
    quarantine: str = ""
    quarantine_problem: str = ""
    plan: str = ""
    delivered: int = 0
    refused: list[str] = []
    changes: msgspec.Raw = UNKNOWN
    is_final: bool = False
    is_done: bool = False


class PlanRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What to fetch for a shard that selects its tests, and the file ``path`` to write it to.

    ``by_duration`` is whether the durations of tests are needed, ``by_queue`` whether the shard takes its
    tests from a queue if the TMS has one. ``rerun_shard`` is the shard of which only failed and missing tests
    run again, empty if all do. ``attempt`` is the number of the CI attempt, 0 if it is not known.
    """

    path: str
    by_duration: bool = False
    by_queue: bool = False
    rerun_shard: str = ""
    attempt: int = 0


class SenderConfig(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The configuration of the sender, passed to its standard input: secrets are never in its arguments.

    ``pid`` is the process that runs the tests, ``progress_interval`` the seconds between two reports of
    progress (0: as the TMS requests), ``deadline`` the seconds that the sender may continue after its end.
    ``quarantine`` is the file for the list of tests in quarantine, ``known_tests`` that for the tests that
    the TMS knows; empty if they are not needed.
    """

    journal: str
    pid: int
    url: str
    token: str = ""
    webhook_token: str = ""
    progress_interval: float = 0
    deadline: float = 15
    mask: list[str] = []
    quarantine: str = ""
    known_tests: str = ""
    plan: PlanRequest | None = None


class SenderProcess:
    """Starts the sender, reads its reports without blocking, and waits for it at the end."""

    def __init__(self, config: SenderConfig) -> None:
        self.state = SenderState()
        self.is_over = True
        self._config = config
        self._control = -1
        self._can_poll = True
        self._buffer = b""
        self._child: Any = None
        self._read: Callable[[int, int], bytes] = os.read
        self._close_file: Callable[[int], None] = os.close
        self._kill: Callable[[int, int], None] = os.kill
        self._clock: Callable[[], float] = time.monotonic
        self._sleep: Callable[[float], None] = time.sleep

    def start(self) -> bool:
        """Start it; return whether that was possible."""
        command = [sys.executable, "-I", "-c", BOOT, *import_path()]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(INSTRUMENTATION)}
        message = msgspec.json.encode(self._config) + b"\n"
        try:
            if sys.executable and not self._spawn(command, environ, message):
                self._popen(command, environ, message)
        except OSError:
            self._close_control()
            return False
        self.is_over = self._control < 0
        try:
            os.set_blocking(self._control, False)
        except OSError:  # Windows before Python 3.12: the pipe is read at the end only
            self._can_poll = False
        return not self.is_over

    def _spawn(self, command: list[str], environ: Mapping[str, str], message: bytes) -> bool:
        """Start it by a shell that ends at once: a test that waits for any child must not find the sender."""
        if not hasattr(os, "posix_spawn") or not Path("/bin/sh").exists():
            return False
        read_end, write_end = os.pipe()
        self._control, control = os.pipe()
        try:
            shell = os.posix_spawn(
                "/bin/sh",
                ["/bin/sh", "-c", IN_BACKGROUND, "sh", *command],
                environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read_end, 0),
                    (os.POSIX_SPAWN_DUP2, control, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
            )
        except (OSError, NotImplementedError):
            self._close_control()
            os.close(write_end)
            return False
        finally:
            os.close(read_end)
            os.close(control)
        with suppress(ChildProcessError):
            os.waitpid(shell, 0)
        try:
            os.write(write_end, message)
        finally:
            os.close(write_end)
        return True

    def _popen(self, command: list[str], environ: Mapping[str, str], message: bytes) -> None:
        """Start it as a child, which is the only way on Windows."""
        import subprocess

        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(
            subprocess, "CREATE_NO_WINDOW", 0
        )
        self._child = subprocess.Popen(  # noqa: S603  # this interpreter
            command,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            creationflags=flags,
        )
        self._control = os.dup(self._child.stdout.fileno())
        self._child.stdout.close()
        self._child.stdin.write(message)
        self._child.stdin.close()

    def read(self, *, may_wait: bool = False) -> None:
        """Read the reports of the sender, without waiting if that is possible on this system."""
        while not self.is_over and (self._can_poll or may_wait) and not (may_wait and self.state.is_final):
            try:
                content = self._read(self._control, 1 << 16)
            except BlockingIOError:
                return
            except OSError:
                content = b""
            if not content:
                self._close_control()
                return
            *lines, self._buffer = (self._buffer + content).split(b"\n")
            for line in lines:
                self.state = msgspec.json.decode(line, type=SenderState)

    def wait(self, seconds: float, *, until_over: bool = False) -> bool:
        """Wait for the last report, or with ``until_over`` for the end; return whether there is a report."""
        self._wait(lambda state: state.is_final and not until_over, seconds)
        return self.state.is_final

    @property
    def can_wait(self) -> bool:
        """Whether reports can be waited for: the sender runs, and a read of its pipe can end without one."""
        return self._can_poll and not self.is_over

    def wait_until(self, condition: Callable[[SenderState], bool], seconds: float) -> bool:
        """Wait until the state meets a condition, if ``can_wait``; return whether it meets it."""
        if self.can_wait:
            self._wait(condition, seconds)
        return condition(self.state)

    def _wait(self, condition: Callable[[SenderState], bool], seconds: float) -> None:
        """Wait until the state meets a condition or the sender has ended."""
        begun = self._clock()
        while not self.is_over and not condition(self.state):
            self.read(may_wait=True)
            if self._clock() - begun > seconds:
                break
            self._sleep(0.01)

    def stop(self) -> None:
        """Stop the sender, unless it has ended; unacknowledged lines will be delivered again."""
        if not self.state.pid and not self.is_over:
            self.wait(0.5)
        if self.state.pid and not self.is_over:
            with suppress(OSError):
                self._kill(self.state.pid, signal.SIGTERM)
            self.wait(2, until_over=True)
        self.close()

    def close(self) -> None:
        """Close the pipe, and reap a child that has ended."""
        self._close_control()
        if self._child is not None:
            with suppress(Exception):
                self._child.wait(1)

    def _close_control(self) -> None:
        if self._control >= 0:
            self._close_file(self._control)
        self._control = -1
        self.is_over = True


def import_path() -> list[str]:
    """Return the folders from which the sender imports this package and its dependencies.

    They do not include the folders of the user's tests, which pytest puts before the standard library.
    """
    folders = [str(Path(__file__).parents[2])]
    if msgspec.__file__:
        folders.append(str(Path(msgspec.__file__).parents[1]))
    folders += [
        folder for folder in sys.path if folder.rstrip("/\\").endswith(("-packages", "site-packages"))
    ]
    return list(dict.fromkeys(folders))
