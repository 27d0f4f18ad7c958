"""The file of a journal: every message on disk before it is sent. docs/journal.md describes the files.

One run writes one file, ``NAME.jsonl``: one line for each event of the run, appended with one write.
``NAME.acks`` beside it records how far the TMS has them. ``NAME.lock`` is held by the process that delivers
them, so that two processes never deliver one journal. All of them are deleted once everything is delivered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_tms import wire

if TYPE_CHECKING:
    import filelock

READ = 1 << 20
"""Bytes that one read takes at most, unless a single line is longer."""
MAX_ACKS_SIZE = 1 << 16
"""Bytes of acknowledgements, of which the last counts, before their file is written anew."""
_BINARY = getattr(os, "O_BINARY", 0)  # Windows would translate line ends
CLOSED = b'{"is":"close"'
"""How the last line of a journal begins."""
_MARK = 1 << 40
"""The byte of a journal that its writer locks on Windows, beyond any content."""


class Acks(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How far the TMS has a journal.

    ``upto`` is the byte before which every line is delivered or needs no delivery. ``shards`` are those whose
    tests are delivered although their lines are after it. ``joined`` is the execution that was created for
    it, ``names`` the shards that the TMS gave to the run instead of its own. ``delivered`` counts tests.
    ``refused`` names what the TMS does not accept: with any, the journal is never deleted. ``problem`` is why
    a journal cannot be delivered without its user's help.
    """

    upto: int = 0
    shards: list[str] = []
    joined: dict[str, Any] = {}
    names: dict[str, str] = {}
    delivered: int = 0
    refused: list[str] = []
    problem: str = ""


class JournalWriter:
    """The file of one run while its tests run. Appending never raises.

    If the disk fails, lines are kept in ``memory`` from then on, and ``problem`` is why. A forked child of
    the process that made it writes nothing. The functions that it calls are bound when it is made: tests
    replace those of the ``os`` module.
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
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY
            self._file = os.open(path, flags, 0o600)
            _mark(self._file)

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
        """Whether this is the process that made it, not a forked child."""
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
        try:  # a torn last line would be read as one with what follows
            self._truncate(self._file, self._size)
        except OSError:
            return

    def close(self) -> None:
        """Close the file; the process that delivers the journal deletes it."""
        if self._file >= 0 and self.is_own:
            _unmark(self._file)
            self._close(self._file)
        self._file = -1


class Journal:
    """A journal as it is read and delivered; ``memory`` are lines that follow those on disk.

    Made by ``adopt``, it holds the journal's lock until ``close``.
    """

    def __init__(self, path: Path, lock: filelock.BaseFileLock | None, memory: Sequence[bytes] = ()) -> None:
        """Read ``path``; without a ``lock`` there is no file, only ``memory``."""
        self.path = path
        self.problem = ""
        self._lock = lock
        self._file = path.open("rb", buffering=0) if lock is not None else None
        self._memory = list(memory)
        self._acks_file = -1
        self._acks_size = MAX_ACKS_SIZE
        self._size = 0
        self._whole = 0
        self._looked_at = -1
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
            return wire.timestamp()
        return wire.timestamp(wire.moment(os.fstat(self._file.fileno()).st_mtime_ns // 1_000_000))

    def closing_wait(self) -> float | None:
        """Return the ``wait`` of the journal's ``Closed`` line; None if it is not closed."""
        end = self.end
        if end == self._looked_at:
            return self._closing_wait
        self._looked_at = end
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
        """Some lines from ``position``: those on disk first."""
        if position >= self._whole or self._file is None:
            return self._from_memory(position)
        wanted = READ
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
        """The position after the last newline, without what a kill tore off."""
        step = 1 << 12
        while size > 0:
            start = max(0, size - step)
            cut = self._at(start, size - start).rfind(b"\n")
            if cut >= 0:
                return start + cut + 1
            size, step = start, READ
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

    def acks(self) -> Acks:
        """Return how far the TMS has it."""
        return read_acks(self.path)

    def acknowledge(self, acks: Acks) -> None:
        """Record how far the TMS has it; if that cannot be written, the record before stays valid."""
        if self._lock is None:
            return
        line = msgspec.json.encode(acks) + b"\n"
        try:
            if self._acks_size >= MAX_ACKS_SIZE:
                self._write_anew(line)
            else:
                self._acks_size += len(line)
                if os.write(self._acks_file, line) < len(line):
                    self._acks_size = MAX_ACKS_SIZE
        except OSError as error:  # the next one begins the file anew
            self._acks_size = MAX_ACKS_SIZE
            self.problem = f"the delivery cannot be recorded: {error.strerror}, {self.path}"
        else:
            self.problem = ""

    def _write_anew(self, line: bytes) -> None:
        path = self.path.with_suffix(".acks")
        temporary = path.with_suffix(".acks~")
        temporary.write_bytes(line)
        self._close_acks()  # Windows replaces no open file
        temporary.replace(path)
        self._acks_file = os.open(path, os.O_WRONLY | os.O_APPEND | _BINARY)
        self._acks_size = len(line)

    def _close_acks(self) -> None:
        if self._acks_file >= 0:
            os.close(self._acks_file)
        self._acks_file = -1

    def close(self, *, delivered: bool) -> None:
        """Release the files; delete them if everything is delivered."""
        if self._lock is None:
            return
        if self._file is not None:
            self._file.close()
        self._close_acks()
        if delivered:
            for suffix in (".jsonl", ".acks"):
                remove(self.path.with_suffix(suffix))
        remove(self.path.with_suffix(".lock"))
        self._lock.release()
        remove(self.path.with_suffix(".lock"))  # Windows deletes no open file


def read_acks(path: Path) -> Acks:
    """Return how far the TMS has the journal ``path``."""
    try:
        lines = path.with_suffix(".acks").read_bytes().splitlines()
    except OSError:
        return Acks()
    for line in reversed(lines):
        try:
            return msgspec.json.decode(line, type=Acks)
        except msgspec.MsgspecError:  # torn by a kill
            continue
    return Acks()


def remove(path: Path) -> None:
    """Delete a file; one that cannot be deleted stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def is_being_written(path: Path) -> bool:
    """Return whether the process of the tests still writes to a journal.

    Raises:
        OSError: the file cannot be opened.
    """
    file = os.open(path, os.O_RDWR | _BINARY)
    try:
        return not _mark(file)
    finally:
        os.close(file)


def _mark(file: int) -> bool:
    """Mark a journal as being written, as long as this file is open; False if another process has."""
    try:
        import fcntl
    except ImportError:
        return _mark_on_windows(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _mark_on_windows(file: int) -> bool:
    try:
        import msvcrt

        os.lseek(file, _MARK, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except ImportError:
        return True
    except OSError:
        return False
    return True


def _unmark(file: int) -> None:
    """Remove the mark, also if a forked child still has the file open."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)
    except (ImportError, OSError):
        return


def wait_for_acks(
    path: Path,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Acks:
    """Return how far the TMS has a journal, as soon as its execution is known or ``seconds`` have passed.

    ``clock`` and ``sleep`` are bound at import: it is called by tests, which may replace those of ``time``.
    """
    until = clock() + seconds
    while not (acks := read_acks(path)).joined and clock() < until:
        sleep(0.02)
    return acks
