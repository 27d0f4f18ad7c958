"""Fetches what a shard needs to select its tests, for the processes of pytest."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_tms.errors import TmsError
from pytest_tms.journal.plan import ShardPlan, write_plan

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient
    from pytest_tms.sender.launch import PlanRequest

PlanOutcome = Literal["", "fetched", "failed"]
"""Whether the plan was fetched, or the TMS did not respond; empty while that is not known."""


class PlanFetch(threading.Thread):
    """Fetches the plan of a shard and writes it to a file; see ``outcome`` for the result.

    A plan has only what the TMS supports by its ``capabilities``.
    """

    def __init__(
        self, client: TmsClient, execution_id: str, request: PlanRequest, capabilities: Collection[str]
    ) -> None:
        super().__init__(name="tms-plan", daemon=True)
        self.outcome: PlanOutcome = ""
        self._client = client
        self._execution_id = execution_id
        self._request = request
        self._capabilities = capabilities

    def run(self) -> None:
        """Fetch it, once."""
        try:
            with self._client:
                plan = self._fetch()
            write_plan(Path(self._request.path), plan)
        except (TmsError, OSError, ValueError):  # the shard divides the tests by their number, and runs all
            self.outcome = "failed"
        else:
            self.outcome = "fetched"

    def _fetch(self) -> ShardPlan:
        durations = None
        setups: list[tuple[str, str, int]] = []
        settled: frozenset[str] = frozenset()
        is_queued = self._request.by_queue and "claims" in self._capabilities
        if self._request.by_duration and not is_queued and "timings" in self._capabilities:
            plan = self._client.fix_plan(self._execution_id)
            durations = {each.node_id: each.duration for each in plan.tests}
            setups = [(each.node, each.fixture, round(each.duration)) for each in plan.shared_setups]
        # The TMS leaves settled tests out of its queue.
        if self._request.rerun_shard and not is_queued and "rerun" in self._capabilities:
            found = self._client.list_settled(self._execution_id, self._request.rerun_shard)
            settled = frozenset(found.node_ids)
        return ShardPlan(durations=durations, setups=setups, settled=settled, is_queued=is_queued)
