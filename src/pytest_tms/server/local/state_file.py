"""``local.json``: the URL, token, process id and version of the local server that runs."""

from __future__ import annotations

import http.client
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from pytest_tms.server.local.processes import is_running

FILE = "local.json"
TOKEN_ID = "tok_local"  # noqa: S105  # not the token itself
"""The id of the token that a local server creates at its start."""
MAX_RESPONSE = 1_000_000
"""Bytes that are read of a response."""
RESPONSE_TIMEOUT = 5.0
"""Seconds that a server has to respond."""


def read(data_dir: Path) -> dict[str, Any]:
    """Return the fields of the file that have the expected type; empty if there is no valid file."""
    try:
        state = json.loads((data_dir / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    types = {"url": str, "token": str, "pid": int, "version": str}
    if not isinstance(state, dict):
        return {}
    return {name: state[name] for name, kind in types.items() if isinstance(state.get(name), kind)}


def write(data_dir: Path, state: dict[str, Any]) -> None:
    """Replace the file atomically. Only its owner can read it."""
    temporary = data_dir / f"{FILE}.{os.getpid()}"
    with create_private(temporary) as file:
        file.write(json.dumps(state).encode())
    temporary.replace(data_dir / FILE)


def create_private(path: Path) -> BinaryIO:
    """Create a file that only its owner can read, in place of an existing one, and open it for writing."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def is_responding(state: dict[str, Any]) -> bool:
    """Return whether the server of a state runs. It has to accept the token, so it wrote the state itself."""
    if not {"url", "token", "pid"} <= state.keys():
        return False
    number = port(state)
    if not number or not is_running(state["pid"]):
        return False
    connection = http.client.HTTPConnection("127.0.0.1", number, timeout=RESPONSE_TIMEOUT)
    try:
        connection.request("GET", "/api/", headers={"Authorization": f"Bearer {state['token']}"})
        response = json.loads(connection.getresponse().read(MAX_RESPONSE))
        return bool(response["token"]["id"] == TOKEN_ID)
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return False
    finally:
        connection.close()


def port(state: dict[str, Any]) -> int:
    """Return the port in the URL of a state; 0, which stands for any free port, if there is none."""
    try:
        return urlsplit(state.get("url", "")).port or 0
    except ValueError:
        return 0


def installed_version() -> str:
    """Return the version of the package on disk, which may differ from that of the process."""
    try:
        return version("pytest-tms")
    except PackageNotFoundError:
        return ""
