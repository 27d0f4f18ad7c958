"""The `tms` fixture's object, and the files that tests leave: attached here, or by pytest-playwright."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from pytest_tms.plugin.results.plain_values import plain
from pytest_tms.text import clean, text_of

Kind = Literal["screenshot", "video", "trace", "log", "file"]

ATTACHED: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
"""What a test attached: ``artifacts`` (name, kind, path) and ``properties``, as plain values."""

EXECUTION_TIMEOUT = 5.0
"""Seconds that a test which asks for the execution's id waits for the TMS to create it."""

REPORTING: pytest.StashKey[dict[str, str]] = pytest.StashKey()
"""On the config of a reporting process: ``execution`` (if it is known), ``shard``, ``journal`` and the
``folder`` for attached bytes."""

MAX_WARNINGS = 10
"""Warnings about attachments that are kept of one process."""

KINDS: dict[str, Kind] = {
    ".png": "screenshot",
    ".jpg": "screenshot",
    ".jpeg": "screenshot",
    ".webp": "screenshot",
    ".webm": "video",
    ".mp4": "video",
    ".zip": "trace",
    ".log": "log",
    ".txt": "log",
}
"""The kinds of files by the ending of their names; any other is a ``file``."""

PLAYWRIGHT: dict[str, Kind] = {
    "playwright_screenshot": "screenshot",
    "playwright_video": "video",
    "playwright_trace": "trace",
}
"""The properties under which pytest-playwright names its files."""


class AttachmentStore:
    """Writes attached bytes, whatever the test does to the names of the standard library.

    Make it when the session starts, before pyfakefs or mocks replace what it binds. ``warnings`` are
    sentences about what could not be kept.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._open, self._write, self._close = os.open, os.write, os.close
        self._mkdir, self._stat, self._urandom = os.mkdir, os.stat, os.urandom
        self._getpid, self._getcwd = os.getpid, os.getcwd
        self._flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._temporary = tempfile.gettempdir()
        self._fallback = ""
        self._path = Path

    def keep(self, folder: str, name: str, content: bytes) -> str | None:
        """Write ``content`` to a new file of its own; return its path, or None if it cannot be written.

        A folder that cannot be written to is replaced by one for temporary files.
        """
        try:
            return self._new_file(folder, name, content)
        except OSError as error:
            problem = error
        try:
            if not self._fallback:
                unique = f"pytest-tms-{self._getpid()}-{self._urandom(4).hex()}"
                fallback = os.path.join(self._temporary, unique)  # noqa: PTH118  # pyfakefs patches pathlib
                self._mkdir(fallback, 0o700)
                self._fallback = fallback
            return self._new_file(self._fallback, name, content)
        except OSError:
            self.warn(f"attachments cannot be written to {folder}: {problem.strerror or problem}")
            return None

    def is_file(self, path: str) -> bool:
        """Whether there is such a file, not only in a test's own file system."""
        try:
            return not stat.S_ISDIR(self._stat(path).st_mode)
        except (OSError, ValueError):
            return False

    def absolute(self, path: str) -> str:
        """Return an absolute path."""
        if path.startswith(("/", "\\")) or path[1:2] == ":":
            return path
        return f"{self._getcwd()}{os.sep}{path}"

    def as_path(self, path: str) -> Path:
        """Return a path as an object: the real class, unless a test's own file system took it apart."""
        try:
            return self._path(path)
        except Exception:
            return Path(path)

    def warn(self, sentence: str) -> None:
        """Keep a sentence for the end of the run, each once."""
        if sentence not in self.warnings and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(clean(sentence, limit=500))

    def _new_file(self, folder: str, name: str, content: bytes) -> str:
        self._make_folder(folder)
        safe = re.sub(r"[^\w.-]+", "_", clean(name)).lstrip(".")[-100:] or "attachment"
        stem, dot, ending = safe.rpartition(".")
        number = 0
        while True:
            unique = f"{self._getpid()}-{threading.get_ident() & 0xFFFF:x}-{number}"
            own = f"{stem}-{unique}.{ending}" if dot and stem else f"{safe}-{unique}"
            path = f"{folder}{os.sep}{own}"
            try:
                self._fill(path, content)
            except FileExistsError:
                number += 1
            else:
                return path

    def _fill(self, path: str, content: bytes) -> None:
        file = self._open(path, self._flags, 0o666)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[self._write(file, rest) :]
        finally:
            self._close(file)

    def _make_folder(self, folder: str) -> None:
        """Make a folder that git does not see, with all that it is in."""
        missing: list[str] = []
        each = folder
        while each and not self._exists(each):
            missing.append(each)
            each = each.rpartition(os.sep)[0]
        for path in reversed(missing):
            try:
                self._mkdir(path)
            except FileExistsError:  # another thread or worker made it
                continue
        if missing:
            with suppress(FileExistsError):
                self._fill(f"{folder}{os.sep}.gitignore", b"*\n")

    def _exists(self, path: str) -> bool:
        try:
            self._stat(path)
        except FileNotFoundError:
            return False
        return True


