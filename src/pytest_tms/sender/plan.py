"""Fetches the plan of an execution, the durations of tests, for the processes of pytest."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_tms.errors import TmsError
from pytest_tms.journal.plan import write_plan

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient

PlanOutcome = Literal["", "fetched", "unknown", "failed"]
"""Whether the plan was fetched, the TMS makes none, or it did not respond; empty while that is not known."""


class PlanFetch(threading.Thread):
    """Fetches the plan of an execution and writes it to ``path``; see ``outcome`` for the result."""

    def __init__(self, client: TmsClient, execution_id: str, path: Path, *, is_supported: bool) -> None:
        super().__init__(name="tms-plan", daemon=True)
        self.outcome: PlanOutcome = ""
        self._client = client
        self._execution_id = execution_id
        self._path = path
        self._is_supported = is_supported

    def run(self) -> None:
        """Fetch it, once."""
        if not self._is_supported:
            self.outcome = "unknown"
            return
        try:
            with self._client:
                plan = self._client.fix_plan(self._execution_id)
            write_plan(self._path, {each.node_id: each.duration for each in plan.tests})
        except (TmsError, OSError, ValueError):  # the shard divides the tests by their number
            self.outcome = "failed"
        else:
            self.outcome = "fetched"
