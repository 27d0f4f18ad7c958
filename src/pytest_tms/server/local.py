"""The embedded TMS: one server of a data dir, found or started, shared by every pytest run that asks for it.

``python -m pytest_tms.server.local --session PID`` answers with one JSON line, ``{"url": …, "token": …}``. It
loads neither the web framework nor the database where a server runs already.

The server stays as long as a session does (a file per process id) and for a while after the last request. It
stops if its package is uninstalled, and a newer version that finds no other session replaces it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import filelock

IDLE = 1800.0
"""Seconds without a session and a request after which an embedded server stops."""
IDLE_IN_CI = 2.0
"""The same in CI, where nobody looks at the pages afterwards."""
LONGEST_START = 30.0
"""Seconds that a server may take to its first answer."""
LARGEST_ANSWER = 1_000_000
"""Bytes that are read of an answer."""
LONGEST_STOP = 15.0
"""Seconds that a server may take to end after SIGTERM."""
MISSING = 5
"""Looks, one a second, without the package until it counts as uninstalled: pip removes it to replace it."""
EMBEDDED = "tok_local"
"""The id of the token that an embedded server makes itself."""


def folder() -> Path:
    """The data dir, as ``tms serve`` has it."""
    import platformdirs  # not there without the extra `server`, which main() says

    given = os.environ.get("TMS_SERVER_DATA_DIR")
    return Path(given or platformdirs.user_data_path("pytest-tms")).expanduser().absolute()


def find_or_start(data_dir: Path, session: int) -> dict[str, str]:
    """The URL and token of the data dir's server, kept awake by ``session``. Raises RuntimeError."""
    sessions = data_dir / "sessions"
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        sessions.mkdir(exist_ok=True, mode=0o700)
        (sessions / str(session)).touch()
    except OSError as error:
        raise RuntimeError(
            f"the data dir {data_dir} cannot be used ({error.strerror}): set TMS_SERVER_DATA_DIR to another"
        ) from None
    with filelock.FileLock(data_dir / "local.lock", timeout=LONGEST_START * 2):
        state = _read(data_dir)
        answers = _answers(state)
        if answers and _is_older(state) and not set(living(data_dir)) - {session}:
            _end(state["pid"])
            answers = False
        if not answers:
            state = _start(data_dir, _port(state))
    return {"url": str(state["url"]), "token": str(state["token"])}


def status(data_dir: Path) -> dict[str, Any]:
    """Return ``running``, ``url``, ``pid``, ``version``, ``sessions`` and ``path`` of the data dir's server.

    All but ``running`` and ``path`` are None if none runs; ``sessions`` are process ids.
    """
    state = _read(data_dir)
    runs = _answers(state)
    return {
        "running": runs,
        **{name: state.get(name) if runs else None for name in ("url", "pid", "version")},
        "sessions": living(data_dir) if runs else None,
        "path": str(data_dir),
    }


def stop(data_dir: Path) -> bool:
    """Stop the data dir's server; return whether one ran. What it has not received, its sessions keep."""
    if not (data_dir / "local.json").exists():
        return False
    with filelock.FileLock(data_dir / "local.lock", timeout=LONGEST_START * 2):
        state = _read(data_dir)
        if not _answers(state):
            return False
        _end(state["pid"])
        _write(data_dir, {"url": state["url"]})
    return True


def living(data_dir: Path) -> list[int]:
    """Return the process ids of the sessions that use the data dir's server."""
    found = [int(entry.name) for entry in (data_dir / "sessions").glob("*") if entry.name.isdecimal()]
    return sorted(pid for pid in found if _alive(pid))


def _end(pid: int) -> None:
    """End a server: with what it is doing, if it does so in time."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + LONGEST_STOP
        while time.monotonic() < deadline:
            if not _alive(pid):
                return
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


def _is_older(state: dict[str, Any]) -> bool:
    """Return whether the server of this state is of an older release; 0.1.0 did not write its version."""
    return _release(state.get("version", "0.1.0")) < _release(_version())


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d{1,9}", text)[:3])


def _version() -> str:
    """Return the version that is installed now, not the one that runs."""
    try:
        return version("pytest-tms")
    except PackageNotFoundError:
        return ""


def _read(data_dir: Path) -> dict[str, Any]:
    try:
        state = json.loads((data_dir / "local.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    kinds = {"url": str, "token": str, "pid": int, "version": str}
    if not isinstance(state, dict):
        return {}
    return {name: state[name] for name, kind in kinds.items() if isinstance(state.get(name), kind)}


def _answers(state: dict[str, Any]) -> bool:
    """Whether the server of this state runs, and is the one that wrote it: it has the token."""
    if not {"url", "token", "pid"} <= state.keys():
        return False
    port = _port(state)
    if not port or not _alive(state["pid"]):
        return False
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/", headers={"Authorization": f"Bearer {state['token']}"})
        answer = json.loads(connection.getresponse().read(LARGEST_ANSWER))
        return bool(answer["token"]["id"] == EMBEDDED)
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return False
    finally:
        connection.close()


def _port(state: dict[str, Any]) -> int:
    """The port of a state's URL; 0, which is any, where it has none."""
    try:
        return urlsplit(state.get("url", "")).port or 0
    except ValueError:
        return 0