STORE: pytest.StashKey[AttachmentStore] = pytest.StashKey()
"""On the config of a reporting process."""


class Tms:
    """What the fixture ``tms`` gives a test. If nothing is reported, it accepts everything and does nothing.

    Nothing here raises: what cannot be kept becomes a warning at the end of the run.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._reporting = item.config.stash.get(REPORTING, None)
        self._store = item.config.stash.setdefault(STORE, AttachmentStore()) if self._reporting else None

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
        from pytest_tms.journal.file import wait_for_acks  # an xdist worker seldom needs it

        joined = wait_for_acks(Path(known["journal"]), EXECUTION_TIMEOUT).joined
        return joined.get("execution_id")

    @property
    def shard_id(self) -> str | None:
        """The shard that this test is a part of, or None if the run does not report."""
        return (self._reporting or {}).get("shard") or None

    def attach(
        self,
        content: str | os.PathLike[str] | bytes | bytearray | memoryview,
        name: str = "",
        kind: Kind | None = None,
    ) -> Path | None:
        """Keep a file, or bytes that are written to one, as an artifact of this test; from any thread.

        ``kind`` follows from the ending of the name unless it is given: ``file`` if that is not known.
        Returns the file's path; None if the run does not report, or if the file cannot be kept, which is a
        warning.
        """
        if self._reporting is None or self._store is None:
            return None
        try:
            folder = self._reporting["folder"]
            path = self._attach(self._store, folder, content, text_of(name or ""), kind)
            return None if path is None else self._store.as_path(path)
        except Exception as error:
            self._store.warn(
                f"tms.attach failed in {self._item.nodeid}: {type(error).__name__}: {text_of(error)}"
            )
            return None

    def _attach(self, store: AttachmentStore, folder: str, content: Any, name: str, kind: Any) -> str | None:
        if isinstance(content, (bytes, bytearray, memoryview)):
            name = name or "attachment"
            path = store.keep(folder, name, bytes(content))
        else:
            given = os.fsdecode(os.fspath(content))
            name = name or re.split(r"[/\\]", given)[-1] or given
            path = store.absolute(given)
            if not store.is_file(path):
                path = self._copied(store, folder, given, name)
        if path is None:
            return None
        ending = re.search(r"\.\w+$", name)
        if kind not in get_args(Kind):
            if kind is not None:
                kinds = ", ".join(get_args(Kind))
                store.warn(f"tms.attach: the kind {text_of(kind)!r} is not one of {kinds}: file is used")
            kind = "file" if kind is not None else KINDS.get(ending[0].lower() if ending else "", "file")
        kept = {"name": clean(name, limit=200), "kind": kind, "path": clean(path)}
        self._kept().setdefault("artifacts", []).append(kept)
        return path

    def _copied(self, store: AttachmentStore, folder: str, path: str, name: str) -> str | None:
        """A copy of a file that only the test's own file system has, as pyfakefs makes one."""
        try:
            with open(path, "rb") as file:  # noqa: PTH123  # the name that pyfakefs patches
                content = file.read()
        except (OSError, ValueError):
            store.warn(f"tms.attach: there is no file {path!r} (in {self._item.nodeid})")
            return None
        return store.keep(folder, name, content)

    def property(self, key: str, value: object) -> None:
        """Note something about this test: numbers, booleans, None, lists and dicts keep their type."""
        if self._reporting is not None:
            self._kept().setdefault("properties", {})[clean(text_of(key))] = plain(value)

    def _kept(self) -> dict[str, Any]:
        return self._item.stash.setdefault(ATTACHED, {})


def of_properties(user_properties: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return what ``record_property`` and pytest-playwright noted, as artifacts and properties."""
    artifacts: list[dict[str, Any]] = []
    properties: dict[str, Any] = {}
    for pair in user_properties:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            continue
        key, value = text_of(pair[0]), pair[1]
        kind = PLAYWRIGHT.get(key)
        if kind is None:
            properties[clean(key)] = plain(value)
            continue
        for path in value if isinstance(value, (list, tuple)) else [value]:
            text = clean(os.path.abspath(text_of(path)))  # noqa: PTH100
            artifacts.append({"name": re.split(r"[/\\]", text)[-1], "kind": kind, "path": text})
    return artifacts, properties
