"""Reads the settings as pytest does in this folder."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from typing import IO, Any

from pytest_tms.cli.doctor.findings import NotReporting, mask_credentials, printable

PYTEST_TIMEOUT = 90
"""Seconds in which pytest must read its settings, including the start of a local TMS."""


def read_settings(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings that pytest reads with these options.

    pytest runs in another process, since a conftest.py may print, exit or block.

    Raises:
        NotReporting: pytest cannot be started, or does not read its settings in time.
    """
    from pytest_tms.plugin.settings_probe import PREFIX_VARIABLE

    prefix = f"tms-probe-{secrets.token_hex(8)}:"
    process = subprocess.Popen(  # noqa: S603  # pytest, by this interpreter
        [sys.executable, "-m", "pytest", "-p", "pytest_tms.plugin.settings_probe", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, PREFIX_VARIABLE: prefix},
    )
    output = _Reader(process.stdout, prefix)
    errors = _Reader(process.stderr)
    deadline = time.monotonic() + PYTEST_TIMEOUT
    while not output.has_prefix.wait(0.05) and process.poll() is None and time.monotonic() < deadline:
        pass
    try:
        process.wait(5 if output.has_prefix.is_set() else 0)  # a plugin may have to clean up
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        has_ended = False
    else:
        has_ended = True
        output.join(2)  # a process that pytest started may keep the pipes open
        errors.join(2)
    for line in output.lines:
        if line.startswith(prefix):
            found: dict[str, Any] = json.loads(line.removeprefix(prefix))
            return found
    if not has_ended:
        raise NotReporting(
            f"pytest did not read its settings within {PYTEST_TIMEOUT} s: does a conftest.py hang?"
        )
    raise NotReporting(f"pytest does not start here: {_reason(process.returncode, output, errors)}")


class _Reader(threading.Thread):
    """Reads the lines of a pipe until it ends; a line that begins with ``prefix`` sets ``has_prefix``."""

    def __init__(self, pipe: IO[bytes] | None, prefix: str = "") -> None:
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self.has_prefix = threading.Event()
        self._pipe = pipe
        self._prefix = prefix
        self.start()

    def run(self) -> None:
        for line in self._pipe or ():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.lines.append(text)
            if self._prefix and text.startswith(self._prefix):
                self.has_prefix.set()


def _reason(status: int, output: _Reader, errors: _Reader) -> str:
    """Return the error that pytest printed, with the cause if it is an error in a conftest.py."""
    printed = [line.strip() for line in (errors.lines or output.lines) if line.strip()]
    candidates = [line for line in printed if "rror" in line] or printed
    reason = candidates[0] if candidates else f"it exits with status {status}; check conftest.py"
    if causes := [line[1:].strip() for line in printed if line.startswith("E  ")]:
        reason = f"{reason} {causes[-1]}"
    return mask_credentials(printable(reason))