def _start(data_dir: Path, former_port: int) -> dict[str, Any]:
    """Start a server as a process of its own and wait for its first answer.

    The former port keeps links to older reports good.
    """
    state_file = data_dir / "local.json"
    state_file.unlink(missing_ok=True)
    log = data_dir / "local.log"
    command = [sys.executable, "-m", "pytest_tms.cli", "serve", "--embedded", "--port", str(former_port)]
    with _private(log) as output:
        process = subprocess.Popen(  # noqa: S603  # our own module, by this interpreter
            [*command, "--data-dir", str(data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=data_dir,
        )
    deadline = time.monotonic() + LONGEST_START
    while time.monotonic() < deadline:
        state = _read(data_dir)
        if _answers(state):
            return state
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise RuntimeError(
                lines[-1] if lines else f"the server ended with {process.returncode}, see {log}"
            )
        time.sleep(0.05)
    process.terminate()
    raise RuntimeError(f"the server did not answer within {LONGEST_START:.0f} s, see {log}")


class Sessions:
    """The sessions of an embedded server, and whether it is still wanted."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "sessions"
        self._idle = IDLE_IN_CI if os.environ.get("CI") else IDLE
        self._version = _version()
        self._missing = 0

    def is_wanted(self, idle: float) -> bool:
        """Whether a session lives, or the last request is ``idle`` seconds ago and that is not long.

        Another version of the package on disk makes that time short; without the package no session counts.
        """
        if not Path(__file__).exists():
            self._missing += 1
            if self._missing >= MISSING:
                return False
        else:
            self._missing = 0
        is_used = False
        for entry in self._folder.glob("*"):
            if entry.name.isdecimal() and _alive(int(entry.name)):
                is_used = True
            else:
                with suppress(OSError):
                    entry.unlink()
        patience = self._idle if _version() == self._version else IDLE_IN_CI
        return is_used or idle < patience


def write_state(data_dir: Path, url: str, token: str) -> None:
    """Say where the embedded server is, to its owner alone and all at once."""
    _write(data_dir, {"url": url, "token": token, "pid": os.getpid(), "version": _version()})


def retire(data_dir: Path, url: str, is_wanted: Callable[[], bool]) -> bool:
    """Whether the embedded server may stop; from then on nobody is sent to it any more.

    Holds the lock that sessions look for a server under, so that none finds one that is about to go.
    """
    if is_wanted():
        return False
    with suppress(filelock.Timeout), filelock.FileLock(data_dir / "local.lock", timeout=0):
        if not is_wanted():
            if _read(data_dir).get("pid") == os.getpid():  # a successor may have said where it is
                _write(data_dir, {"url": url})
            return True
    return False


def _write(data_dir: Path, state: dict[str, Any]) -> None:
    temporary = data_dir / f"local.json.{os.getpid()}"
    with _private(temporary) as file:
        file.write(json.dumps(state).encode())
    temporary.replace(data_dir / "local.json")


def _private(path: Path) -> BinaryIO:
    """A new file that its owner alone may read."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _alive(pid: int) -> bool:
    if pid <= 0:  # not a process but a group of them
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    try:  # one that has ended, and whose parent does not wait for it, is still there
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[0]
            != "Z"
        )
    except (OSError, IndexError):
        return True


def main() -> int:
    """Answer for the plugin; the exit status is 1 where there is no server, with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m pytest_tms.server.local")
    parser.add_argument("--session", type=int, required=True, help="the process that keeps the server awake")
    session = parser.parse_args().session
    try:
        print(json.dumps(find_or_start(folder(), session)))
    except ModuleNotFoundError:
        print(
            'it is not installed: pip install "pytest-tms[server]", or pipx install "pytest-tms[server]"',
            file=sys.stderr,
        )
        return 1
    except (OSError, RuntimeError, filelock.Timeout) as error:
        print(str(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
