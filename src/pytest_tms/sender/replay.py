"""What earlier runs left behind or wrote offline, sent as if it had been live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pytest_tms.client import TmsClient
from pytest_tms.errors import TmsError, Unprocessable
from pytest_tms.journal.file import Journal
from pytest_tms.journal.lines import Opened, decode
from pytest_tms.sender.uploader import Delivery, advice


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """One journal that was sent: its page, its tests, and what the TMS did not take."""

    path: Path
    report_url: str
    tests: int
    refused: list[str]


def journals(folder: Path) -> list[Path]:
    """The journals in ``folder``, or in its ``journal`` and ``offline``; the oldest first."""
    found = [path for part in (".", "journal", "offline") for path in (folder / part).glob("*.jsonl")]
    return sorted(found, key=lambda path: path.name)


def replay(
    path: Path,
    client: TmsClient,
    *,
    documented_only: bool = False,
    instead: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None],
) -> Replayed | None:
    """Send one journal; None where another process works on it. What was sent stays acknowledged.

    ``instead`` changes fields of the execution that is yet to be created. ``progress`` is told the position
    and the end, in bytes. Raises TmsError where the TMS is in trouble, and
    ValueError where the file is no journal: the same call again goes on from there.
    """
    journal = Journal.adopt(path)
    if journal is None:
        return None
    delivery = Delivery(
        client,
        journal,
        documented_only=documented_only,
        is_replay=True,
        instead=instead,
        progress=progress,
    )
    done = False
    try:
        delivery.step()
        delivery.close_orphan()
        done = not delivery.refused
    finally:
        journal.close(delivered=done)
    return Replayed(
        path=path,
        report_url=delivery.joined.report_url if delivery.joined else "",
        tests=delivery.delivered,
        refused=delivery.refused,
    )


def reason(error: Exception) -> str:
    """Why a journal was not sent, as one sentence that also says what to do next."""
    if isinstance(error, Unprocessable):
        return f"{str(error).rstrip('.')}: tms replay --suite and --environment ask for others"
    return advice(error)


class Earlier:
    """What earlier runs left in ``folder`` for the TMS that this run reports to.

    ``runs`` and ``tests`` count what was sent, ``trouble`` says what could not be.
    """

    def __init__(self, folder: Path, client: TmsClient, *, documented_only: bool = False) -> None:
        self.runs = 0
        self.tests = 0
        self.trouble: list[str] = []
        self._folder = folder
        self._client = client
        self._documented_only = documented_only
        self._waiting: list[Path] | None = None

    def send(self, is_urgent: Callable[[], bool]) -> None:
        """Send journal after journal until the run has something of its own to send. Raises no TmsError."""
        if self._waiting is None:
            self._waiting = sorted(self._folder.glob("*.jsonl"), reverse=True)

        def look_up(position: int, end: int) -> None:
            if is_urgent() and position < end:
                raise _Urgent

        while self._waiting and not is_urgent():
            path = self._waiting.pop()
            if not self._is_ours(path):
                continue
            try:
                done = replay(path, self._client, documented_only=self._documented_only, progress=look_up)
            except _Urgent:
                return
            except (TmsError, ValueError, OSError) as error:
                self.trouble.append(f"{path} of an earlier run was not sent: {reason(error)}")
                continue
            if done is not None and not done.refused:
                self.runs += 1
                self.tests += done.tests

    def _is_ours(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                first = decode(file.readline())
        except (OSError, ValueError):
            return False
        return isinstance(first, Opened) and first.url == self._client.base_url


class _Urgent(Exception):  # no error: it ends a replay between two messages
    """The run itself has something to send."""
