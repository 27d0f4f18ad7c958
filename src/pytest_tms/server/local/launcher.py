"""Find, start and stop the local server of a data dir."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import filelock

from pytest_tms.server.local import state_file
from pytest_tms.server.local.processes import is_running, stop_process

START_TIMEOUT = 30.0
"""Seconds from the start of a server to its first response."""
LOCK_TIMEOUT = 2 * START_TIMEOUT
"""Seconds that one process waits while another starts or stops the server."""


def data_dir() -> Path:
    """Return the data dir that the environment names, else the default of ``tms serve``.

    Raises:
        ModuleNotFoundError: The extra ``server`` is not installed.
    """
    import platformdirs

    folder = os.environ.get("TMS_SERVER_DATA_DIR") or platformdirs.user_data_path("pytest-tms")
    return Path(folder).expanduser().absolute()


def find_or_start(data_dir: Path, session: int) -> dict[str, str]:
    """Return the ``url`` and ``token`` of the data dir's server, started if none runs.

    The server runs at least as long as the process with the id ``session``. A server of an older version that
    no other session uses is replaced.

    Raises:
        RuntimeError: The server cannot be started, or the data dir cannot be used.
        filelock.Timeout: Another process is still starting or stopping the server.
    """
    sessions = data_dir / "sessions"
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        sessions.mkdir(exist_ok=True, mode=0o700)
        (sessions / str(session)).touch()
    except OSError as error:
        raise RuntimeError(
            f"the data dir {data_dir} cannot be used ({error.strerror}): set TMS_SERVER_DATA_DIR to another"
        ) from None
    with _lock(data_dir):
        state = state_file.read(data_dir)
        is_found = state_file.is_responding(state)
        if is_found and _is_older(state) and not set(running_sessions(data_dir)) - {session}:
            stop_process(state["pid"])
            is_found = False
        if not is_found:
            state = _start(data_dir, state_file.port(state))
    return {"url": str(state["url"]), "token": str(state["token"])}


def status(data_dir: Path) -> dict[str, Any]:
    """Return ``running``, ``url``, ``pid``, ``version``, ``sessions`` and ``path`` of the data dir's server.

    All but ``running`` and ``path`` are None if none runs; ``sessions`` are process ids.
    """
    state = state_file.read(data_dir)
    is_found = state_file.is_responding(state)
    return {
        "running": is_found,
        **{name: state.get(name) if is_found else None for name in ("url", "pid", "version")},
        "sessions": running_sessions(data_dir) if is_found else None,
        "path": str(data_dir),
    }


def stop(data_dir: Path) -> bool:
    """Stop the data dir's server, and return whether one ran.

    Sessions that use it keep undelivered results on disk.

    Raises:
        filelock.Timeout: Another process is still starting or stopping the server.
    """
    if not (data_dir / state_file.FILE).exists():
        return False
    with _lock(data_dir):
        state = state_file.read(data_dir)
        if not state_file.is_responding(state):
            return False
        stop_process(state["pid"])
        state_file.write(data_dir, {"url": state["url"]})
    return True


def running_sessions(data_dir: Path) -> list[int]:
    """Return the ids of the processes that use the data dir's server."""
    found = [int(entry.name) for entry in (data_dir / "sessions").glob("*") if entry.name.isdecimal()]
    return sorted(pid for pid in found if is_running(pid))


def _lock(data_dir: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(data_dir / "local.lock", timeout=LOCK_TIMEOUT)


def _is_older(state: dict[str, Any]) -> bool:
    """Return whether the server of a state has an older version than the package; 0.1.0 did not store its."""
    return _release(state.get("version", "0.1.0")) < _release(state_file.installed_version())


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d{1,9}", version)[:3])


def _start(data_dir: Path, port: int) -> dict[str, Any]:
    """Start a server in a session of its own, wait for its first response and return its state.

    ``port`` is that of the previous server, so that links to its reports remain valid.
    """
    (data_dir / state_file.FILE).unlink(missing_ok=True)
    log = data_dir / "local.log"
    command = [sys.executable, "-m", "pytest_tms.cli", "serve", "--local", "--port", str(port)]
    with state_file.create_private(log) as output:
        process = subprocess.Popen(  # noqa: S603  # our own module, by this interpreter
            [*command, "--data-dir", str(data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=data_dir,
        )
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        state = state_file.read(data_dir)
        if state_file.is_responding(state):
            return state
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise RuntimeError(
                lines[-1] if lines else f"the server ended with exit status {process.returncode}: see {log}"
            )
        time.sleep(0.05)
    process.terminate()
    raise RuntimeError(f"the server did not respond within {START_TIMEOUT:.0f} s: see {log}")
