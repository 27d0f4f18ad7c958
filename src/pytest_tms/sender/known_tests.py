"""The tests that the TMS knows: fetched for ``--tms-detect-flaky``, which repeats the others."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_tms.journal.files import write_at_once

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient


class KnownTestsFetch(threading.Thread):
    """Writes the hashes of the tests that were known before an execution to ``path``, as a JSON list.

    If the TMS does not return them, or does not know all of them, it writes ``null``.
    """

    def __init__(self, client: TmsClient, execution_id: str, path: Path, *, is_supported: bool) -> None:
        super().__init__(name="tms-known-tests", daemon=True)
        self._client = client
        self._execution_id = execution_id
        self._path = path
        self._is_supported = is_supported

    def run(self) -> None:
        """Fetch and write them, once."""
        hashes = None
        try:
            with self._client:
                if self._is_supported:
                    found = self._client.list_known_tests(self._execution_id)
                    hashes = found.hashes if found.is_complete else None
        except Exception:  # the run goes on without them
            hashes = None
        with suppress(OSError):
            write_at_once(self._path, msgspec.json.encode(hashes))
