"""Finds or starts the embedded TMS, by a process of the server half: this half imports no server code."""

from __future__ import annotations

import json
import os
import subprocess
import sys

START_TIMEOUT = 60
"""Seconds that a first start, with its migrations, may take."""


def find_or_start(session: int) -> tuple[str, str]:
    """Return the base URL and the token of the embedded TMS, which stays as long as the process ``session``.

    Raises:
        ValueError: it cannot be started; the message names the reason.
    """
    command = [sys.executable, "-m", "pytest_tms.server.local", "--session", str(session)]
    try:
        done = subprocess.run(  # noqa: S603  # our own module, by this interpreter
            command, capture_output=True, text=True, timeout=START_TIMEOUT, check=False, env=_environ()
        )
    except (OSError, subprocess.TimeoutExpired):
        raise ValueError("the embedded TMS did not start: run `tms serve` to see why") from None
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["run `tms serve` to see why"]
        raise ValueError(f"the embedded TMS did not start: {reason[0]}")
    answer = json.loads(done.stdout)
    return answer["url"], answer["token"]


def _environ() -> dict[str, str]:
    """The environment, with the import path of this process: the sender runs in isolated mode."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}
