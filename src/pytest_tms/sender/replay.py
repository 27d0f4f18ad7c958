"""Deliver what earlier runs left behind: by `tms replay`, or as the backlog of a later run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pytest_tms.client import TmsClient
from pytest_tms.errors import ApiError, BadRequest, NotFound, TmsError, TooLarge, Unprocessable
from pytest_tms.journal.file import Journal, is_being_written, read_acks
from pytest_tms.journal.lines import Opened, decode
from pytest_tms.sender.uploader import Uploader, advice

PERMANENT = (BadRequest, NotFound, TooLarge, Unprocessable)
"""Answers that stay the same however often a journal is sent."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """One journal that was delivered: its page, its tests, and what the TMS refused."""

    path: Path
    report_url: str
    tests: int
    refused: list[str]


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
    """Delete a journal; return False if a process works on it."""
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


def replay(
    path: Path,
    client: TmsClient,
    *,
    webhook_token: str = "",
    instead: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None],
) -> Replayed | None:
    """Deliver one journal; return None if another process works on it. What was sent stays acknowledged.

    ``instead`` changes fields of an execution that is yet to be created. ``progress`` is called with the
    position and the end, in bytes. The same call again goes on from where it stopped.

    Raises:
        TmsError: the TMS does not accept it.
        ValueError: the file is not a journal.
    """
    journal = Journal.adopt(path)
    if journal is None:
        return None
    uploader = Uploader(
        client, journal, webhook_token=webhook_token, is_replay=True, instead=instead, progress=progress
    )
    done = False
    try:
        uploader.step()
        uploader.close_unfinished()
        done = not uploader.refused
    except PERMANENT as error:
        journal.acknowledge(msgspec.structs.replace(uploader.acks, problem=reason(error)))
        raise
    finally:
        journal.close(delivered=done)
    return Replayed(
        path=path,
        report_url=uploader.joined.report_url if uploader.joined else "",
        tests=uploader.delivered,
        refused=uploader.refused,
    )


def reason(error: Exception) -> str:
    """Return why a journal was not delivered, as one sentence that also names the next step."""
    if isinstance(error, Unprocessable):
        return f"{str(error).rstrip('.')}: tms replay --suite and --environment send it under others"
    return advice(error)


class Backlog(threading.Thread):
    """Delivers what earlier runs left beside the journal ``own`` for the TMS that this run reports to.

    ``runs`` and ``tests`` count what was delivered, ``waiting`` the journals that are still to come,
    ``warnings`` name what could not be delivered. A journal that was refused is named once; from then on it
    is left to `tms replay`.
    """

    def __init__(self, own: Path, url: str, connect: Callable[[], TmsClient]) -> None:
        super().__init__(name="tms-backlog", daemon=True)
        self.runs = 0
        self.tests = 0
        self.waiting = 0
        self.warnings: list[str] = []
        self._own = own
        self._url = url
        self._connect = connect

    def run(self) -> None:
        """Deliver journal after journal, the oldest first."""
        found = [path for path in sorted(self._own.parent.glob("*.jsonl")) if self._is_ours(path)]
        self.waiting = len(found)
        with self._connect() as client:
            for path in found:
                self._deliver(path, client)
                self.waiting -= 1

    def _deliver(self, path: Path, client: TmsClient) -> None:
        try:
            done = replay(path, client, progress=lambda position, end: None)
        except (TmsError, ValueError, OSError) as error:
            self.warnings.append(f"{path} of an earlier run was not sent: {reason(error)}")
            if not isinstance(error, ApiError):
                return
        else:
            if done is not None and not done.refused:
                self.runs += 1
                self.tests += done.tests

    def _is_ours(self, path: Path) -> bool:
        if path.name == self._own.name:
            return False
        opened = read_opening(path)
        if opened is None or opened.url != self._url or is_in_use(path):
            return False
        acks = read_acks(path)
        return not acks.problem and not acks.refused
