"""Operations on a journal's files: locks and deletion, which differ between systems, and writing at once."""

from __future__ import annotations

import os
from pathlib import Path

BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
_LOCKED_BYTE = 1 << 40
"""The byte of a journal that its writer locks on Windows, beyond any content."""


def remove(path: Path) -> None:
    """Delete a file; one that cannot be deleted stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def write_at_once(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, so that no reader sees a part of it.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}~")  # files of one journal have one stem
    try:
        temporary.touch(mode=0o600)
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_being_written(path: Path) -> bool:
    """Return whether the process of the tests still writes to a journal.

    Raises:
        OSError: the file cannot be opened.
    """
    file = os.open(path, os.O_RDWR | BINARY)
    try:
        return not acquire_write_lock(file)
    finally:
        os.close(file)


def acquire_write_lock(file: int) -> bool:
    """Lock a journal while this file is open, as its writer; return False if another process has."""
    try:
        import fcntl
    except ImportError:
        return _acquire_on_windows(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _acquire_on_windows(file: int) -> bool:
    try:
        import msvcrt

        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # on Windows only
    except ImportError:
        return True
    except OSError:
        return False
    return True


def release_write_lock(file: int) -> None:
    """Release the lock, also if a forked child still has the file open."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)
    except (ImportError, OSError):
        return
