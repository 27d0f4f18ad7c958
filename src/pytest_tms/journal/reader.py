"""Reads a journal, and holds the lock of the process that delivers it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_tms.journal.acknowledgements import Acks, AcksFile, read_acks
from pytest_tms.journal.files import is_being_written, remove
from pytest_tms.journal.lines import CLOSED
from pytest_tms.wire.base import moment, timestamp

if TYPE_CHECKING:
    import filelock

READ_SIZE = 1 << 20
"""Bytes that one read takes at most, unless a single line is longer."""


class Journal:
    """A journal as it is read and delivered; ``memory`` are lines that follow those on disk.

    Created by ``adopt``, it holds the journal's lock until ``close``.
    """

    def __init__(self, path: Path, lock: filelock.BaseFileLock | None, memory: Sequence[bytes] = ()) -> None:
        """Read ``path``; without a ``lock`` there is no file, only ``memory``."""
        self.path = path
        self._lock = lock
        self._file = path.open("rb", buffering=0) if lock is not None else None
        self._memory = list(memory)
        self._acks_file = AcksFile(path)
        self._size = 0
        self._whole = 0
        self._checked_end = -1
        self._closing_wait: float | None = None

    @classmethod
    def adopt(
        cls, path: Path, memory: Sequence[bytes] = (), *, timeout: float = 0, is_own: bool = False
    ) -> Journal | None:
        """Return a journal to deliver; None if another process delivers it or writes it, or it is gone.

        Waits up to ``timeout`` seconds for the process that delivers it. ``is_own`` is set by a run that
        delivers its own journal.
        """
        import filelock

        lock = filelock.FileLock(path.with_suffix(".lock"), timeout=timeout)
        try:
            lock.acquire()
        except (filelock.Timeout, OSError):
            return None
        try:
            if path.exists() and (is_own or not is_being_written(path)):
                return cls(path, lock, memory)
        except OSError:
            pass
        lock.release()
        if not path.exists():
            path.with_suffix(".lock").unlink(missing_ok=True)
        return None

    @property
    def end(self) -> int:
        """The position after the last whole line."""
        size = os.fstat(self._file.fileno()).st_size if self._file is not None else 0
        if size != self._size:
            self._whole = self._end_of_lines(size)
            self._size = size
        return self._whole + sum(map(len, self._memory)) if self._memory else self._whole

    @property
    def written_at(self) -> str:
        """When the newest line was written to disk, ISO 8601."""
        if self._file is None:
            return timestamp()
        return timestamp(moment(os.fstat(self._file.fileno()).st_mtime_ns // 1_000_000))

    def closing_wait(self) -> float | None:
        """Return the ``wait`` of the journal's ``Closed`` line; None if it is not closed."""
        end = self.end
        if end == self._checked_end:
            return self._closing_wait
        self._checked_end = end
        last = self._memory[-1] if self._memory else self._last_line()
        if last.startswith(CLOSED):
            self._closing_wait = msgspec.json.decode(last).get("wait", 0.0)
        return self._closing_wait

    def _last_line(self) -> bytes:
        start = max(0, self._whole - (1 << 16))
        return self._at(start, self._whole - start).rstrip(b"\n").rpartition(b"\n")[2]

    def lines(self, position: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the lines from ``position`` to the present end, each with the position after it."""
        end = self.end
        while position < end and (lines := self._read(position)):
            for line in lines:
                position += len(line)
                yield position, line

    def _read(self, position: int) -> list[bytes]:
        """Return some lines from ``position``: those on disk first."""
        if position >= self._whole or self._file is None:
            return self._from_memory(position)
        wanted = READ_SIZE
        while True:
            content = self._at(position, min(wanted, self._whole - position))
            cut = content.rfind(b"\n") + 1
            if cut or len(content) < wanted:
                break
            wanted *= 2
        return content[:cut].splitlines(keepends=True)

    def _from_memory(self, position: int) -> list[bytes]:
        at = self._whole
        for number, line in enumerate(self._memory):
            if at >= position:
                return self._memory[number:]
            at += len(line)
        return []

    def _at(self, position: int, size: int) -> bytes:
        if self._file is None:
            return b""
        self._file.seek(position)
        parts = []
        while size > 0 and (part := self._file.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _end_of_lines(self, size: int) -> int:
        """Return the position after the last newline: a killed process may leave part of a line."""
        step = 1 << 12
        while size > 0:
            start = max(0, size - step)
            cut = self._at(start, size - start).rfind(b"\n")
            if cut >= 0:
                return start + cut + 1
            size, step = start, READ_SIZE
        return 0

    def extend(self, lines: Sequence[bytes]) -> None:
        """Add lines after the last whole one: on disk, else in memory. Only after its writer has ended."""
        end = self.end
        if self._file is not None and not self._memory:
            try:
                with self.path.open("r+b") as file:
                    file.truncate(end)
                    file.seek(end)
                    file.write(b"".join(lines))
                self._size = -1
            except OSError:
                with suppress(OSError):
                    os.truncate(self.path, end)
            else:
                return
        self._memory += lines

    @property
    def problem(self) -> str:
        """Why the latest acknowledgement could not be written."""
        return self._acks_file.problem

    def acks(self) -> Acks:
        """Return what the TMS has accepted of the journal."""
        return read_acks(self.path)

    def acknowledge(self, acks: Acks) -> None:
        """Record what the TMS has accepted; if that is not possible, the previous record stays valid."""
        if self._lock is not None:
            self._acks_file.write(acks)

    def close(self, *, delivered: bool) -> None:
        """Release the files; delete them if everything is delivered."""
        if self._lock is None:
            return
        if self._file is not None:
            self._file.close()
        self._acks_file.close()
        if delivered:
            for suffix in (".jsonl", ".acks", ".uploads", ".plan", ".queue", ".claims"):
                remove(self.path.with_suffix(suffix))
            shutil.rmtree(self.path.with_suffix(".files"), ignore_errors=True)
        remove(self.path.with_suffix(".lock"))
        self._lock.release()
        remove(self.path.with_suffix(".lock"))  # Windows deletes no open file
