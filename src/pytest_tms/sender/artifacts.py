"""Files of tests: described when their results are sent, and uploaded on a thread of their own afterwards."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from pytest_tms.client import TmsClient
from pytest_tms.content_types import HEAD, content_type
from pytest_tms.errors import TmsError
from pytest_tms.journal.files import BINARY
from pytest_tms.journal.lines import TESTED, Opened, ShardEnded, Tested, as_json, decode
from pytest_tms.journal.uploads import FileToUpload, Uploads, copy_of
from pytest_tms.sender.pacing import MAX_BACKOFF, RETRYABLE

CHUNK = 1 << 20
"""Bytes of a file that are read at a time."""
FIRST_BACKOFF = 0.5
"""Seconds of the first wait after an upload that failed; each that follows is twice as long."""
POLL_INTERVAL = 0.05
"""Seconds between two looks for files to upload."""
MAX_WARNINGS = 20
"""Warnings about files that are kept of one run."""
FAILED = ("failed", "error", "crashed", "timeout")
"""Outcomes of attempts whose files are uploaded by ``tms_upload = failed``."""


class UploadStopped(OSError):
    """The time for uploads is over."""


class FileDescriber:
    """Adds hash, size and content type to the files of results, and lists them in ``uploads``.

    ``opened`` has the rules of the run. A file that cannot be uploaded is one sentence in ``warnings``.
    """

    def __init__(self, opened: Opened, journal: Path, uploads: Uploads, warnings: list[str]) -> None:
        self._opened = opened
        self._journal = journal
        self._uploads = uploads
        self._warnings = warnings
        self._described: dict[str, dict[str, Any]] = {}

    def describe(self, test: msgspec.Raw) -> msgspec.Raw:
        """Return a test with descriptions of those of its files that are uploaded."""
        if b'"artifacts":' not in bytes(test):
            return test
        fields = msgspec.json.decode(test)
        found = []
        for artifact in selected(fields, self._opened.upload):
            description = self._description(str(artifact.get("path", "")))
            if description:
                artifact.update(description["fields"])
                name = str(artifact.get("name", ""))
                found.append(FileToUpload(sha256=artifact["sha256"], path=description["path"], name=name))
        if not found:
            return test
        self._uploads.add(found)
        return msgspec.Raw(as_json(fields))

    def add(self, paths: Sequence[str]) -> None:
        """List files that belong to no test."""
        found = []
        for path in paths:
            if description := self._description(path):
                sha256 = description["fields"]["sha256"]
                found.append(FileToUpload(sha256=sha256, path=description["path"], name=Path(path).name))
        self._uploads.add(found)

    def _description(self, path: str) -> dict[str, Any]:
        """Return the fields of a file and where it is; empty if it cannot be uploaded."""
        if path not in self._described:
            try:
                self._described[path] = self._read(path)
            except (OSError, ValueError) as error:
                self._described[path] = {}
                reason = getattr(error, "strerror", None) or str(error)
                warning = f"{path} is not uploaded: {reason}"
                if len(self._warnings) < MAX_WARNINGS:
                    self._warnings.append(warning)
        return self._described[path]

    def _read(self, path: str) -> dict[str, Any]:
        copy = copy_of(self._journal, path)
        place = str(copy) if copy.exists() else path
        limit = self._opened.upload_limit
        with open_regular(place, limit) as file:
            digest = hashlib.sha256()
            head = b""
            size = 0
            while chunk := file.read(CHUNK):
                head = head or chunk[:HEAD]
                size += len(chunk)
                if size > limit << 20:  # it grows while it is read
                    raise ValueError(_too_large(limit))
                digest.update(chunk)
        fields = {"sha256": digest.hexdigest(), "size": size, "contentType": content_type(head)}
        return {"fields": fields, "path": place}


class FileUploads:
    """Uploads the files of one run to its execution, each content once.

    ``warnings`` are sentences about files that the TMS does not accept.
    """

    def __init__(self, client: TmsClient, execution_id: str, uploads: Uploads) -> None:
        self.warnings: list[str] = []
        self._client = client
        self._execution_id = execution_id
        self._uploads = uploads
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Upload on a thread, also what is listed later, until ``stop``."""
        self._thread = threading.Thread(target=self._run, name="tms-artifacts", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 0.5) -> None:
        """Stop within ``seconds``, in the middle of a file if need be."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def upload_pending(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Upload the files that are listed by now, until ``is_over``.

        Raises:
            TmsError: the TMS does not accept them for now.
        """

        def has_ended() -> bool:
            return self._stopping.is_set() or is_over()

        for file in self._uploads.pending:
            if has_ended():
                return
            try:
                self._upload(file, has_ended)
            except UploadStopped:
                return
            except RETRYABLE:
                if has_ended():
                    return
                raise
            except (TmsError, OSError) as error:
                self._uploads.finish(file.sha256)
                if len(self.warnings) < MAX_WARNINGS:
                    reason = getattr(error, "strerror", None) or str(error)
                    self.warnings.append(f"{file.path} is not uploaded: {reason}")

    def _run(self) -> None:
        wait = FIRST_BACKOFF
        while not self._stopping.is_set():
            try:
                self.upload_pending()
            except TmsError:
                self._stopping.wait(wait)
                wait = min(MAX_BACKOFF, 2 * wait)
            else:
                wait = FIRST_BACKOFF
                self._stopping.wait(POLL_INTERVAL)

    def _upload(self, file: FileToUpload, has_ended: Callable[[], bool]) -> None:
        if not self._client.has_artifact(self._execution_id, file.sha256):
            with open_regular(file.path) as content:
                body = _StoppableFile(content, has_ended)
                self._client.upload_artifact(self._execution_id, file.sha256, body, name=file.name)
        self._uploads.finish(file.sha256)


