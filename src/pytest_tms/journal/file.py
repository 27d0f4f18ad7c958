"""Every outgoing message on disk before it is sent; docs/journal.md describes the files.

One run writes one file, ``NAME.jsonl``: a line for each message, in the order of the run, appended with one
write. ``NAME.acks`` beside it says how far the TMS has them. ``NAME.lock`` is held by whoever works on the
files, so that two processes never share them. Once everything is delivered, all three are deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import msgspec

from pytest_tms import wire

VERSION = 1
READ = 1 << 20
"""Bytes that one look at the journal reads at most, unless a single line is longer."""
MOST_NOTES = 1 << 16
"""Bytes of acknowledgements, of which the last counts, before their file begins anew."""


class Acks(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How far the TMS has a journal.

    ``upto`` is the byte before which every line is delivered or needs no delivery. ``shards`` are those whose
    tests are delivered although they stand behind it. ``joined`` is the execution that was created for it.
    ``refused`` names what the TMS will not take: with any, the journal is never deleted.
    """

    upto: int = 0
    shards: list[str] = []
    joined: dict[str, Any] = {}
    refused: list[str] = []


class Journal:
    """One run's file. Appending never raises: where the disk fails, lines are kept in memory from then on."""

    def __init__(self, path: Path, lock: filelock.BaseFileLock | None, trouble: str = "") -> None:
        """A journal with ``trouble`` from the start lives in memory alone, and needs no lock."""
        self.path = path
        self.trouble = trouble
        self._lock = lock
        self._file = -1 if lock is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = 0 if lock is None else _whole(self._file)
        self._memory: list[bytes] = []
        self._notes = -1
        self._notes_size = MOST_NOTES

    @classmethod
    def create(cls, folder: Path, name: str) -> Journal:
        """A new journal in ``folder``, which git does not see; in memory where there can be no file."""
        path = folder / f"{name}.jsonl"
        try:
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            lock = filelock.FileLock(path.with_suffix(".lock"), timeout=0)
            lock.acquire()
            return cls(path, lock)
        except (OSError, filelock.Timeout) as error:
            reason = getattr(error, "strerror", None) or "it is locked"
            return cls(path, None, f"results are kept in memory only: {reason}, {path}")

    @property
    def is_on_disk(self) -> bool:
        """Whether every line survives this process."""
        return not self._memory and self._lock is not None

    @classmethod
    def adopt(cls, path: Path) -> Journal | None:
        """A journal that another process left, or None where one still works on it or it is gone."""
        lock = filelock.FileLock(path.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except (filelock.Timeout, OSError):
            return None
        try:
            if path.exists():
                return cls(path, lock)
        except OSError:
            lock.release()
            return None
        lock.release()
        path.with_suffix(".lock").unlink(missing_ok=True)
        return None

    @property
    def end(self) -> int:
        """The position after the last line."""
        return self._size + sum(map(len, self._memory)) if self._memory else self._size

    @property
    def written_at(self) -> str:
        """When the newest line was written to disk, ISO 8601."""
        return wire.timestamp(wire.moment(os.fstat(self._file).st_mtime_ns // 1_000_000))

    def append(self, line: bytes) -> None:
        """Write one line, its newline included."""
        if self.trouble:
            self._memory.append(line)
            return
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self._fail(line, error)
        else:
            if written == len(line):
                self._size += written
            else:
                self._fail(line, OSError(28, os.strerror(28)))

    def _fail(self, line: bytes, error: OSError) -> None:
        self.trouble = f"results are kept in memory only: {error.strerror}, {self.path}"
        self._memory.append(line)
        try:  # a torn last line would be read as one with what follows
            os.ftruncate(self._file, self._size)
        except OSError:
            return

    def lines(self, position: int = 0) -> Iterator[tuple[int, bytes]]:
        """The lines from ``position`` to what is the end now, each with the position after it.

        Who reads does not run after who writes: the two would change places at every line.
        """
        end = self.end
        while position < end and (lines := self._read(position)):
            for line in lines:
                position += len(line)
                yield position, line

    def _read(self, position: int) -> list[bytes]:
        """Some lines from ``position``: those on disk first."""
        if position >= self._size:
            return self._from_memory(position)
        wanted = READ
        while True:
            content = os.pread(self._file, min(wanted, self._size - position), position)
            cut = content.rfind(b"\n") + 1
            if cut or len(content) < wanted:
                break
            wanted *= 2
        return content[:cut].splitlines(keepends=True)

    def _from_memory(self, position: int) -> list[bytes]:
        at = self._size
        lines = self._memory[:]
        for number, line in enumerate(lines):
            if at >= position:
                return lines[number:]
            at += len(line)
        return []

    def acks(self) -> Acks:
        """How far the TMS has it."""
        try:
            lines = self.path.with_suffix(".acks").read_bytes().splitlines()
        except OSError:
            return Acks()
        for line in reversed(lines):
            try:
                return msgspec.json.decode(line, type=Acks)
            except msgspec.MsgspecError:  # torn by a kill
                continue
        return Acks()

    def acknowledge(self, acks: Acks) -> None:
        """Note how far the TMS has it; an earlier note stays where this one cannot be written."""
        if self._lock is None:
            return
        line = msgspec.json.encode(acks) + b"\n"
        try:
            if self._notes_size >= MOST_NOTES:
                self._note_anew(line)
            else:  # one call: after each that may wait, this thread wins the interpreter back from the tests
                self._notes_size += len(line)
                if os.write(self._notes, line) < len(line):
                    self._notes_size = MOST_NOTES
        except OSError as error:
            self._notes_size = MOST_NOTES
            self.trouble = self.trouble or f"what is delivered cannot be noted: {error.strerror}, {self.path}"

    def _note_anew(self, line: bytes) -> None:
        path = self.path.with_suffix(".acks")
        temporary = path.with_suffix(".acks~")
        temporary.write_bytes(line)
        temporary.replace(path)
        self._close_notes()
        self._notes = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._notes_size = len(line)

    def _close_notes(self) -> None:
        if self._notes >= 0:
            os.close(self._notes)
        self._notes = -1

    def close(self, *, delivered: bool) -> None:
        """Let go of the files; delete them where everything is delivered."""
        if self._lock is None:
            return
        os.close(self._file)
        self._close_notes()
        if delivered:
            for suffix in (".jsonl", ".acks"):
                self.path.with_suffix(suffix).unlink(missing_ok=True)
        self.path.with_suffix(".lock").unlink(missing_ok=True)
        self._lock.release()


def _whole(file: int) -> int:
    """The size of the file up to its last whole line, without what a kill tore off."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - READ)
        cut = os.pread(file, end - start, start).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0
