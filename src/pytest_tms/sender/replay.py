"""Journals that were kept: found, delivered or deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from pytest_tms.client import TmsClient
from pytest_tms.errors import BadRequest, NotFound, TooLarge, Unprocessable
from pytest_tms.journal.files import is_being_written
from pytest_tms.journal.lines import Opened, decode
from pytest_tms.journal.reader import Journal
from pytest_tms.sender.advice import advise_replay
from pytest_tms.sender.artifacts import FileUploads
from pytest_tms.sender.uploader import Uploader

PERMANENT = (BadRequest, NotFound, TooLarge, Unprocessable)
"""Errors that a retry cannot resolve."""


class Replay:
    """The delivery of one journal that was kept; if it is interrupted, a repetition continues it."""

    def __init__(self, journal: Journal, uploader: Uploader, client: TmsClient) -> None:
        self._journal = journal
        self._uploader = uploader
        self._client = client
        self._file_warnings: list[str] = []

    @classmethod
    def open(
        cls,
        path: Path,
        client: TmsClient,
        *,
        webhook_token: str = "",
        overrides: Mapping[str, str] | None = None,
    ) -> Replay | None:
        """Return the delivery of the journal ``path``; None if another process delivers or writes it.

        ``overrides`` replaces fields of an execution that is yet to be created.
        """
        journal = Journal.adopt(path)
        if journal is None:
            return None
        uploader = Uploader(client, journal, webhook_token=webhook_token, is_replay=True, overrides=overrides)
        return cls(journal, uploader, client)

    def steps(self) -> Iterator[int]:
        """Deliver the journal; yield the position, in bytes, after each step. Deletes it if all is delivered.

        Raises:
            TmsError: the TMS does not accept it.
            ValueError: the file is not a journal.
        """
        is_delivered = False
        try:
            yield from self._uploader.steps()
            self._uploader.close_unfinished()
            self._upload_files()
            is_delivered = not self._uploader.refused
        except PERMANENT as error:
            problem = advise_replay(error)
            self._journal.acknowledge(msgspec.structs.replace(self._uploader.acks, problem=problem))
            raise
        finally:
            self._journal.close(delivered=is_delivered)

    def _upload_files(self) -> None:
        execution = self._uploader.execution
        if execution is None or not self._uploader.uploads.pending:
            return
        files = FileUploads(self._client, execution.execution_id, self._uploader.uploads)
        try:
            files.upload_pending()
        finally:
            self._file_warnings = files.warnings

    @property
    def warnings(self) -> list[str]:
        """Sentences about messages that the TMS rejected, and about files that were not uploaded."""
        return [*self._uploader.warnings, *self._file_warnings]

    @property
    def report_url(self) -> str:
        """The execution's page; empty if there is no execution yet."""
        return self._uploader.execution.report_url if self._uploader.execution is not None else ""

    @property
    def tests(self) -> int:
        """How many tests of the journal the TMS has."""
        return self._uploader.delivered

    @property
    def refused(self) -> list[str]:
        """A sentence about each test that the TMS rejected."""
        return self._uploader.refused


def find_journals(path: Path) -> list[Path]:
    """Return the journal ``path``, or those in the folder ``path`` and its ``journal`` and ``offline``.

    The oldest comes first.
    """
    if path.is_file():
        return [path]
    found = [file for part in (".", "journal", "offline") for file in (path / part).glob("*.jsonl")]
    return sorted(found, key=lambda file: file.name)


def read_opening(path: Path) -> Opened | None:
    """Return the first line of a journal; None if the file is empty or not a journal."""
    try:
        with path.open("rb") as file:
            first = decode(file.readline())
    except (OSError, ValueError):
        return None
    return first if isinstance(first, Opened) else None


def discard(path: Path) -> bool:
    """Delete a journal, or an empty file; return False if a process delivers or writes it.

    Raises:
        ValueError: The file is not a journal.
    """
    if read_opening(path) is None and path.exists() and path.stat().st_size:
        raise ValueError(f"{path} is not a journal of pytest-tms")
    journal = Journal.adopt(path)
    if journal is None:
        return not path.exists()
    journal.close(delivered=True)
    return True


def is_in_use(path: Path) -> bool:
    """Return whether a run still writes to a journal."""
    try:
        return is_being_written(path)
    except OSError:
        return False
