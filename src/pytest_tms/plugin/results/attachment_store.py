"""Writes attached bytes to files."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from pytest_tms.text import clean

MAX_WARNINGS = 10
"""Warnings about attachments that are kept of one process."""
MAX_WARNING = 500
"""Characters of one warning."""


class AttachmentStore:
    """Writes attached bytes, also while a test replaces names of the standard library.

    Create it when the session starts, before pyfakefs or mocks replace the functions that it binds.
    ``warnings`` are sentences about attachments that could not be kept.
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
        """Return whether the file exists, not only in a test's fake file system."""
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
        """Return a path as an object of the real class, even while a fake file system replaces it."""
        try:
            return self._path(path)
        except Exception:
            return Path(path)

    def warn(self, sentence: str) -> None:
        """Keep a sentence for the end of the run, each once."""
        if sentence not in self.warnings and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(clean(sentence, limit=MAX_WARNING))

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
        """Create a folder that git ignores, and its parents."""
        missing: list[str] = []
        each = folder
        while each and not self._exists(each):
            missing.append(each)
            each = each.rpartition(os.sep)[0]
        for path in reversed(missing):
            try:
                self._mkdir(path)
            except FileExistsError:  # another thread or worker created it
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
