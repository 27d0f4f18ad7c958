"""The keys of a server: those of ``TMS_SERVER_KEYS``, else those in ``secrets.key`` of the data dir."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from pathlib import Path

import filelock

KEY_SIZE = 32
"""Bytes of a key."""


class KeyRing:
    """Fernet keys, the newest first.

    The file is created on first use, and read at every use, so that `tms key rotate` needs no restart.
    """

    def __init__(self, configured: str, data_dir: Path) -> None:
        """Use ``configured``, which are keys separated by commas; empty for the file."""
        self._configured = configured
        self._file = data_dir / "secrets.key"

    @property
    def is_configured(self) -> bool:
        """Whether the keys come from the settings, not from the file."""
        return bool(self._configured)

    @property
    def exists(self) -> bool:
        """Whether there are keys, so that ``read`` creates none."""
        return self.is_configured or bool(self._read())

    @property
    def place(self) -> str:
        """The variable or the file that has the keys, for messages."""
        return "TMS_SERVER_KEYS" if self._configured else str(self._file)

    @property
    def version(self) -> object:
        """A value that differs after the keys have changed."""
        if self._configured:
            return None
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> list[str]:
        """Return the keys, at least one.

        Raises:
            ValueError: A key is malformed.
        """
        found = self._found()
        if not all(_is_key(key) for key in found):
            raise ValueError(
                f"a key in {self.place} is malformed: a Fernet key is 44 characters of base64 "
                f"(`tms key create` prints one)"
            )
        return found

    def add(self, *, kept: int | None = 1) -> None:
        """Write a new key to the file, before the newest one, which still decrypts.

        ``kept`` is the number of previous keys that the file keeps; None for all.
        """
        with self._lock():
            self._write([new_key(), *self._read()[:kept]])

    def _found(self) -> list[str]:
        if self._configured:
            return [key.strip() for key in self._configured.split(",")]
        if keys := self._read():
            return keys
        with self._lock():
            return self._read() or self._write([new_key()])

    def _read(self) -> list[str]:
        try:
            return self._file.read_text(encoding="ascii", errors="replace").split()
        except FileNotFoundError:
            return []

    def _write(self, keys: list[str]) -> list[str]:
        temporary = self._file.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("".join(f"{key}\n" for key in keys))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file)
        return keys

    def _lock(self) -> filelock.BaseFileLock:
        return filelock.FileLock(self._file.with_suffix(".lock"), mode=0o600)


def new_key() -> str:
    """Return a new Fernet key: 44 characters of base64."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _is_key(text: str) -> bool:
    try:
        return len(urlsafe_b64decode(text)) == KEY_SIZE
    except ValueError:
        return False
