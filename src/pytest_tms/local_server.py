"""Finds or starts the local server in a process of its own. Imports no code of the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

SERVER_PACKAGES = ("litestar", "sqlalchemy", "uvicorn")
"""Packages that only the extra ``server`` brings."""
START_TIMEOUT = 60
"""Seconds that a first start, with its migrations, may take."""


def find_or_start(session: int) -> tuple[str, str]:
    """Return the base URL and the token of the local server, which runs as long as process ``session``.

    Raises:
        ValueError: it cannot be started; the message names the reason.
    """
    python = os.environ.get("TMS_SERVER_PYTHON", "")
    command = _command(python, os.environ.get("PATH", ""))
    try:
        completed = subprocess.run(  # noqa: S603  # this package's module, or the command that the operator installed
            [*command, "--session", str(session)],
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
            check=False,
            env=_environ(is_own=command[0] == sys.executable),
        )
    except OSError as error:
        if python:
            raise ValueError(
                f"TMS_SERVER_PYTHON is {python!r}, which cannot be run ({error.strerror}): set it to the "
                f"Python of an environment with pytest-tms[server]"
            ) from None
        raise ValueError("the local server did not start: run `tms serve` to see why") from None
    except subprocess.TimeoutExpired:
        raise ValueError("the local server did not start: run `tms serve` to see why") from None
    if completed.returncode != 0:
        reason = completed.stderr.strip().splitlines()[-1:] or ["run `tms serve` to see why"]
        raise ValueError(f"the local server did not start: {reason[0]}")
    try:
        document = json.loads(completed.stdout)
        return str(document["url"]), str(document["token"])
    except (ValueError, LookupError, TypeError):
        raise ValueError(
            f"the local server did not start: {command[0]} is not the command of pytest-tms[server]"
        ) from None


def _command(python: str, path: str) -> list[str]:
    """Return the command that finds or starts the server.

    The server is in the environment of the interpreter ``python`` (TMS_SERVER_PYTHON), else in this one,
    else in that of another ``tms`` on ``path``, as pipx and uv install it.
    """
    module = ["-m", "pytest_tms.server.local"]
    if python:
        return [python, *module]
    if not all(find_spec(name) for name in SERVER_PACKAGES):
        here = Path(sys.executable).parent.resolve()
        for tms in (Path(folder) / "tms" for folder in path.split(os.pathsep) if folder):
            if tms.is_file() and os.access(tms, os.X_OK) and tms.resolve().parent != here:
                return [str(tms), "local", "find"]
    return [sys.executable, *module]


def _environ(*, is_own: bool) -> dict[str, str]:
    """Return the environment of the command.

    This interpreter gets the import path of this process, which may be isolated; another one must not import
    the packages of this one.
    """
    if is_own:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
