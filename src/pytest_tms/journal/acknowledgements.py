"""Acknowledgements: up to which line the TMS has accepted a journal, in the file ``NAME.acks`` beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pytest_tms.journal.files import BINARY

MAX_SIZE = 1 << 16
"""Bytes of acknowledgements, of which the last counts, before their file is rewritten."""
POLL_INTERVAL = 0.02
"""Seconds between two reads of a file that another process writes."""


class Acks(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What the TMS has accepted of a journal.

    ``upto`` is the byte before which every line is delivered or needs no delivery. ``shards`` are those whose
    tests are delivered although their lines are after it. ``joined`` is the execution that was created for
    it, ``names`` maps shards of the run to those that the TMS
    assigned instead. ``delivered`` counts tests.
    ``refused`` names the tests that the TMS rejected: the journal is then not deleted. ``problem`` is why
    a journal cannot be delivered until a user intervenes.
    """

    upto: int = 0
    shards: list[str] = []
    joined: dict[str, Any] = {}
    names: dict[str, str] = {}
    delivered: int = 0
    refused: list[str] = []
    problem: str = ""


class AcksFile:
    """Writes the acknowledgements of one journal. ``problem`` is why the latest could not be written."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_suffix(".acks")
        self._file = -1
        self._size = MAX_SIZE
        self.problem = ""

    def write(self, acks: Acks) -> None:
        """Append a record; if that is not possible, the previous record stays valid."""
        line = msgspec.json.encode(acks) + b"\n"
        try:
            if self._size >= MAX_SIZE:
                self._rewrite(line)
            else:
                self._size += len(line)
                if os.write(self._file, line) < len(line):
                    self._size = MAX_SIZE
        except OSError as error:  # the next one rewrites the file
            self._size = MAX_SIZE
            path = self._path.with_suffix(".jsonl")
            self.problem = f"the delivery cannot be recorded: {error.strerror}, {path}"
        else:
            self.problem = ""

    def _rewrite(self, line: bytes) -> None:
        temporary = self._path.with_suffix(".acks~")
        temporary.write_bytes(line)
        self.close()  # Windows does not replace an open file
        temporary.replace(self._path)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | BINARY)
        self._size = len(line)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def read_acks(path: Path) -> Acks:
    """Return what the TMS has accepted of the journal ``path``; nothing if there is no valid record."""
    try:
        lines = path.with_suffix(".acks").read_bytes().splitlines()
    except OSError:
        return Acks()
    for line in reversed(lines):
        try:
            return msgspec.json.decode(line, type=Acks)
        except msgspec.MsgspecError:  # incomplete: the writer was killed
            continue
    return Acks()


def wait_for_acks(
    path: Path,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Acks:
    """Return the acknowledgements of a journal once its execution exists, or after ``seconds``.

    ``clock`` and ``sleep`` are bound at import: it is called by tests, which may replace those of ``time``.
    """
    until = clock() + seconds
    while not (acks := read_acks(path)).joined and clock() < until:
        sleep(POLL_INTERVAL)
    return acks
