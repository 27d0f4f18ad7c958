"""The files that a run must upload: ``NAME.uploads`` beside its journal, and copies in ``NAME.files``."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec


class FileToUpload(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A file whose hash was sent with a result. With ``is_done``, nothing of that content is left to do."""

    sha256: str
    path: str = ""
    name: str = ""
    is_done: bool = False


class Uploads:
    """The files that are to be uploaded, each content once. Threads may share it.

    They are recorded before their results are acknowledged, so a killed process loses none. If the record
    cannot be written, they are kept in memory.
    """

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_suffix(".uploads")
        self._lock = threading.Lock()
        self._files: dict[str, FileToUpload] = {}
        with suppress(OSError):
            for line in self._path.read_bytes().splitlines():
                with suppress(msgspec.MsgspecError):  # torn by a kill
                    file = msgspec.json.decode(line, type=FileToUpload)
                    self._files[file.sha256] = file

    @property
    def pending(self) -> list[FileToUpload]:
        """The files that are not uploaded yet, in the order of their results."""
        with self._lock:
            return [file for file in self._files.values() if not file.is_done]

    def add(self, files: Iterable[FileToUpload]) -> None:
        """Add files, except those whose content was added before."""
        with self._lock:
            new = {file.sha256: file for file in files if file.sha256 not in self._files}
            self._write(new.values())
            self._files.update(new)

    def finish(self, sha256: str) -> None:
        """Note that nothing is left to do for a file."""
        finished = FileToUpload(sha256=sha256, is_done=True)
        with self._lock:
            self._write([finished])
            self._files[sha256] = finished

    def _write(self, files: Iterable[FileToUpload]) -> None:
        lines = b"".join(msgspec.json.encode(file) + b"\n" for file in files)
        if lines and self._path.with_suffix(".jsonl").exists():
            with suppress(OSError), self._path.open("ab") as file:
                file.write(lines)


def copy_of(journal: Path, path: str) -> Path:
    """Return where the copy of a file is, if there is one."""
    name = hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()[:32]
    return journal.with_suffix(".files") / name
