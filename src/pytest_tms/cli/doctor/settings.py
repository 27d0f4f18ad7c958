"""The settings that pytest reads in this folder."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from typing import IO, Any

from pytest_tms.cli.doctor.findings import NotReporting, printable, without_credentials

PYTEST_TIMEOUT = 90
"""Seconds in which pytest must read its settings, including the start of a local TMS."""


def read_settings(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings that pytest reads with these options.

    pytest runs in another process, since a conftest.py may print, exit or block. Raises NotReporting.
    """
    from pytest_tms.plugin.settings_probe import MARK

    mark = f"tms-probe-{secrets.token_hex(8)}:"
    process = subprocess.Popen(  # noqa: S603  # pytest, by this interpreter
        [sys.executable, "-m", "pytest", "-p", "pytest_tms.plugin.settings_probe", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, MARK: mark},
    )
    output = _Reader(process.stdout, mark)
    errors = _Reader(process.stderr)
    deadline = time.monotonic() + PYTEST_TIMEOUT
    while not output.marked.wait(0.05) and process.poll() is None and time.monotonic() < deadline:
        pass
    try:
        process.wait(5 if output.marked.is_set() else 0)  # a plugin may have to clean up
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        has_ended = False
    else:
        has_ended = True
        output.join(2)  # a process that pytest started may keep the pipes open
        errors.join(2)
    for line in output.lines:
        if line.startswith(mark):
            found: dict[str, Any] = json.loads(line.removeprefix(mark))
            return found
    if not has_ended:
        raise NotReporting(
            f"pytest did not read its settings within {PYTEST_TIMEOUT} s: does a conftest.py hang?"
        )
    raise NotReporting(f"pytest does not start here: {_reason(process.returncode, output, errors)}")


class _Reader(threading.Thread):
    """Reads the lines of a pipe until it ends; ``marked`` is set by a line that begins with ``mark``."""

    def __init__(self, pipe: IO[bytes] | None, mark: str = "") -> None:
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self.marked = threading.Event()
        self._pipe = pipe
        self._mark = mark
        self.start()

    def run(self) -> None:
        for line in self._pipe or ():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.lines.append(text)
            if self._mark and text.startswith(self._mark):
                self.marked.set()


def _reason(status: int, output: _Reader, errors: _Reader) -> str:
    """Return the error that pytest printed, with the cause if it is an error in a conftest.py."""
    printed = [line.strip() for line in (errors.lines or output.lines) if line.strip()]
    candidates = [line for line in printed if "rror" in line] or printed
    reason = candidates[0] if candidates else f"it exits with status {status}; check conftest.py"
    if causes := [line[1:].strip() for line in printed if line.startswith("E  ")]:
        reason = f"{reason} {causes[-1]}"
    return without_credentials(printable(reason))
