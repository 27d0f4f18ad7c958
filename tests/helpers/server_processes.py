"""Processes of `tms serve`, forked from one process that has imported the server: see ``fork_server``."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO

FORK_SERVER = Path(__file__).with_name("fork_server.py")


class ServerProcess:
    """A process of `tms serve`, with the methods of ``subprocess.Popen``."""

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        stdout: BinaryIO,
        stderr: BinaryIO,
    ) -> None:
        self._response, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            request = json.dumps({"arguments": list(arguments), "environ": dict(environ)}).encode()
            files = [other.fileno(), stdout.fileno(), stderr.fileno()]
            socket.send_fds(_fork_server(), [request], files)
        self.pid = int(self._response.recv(64))
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status after the end; negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it has not ended within ``timeout`` seconds.
        """
        if self.returncode is None:
            self._response.settimeout(timeout)
            try:
                self.returncode = int(self._response.recv(64))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("tms serve", timeout or 0) from None
            self._response.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit status; None before the end."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Stop the server as its operator does."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)


@cache
def _fork_server() -> socket.socket:
    """Start the process that forks the others; it ends when this process does."""
    control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with other:
        os.set_inheritable(other.fileno(), True)
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", FORK_SERVER.read_text(), str(other.fileno())],
            {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"},
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        )
    atexit.register(control.close)
    return control
