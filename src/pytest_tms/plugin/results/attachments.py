"""The `tms` fixture's object, and the files that tests leave: attached here, or by pytest-playwright."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_tms.journal.file import wait_for_acks
from pytest_tms.text import clean

Kind = Literal["screenshot", "video", "trace", "log"]

ATTACHED = pytest.StashKey[dict[str, Any]]()
"""What a test attached: ``artifacts`` (name, kind, path) and ``properties``, as plain values."""

EXECUTION_TIMEOUT = 5.0
"""Seconds that a test which asks for the execution's id waits for the TMS to create it."""

REPORTING = pytest.StashKey[dict[str, str]]()
"""On the config of a reporting process: ``execution`` (if it is known), ``shard``, ``journal`` and the ``folder`` for attached bytes."""

KINDS: dict[str, Kind] = {
    ".png": "screenshot",
    ".jpg": "screenshot",
    ".jpeg": "screenshot",
    ".webp": "screenshot",
    ".webm": "video",
    ".mp4": "video",
    ".zip": "trace",
}

PLAYWRIGHT: dict[str, Kind] = {
    "playwright_screenshot": "screenshot",
    "playwright_video": "video",
    "playwright_trace": "trace",
}
"""The properties under which pytest-playwright names its files."""


class Tms:
    """What the fixture ``tms`` gives a test. Where nothing is reported, it takes all and does nothing."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._reporting = item.config.stash.get(REPORTING, None)

    @property
    def execution_id(self) -> str | None:
        """The execution that this run reports to; None if it does not report, or if the TMS does not answer.

        Waits up to ``EXECUTION_TIMEOUT`` seconds for the TMS to create it.
        """
        known = self._reporting or {}
        if known.get("execution"):
            return known["execution"]
        if not known.get("journal"):
            return None
        joined = wait_for_acks(Path(known["journal"]), EXECUTION_TIMEOUT).joined
        return joined.get("execution_id")

    @property
    def shard_id(self) -> str | None:
        """The shard that this test is a part of, or None where the run does not report."""
        return (self._reporting or {}).get("shard") or None

    def attach(
        self, content: str | os.PathLike[str] | bytes, name: str = "", kind: Kind | None = None
    ) -> Path | None:
        """Keep a file, or bytes that are written to one, as an artifact of this test; from any thread.

        ``kind`` is told from the name where it is not given. Answers the file's path, or None where the run
        does not report. Raises FileNotFoundError where a path leads nowhere.
        """
        if self._reporting is None:
            return None
        if isinstance(content, bytes):
            path = _write(Path(self._reporting["folder"]), name or "attachment", content)
        else:
            path = Path(content).absolute()
            if not path.exists():
                raise FileNotFoundError(f"tms.attach: there is no file {path}")
        kept = {
            "name": clean(name or path.name, limit=200),
            "kind": kind or KINDS.get(Path(name or path.name).suffix.lower(), "log"),
            "path": clean(str(path)),
        }
        self._kept().setdefault("artifacts", []).append(kept)
        return path

    def property(self, key: str, value: object) -> None:
        """Note something about this test; ``value`` becomes text unless JSON has it."""
        plain = value if value is None or type(value) in (bool, float) else clean(str(value))
        self._kept().setdefault("properties", {})[clean(str(key))] = plain

    def _kept(self) -> dict[str, Any]:
        return self._item.stash.setdefault(ATTACHED, {})


def of_properties(user_properties: list[tuple[str, object]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What ``record_property`` and pytest-playwright noted, as artifacts and properties."""
    artifacts: list[dict[str, Any]] = []
    properties: dict[str, Any] = {}
    for key, value in user_properties:
        kind = PLAYWRIGHT.get(key)
        if kind is None:
            properties[clean(str(key))] = value if type(value) in (bool, float) else clean(str(value))
            continue
        paths = value if isinstance(value, (list, tuple)) else [value]
        artifacts += [
            {"name": Path(str(path)).name, "kind": kind, "path": clean(str(Path(str(path)).absolute()))}
            for path in paths
        ]
    return artifacts, properties


def _write(folder: Path, name: str, content: bytes) -> Path:
    """Write ``content`` to a new file of its own, whatever its name says, that git does not see."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    safe = re.sub(r"[^\w.-]+", "_", name).lstrip(".")[-100:] or "attachment"
    stem, dot, ending = safe.rpartition(".")
    number = 0
    while True:
        unique = f"{os.getpid()}-{threading.get_ident() & 0xFFFF:x}-{number}"
        path = folder / (f"{stem}-{unique}.{ending}" if dot and stem else f"{safe}-{unique}")
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            number += 1
        else:
            return path
