"""The two files next to the journal by which pytest's process and its sender exchange batches of a queue.

Each file has one writer and one reader. A line is one message as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from pytest_tms.journal.files import BINARY
from pytest_tms.wire.claims import Claim, QueuedTest

REQUESTS = ".queue"
"""The suffix of the file that pytest's process writes."""
RESPONSES = ".claims"
"""The suffix of the file that the sender writes."""


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request of pytest's process for its next batch.

    ``number`` is that of ``wire.claims.ClaimRequest``. Only the first request has ``tests`` and ``workers``.
    With ``is_idle`` no test of the shard is left: its results are delivered before the request is sent, so
    that the TMS knows which tests have finished.
    """

    number: int
    tests: list[QueuedTest] | None = None
    workers: int = 1
    is_idle: bool = False


class BatchResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The response to the request ``number``. Without a ``claim`` there will be none; ``problem`` is why."""

    number: int
    claim: Claim | None = None
    problem: str = ""


Message = TypeVar("Message", BatchRequest, BatchResponse)


class MessageFile(Generic[Message]):
    """One of the files. Reading returns the messages that were added since the last time.

    The functions that it calls are bound when it is created: tests replace those of the ``os`` module.
    """

    def __init__(self, path: Path, kind: type[Message]) -> None:
        self._path = str(path)
        self._decode: Callable[[bytes], Message] = msgspec.json.Decoder(kind).decode
        self._position = 0
        self._open: Callable[..., int] = os.open
        self._close: Callable[[int], None] = os.close
        self._read: Callable[[int, int], bytes] = os.read
        self._write: Callable[[int, bytes], int] = os.write
        self._seek: Callable[[int, int, int], int] = os.lseek
        self._stat: Callable[[str], os.stat_result] = os.stat

    def append(self, message: Message) -> None:
        """Add a message; only the owner can read the file.

        Raises:
            OSError: it cannot be written.
        """
        file = self._open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY, 0o600)
        try:
            line = msgspec.json.encode(message) + b"\n"
            while line:
                line = line[self._write(file, line) :]
        finally:
            self._close(file)

    def read(self) -> list[Message]:
        """Return the new messages; none if the file cannot be read.

        Raises:
            msgspec.MsgspecError: a line is not a message.
        """
        try:
            if self._stat(self._path).st_size <= self._position:
                return []
            file = self._open(self._path, os.O_RDONLY | BINARY)
        except OSError:
            return []
        try:
            self._seek(file, self._position, os.SEEK_SET)
            content = b""
            while part := self._read(file, 1 << 20):
                content += part
        finally:
            self._close(file)
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        return [self._decode(line) for line in whole.splitlines()]