class _StoppableFile:
    """A file whose reading raises UploadStopped once the time for uploads is over."""

    def __init__(self, file: IO[bytes], has_ended: Callable[[], bool]) -> None:
        self._file = file
        self._has_ended = has_ended
        self.len = os.fstat(file.fileno()).st_size
        """By this attribute, requests knows the size."""

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        if self._has_ended():
            raise UploadStopped
        return self._file.read(size)

    def seek(self, position: int) -> None:
        """Read from this position on, so that the client can send the file again."""
        self._file.seek(position)


def open_regular(path: str, limit: int | None = None) -> IO[bytes]:
    """Open a file to read it.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not a regular file, or is larger than ``limit`` MB.
    """
    # Without O_NONBLOCK, a named pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BINARY)
    status = os.fstat(descriptor)
    problem = "" if stat.S_ISREG(status.st_mode) else "it is not a regular file"
    if not problem and limit is not None and status.st_size > limit << 20:
        problem = _too_large(limit)
    if problem:
        os.close(descriptor)
        raise ValueError(problem)
    return os.fdopen(descriptor, "rb")


def _too_large(limit: int) -> str:
    return f"it is larger than {limit} MB (tms_upload_limit)"


def selected(test: Mapping[str, Any], upload: str) -> Iterator[dict[str, Any]]:
    """Yield the files of a test, and of its attempts, that are uploaded by the setting ``tms_upload``."""
    attempts = [each for each in test.get("attempts") or () if isinstance(each, dict)]
    has_failed = test.get("status") == "failed" or any(each.get("outcome") in FAILED for each in attempts)
    if upload == "all" or (upload == "failed" and has_failed):
        for each in (test, *attempts):
            yield from (file for file in each.get("artifacts") or () if isinstance(file, dict))


def keep_copies(journal: Path) -> list[str]:
    """Copy the files that are to be uploaded beside a journal; return sentences about failures."""
    warnings: list[str] = []
    opened: Opened | None = None
    with suppress(OSError), journal.open("rb") as lines:
        for raw in lines:
            if opened is None:
                first = decode(raw)
                if not isinstance(first, Opened) or first.upload == "none":
                    break
                opened = first
            elif raw.startswith(TESTED) and b'"artifacts":' in raw:
                line = decode(raw)
                test = msgspec.json.decode(line.test) if isinstance(line, Tested) else {}
                paths = [str(file.get("path", "")) for file in selected(test, opened.upload)]
                _copy(journal, paths, opened.upload_limit, warnings)
            elif b'"files":' in raw:
                line = decode(raw)
                if isinstance(line, ShardEnded):
                    _copy(journal, line.files, opened.upload_limit, warnings)
    return warnings


def _copy(journal: Path, paths: Sequence[str], limit: int, warnings: list[str]) -> None:
    for path in paths:
        copy = copy_of(journal, path)
        try:
            if not copy.exists():
                with open_regular(path, limit) as source:
                    copy.parent.mkdir(exist_ok=True)
                    with copy.open("wb") as target:
                        shutil.copyfileobj(source, target, CHUNK)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if len(warnings) < MAX_WARNINGS:
                warnings.append(f"{path} is not kept: {reason}")
