"""The way to the embedded TMS: a process of its own, which the server half finds or starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from pytest_tms.plugin.settings import Secret, SettingError

LONGEST_START = 60
"""Seconds that a first start, with its migrations, may take."""


def find_or_start() -> tuple[str, Secret]:
    """The base URL and token of the embedded TMS, kept awake until this process ends. Raises SettingError."""
    command = [sys.executable, "-m", "pytest_tms.server.local", "--session", str(os.getpid())]
    try:
        done = subprocess.run(  # noqa: S603  # our own module, by this interpreter
            command, capture_output=True, text=True, timeout=LONGEST_START, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        raise SettingError("the embedded TMS did not start: run `tms serve` to see why") from None
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["run `tms serve` to see why"]
        raise SettingError(f"the embedded TMS did not start: {reason[0]}")
    answer = json.loads(done.stdout)
    return answer["url"], Secret(answer["token"])
