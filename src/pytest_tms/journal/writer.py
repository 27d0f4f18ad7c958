"""Writes a journal: one file for each run, one line for each event of the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pytest_tms.journal.files import BINARY, acquire_write_lock, release_write_lock


class JournalWriter:
    """The file of one run while its tests run. Appending never raises.

    If the disk fails, lines are kept in ``memory`` from then on, and ``problem`` is why. A forked child of
    the process that created it writes nothing. The functions that it calls are bound when it is created:
    tests replace those of the ``os`` module.
    """

    def __init__(self, path: Path, *, problem: str = "") -> None:
        """Open ``path``; with a ``problem`` lines are kept in memory alone."""
        self.path = path
        self.problem = problem
        self.memory: list[bytes] = []
        self._write: Callable[[int, bytes], int] = os.write
        self._truncate: Callable[[int, int], None] = os.ftruncate
        self._close: Callable[[int], None] = os.close
        self._process_id: Callable[[], int] = os.getpid
        self._pid = os.getpid()
        self._size = 0
        self._file = -1
        if not problem:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY
            self._file = os.open(path, flags, 0o600)
            acquire_write_lock(self._file)

    @classmethod
    def create(cls, folders: Iterable[Path], name: str) -> JournalWriter:
        """Return a new journal in the first of ``folders`` that can be written; else one in memory."""
        path = Path(f"{name}.jsonl")
        problem = ""
        for folder in folders:
            path = folder / f"{name}.jsonl"
            try:
                if not folder.exists():
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
                return cls(path)
            except OSError as error:
                problem = problem or f"results are kept in memory only: {error.strerror}, {path}"
        return cls(path, problem=problem)

    @property
    def is_on_disk(self) -> bool:
        """Whether every line survives this process."""
        return not self.memory and not self.problem

    @property
    def is_own(self) -> bool:
        """Whether this is the process that created it, not a forked child."""
        return self._process_id() == self._pid

    def append(self, line: bytes) -> None:
        """Write one line, its newline included."""
        if self._process_id() != self._pid:
            return
        if self.problem:
            self.memory.append(line)
            return
        try:
            written = self._write(self._file, line)
        except OSError as error:
            self._fail(line, error.strerror)
        else:
            if written == len(line):
                self._size += written
            else:
                self._fail(line, os.strerror(28))

    def _fail(self, line: bytes, reason: str | None) -> None:
        self.problem = f"results are kept in memory only: {reason}, {self.path}"
        self.memory.append(line)
        try:  # an incomplete last line would be joined with the line that follows
            self._truncate(self._file, self._size)
        except OSError:
            return

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that were written: those on disk, then those in memory."""
        try:
            with self.path.open("rb") as file:
                yield from file
        except OSError:  # all of them are in memory
            pass
        yield from self.memory

    def close(self) -> None:
        """Close the file; the process that delivers the journal deletes it."""
        if self._file >= 0 and self.is_own:
            release_write_lock(self._file)
            self._close(self._file)
        self._file = -1
