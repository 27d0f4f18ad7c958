"""The journals that earlier runs left behind, delivered while the present run reports."""

from __future__ import annotations

import threading
from pathlib import Path

from pytest_tms.client import TmsClient
from pytest_tms.errors import ApiError, TmsError
from pytest_tms.journal.acknowledgements import read_acks
from pytest_tms.sender.advice import advise_replay
from pytest_tms.sender.replay import Replay, is_in_use, read_opening


class Backlog(threading.Thread):
    """Delivers journals of earlier runs for the TMS at ``url``, from the folder of the journal ``own``.

    ``runs`` and ``tests`` count delivered runs and their tests, ``waiting`` the journals that are still to be
    sent. ``warnings`` name journals that could not be delivered. A rejected journal is named once; after
    that, only `tms replay` sends it.
    """

    def __init__(self, own: Path, url: str, client: TmsClient) -> None:
        super().__init__(name="tms-backlog", daemon=True)
        self.runs = 0
        self.tests = 0
        self.waiting = 0
        self.warnings: list[str] = []
        self._own = own
        self._url = url
        self._client = client

    def run(self) -> None:
        """Deliver all journals, the oldest first."""
        found = [path for path in sorted(self._own.parent.glob("*.jsonl")) if self._is_included(path)]
        self.waiting = len(found)
        with self._client:
            for path in found:
                self._deliver(path)
                self.waiting -= 1

    def _deliver(self, path: Path) -> None:
        try:
            replay = Replay.open(path, self._client)
            if replay is not None:
                for _ in replay.steps():
                    pass
        except (TmsError, ValueError, OSError) as error:
            self.warnings.append(f"{path} of an earlier run was not sent: {advise_replay(error)}")
            if not isinstance(error, ApiError):
                return
        else:
            if replay is not None and not replay.refused:
                self.runs += 1
                self.tests += replay.tests

    def _is_included(self, path: Path) -> bool:
        if path.name == self._own.name:
            return False
        opened = read_opening(path)
        if opened is None or opened.url != self._url or is_in_use(path):
            return False
        acks = read_acks(path)
        return not acks.problem and not acks.refused
